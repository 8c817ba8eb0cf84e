"""A named method: the function and the type of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """An entry of a ``METHODS`` registry.

    Parameters
    ----------
    function : callable
        ``function(problem, params)``.
    params : type
        Frozen dataclass of the method's parameters, all with defaults.
    fills_gaps : bool
        An inversion that weights its data, and so gives values where the field is not known.
    """

    function: Callable[..., Any]
    params: type
    fills_gaps: bool = False
