"""The trained generator that comes with the package, and the hash that it must have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = "cycleqsm-8"
SHA256 = {"cycleqsm-8": "5d039938eb6fd21e1337c0223e6e2276dc68e8fc874705e9d9a1b2e0e8c0beeb"}
"""Hashes of the generators in the package."""


def shipped_path(name: str = SHIPPED) -> Path:
    """Return where a generator of the package lies."""
    return Path(str(files("qsm_pipeline.cycleqsm") / "shipped" / f"{name}.safetensors"))
