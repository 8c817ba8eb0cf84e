"""The trained generator that comes with the package, and the hash that it must have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = "cycleqsm-7"
SHA256 = {"cycleqsm-7": "b152e4ffe49ef085c7c3bece64c07d538510508cdf2bb0eaf9b25dc741c3ec42"}
"""Hashes of the generators in the package."""


def shipped_path(name: str = SHIPPED) -> Path:
    """Return where a generator of the package lies."""
    return Path(str(files("qsm_pipeline.cycleqsm") / "shipped" / f"{name}.safetensors"))
