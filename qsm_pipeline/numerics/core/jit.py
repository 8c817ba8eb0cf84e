"""numba with its cache where one can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile without the interpreter lock, cached on disk unless no folder is writable."""

    def compile_(f: Callable[..., Any]) -> Any:
        try:
            return numba.njit(f, nogil=True, cache=True, **options)
        except RuntimeError:  # numba found no folder that it can write its cache to
            return numba.njit(f, nogil=True, **options)

    return compile_ if function is None else compile_(function)
