"""Templates of the package, filled in with everything escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("qsm_pipeline", "data"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_bytes(text: str) -> bytes:
    """Return UTF-8; what it cannot hold, from names that are no text, as an escape."""
    return text.encode("utf-8", "backslashreplace")


def render(template: str, **values: Any) -> str:
    """Return a template of ``qsm_pipeline/data`` with its values, which it escapes."""
    return _environment().get_template(template).render(**values)
