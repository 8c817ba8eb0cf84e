"""Templates of the package, filled in with everything escaped."""

from __future__ import annotations

import base64
import hashlib
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


def content_policy(*scripts: str) -> str:
    """Return the Content-Security-Policy of a page: what a browser may do that reads it.

    A text of the data that ever stood in the page unescaped could run nothing and reach nobody.

    Parameters
    ----------
    *scripts : str
        The scripts that may run, each by its hash.
    """
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"
    return (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; script-src {allowed}; "
        "style-src 'unsafe-inline'; img-src 'self' file: data: blob:"
    )


def render(template: str, **values: Any) -> str:
    """Return a template of ``qsm_pipeline/data`` with its values, which it escapes."""
    return _environment().get_template(template).render(**values)
