"""The trained generator that comes with the package, and the hash that it must have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = "cycleqsm-7"
SHA256 = {"cycleqsm-7": "eb49105565b41e6b70fcd9b3b333cc39bafbed6dc4cc57965ae8b8d7116efb34"}
"""Hashes of the generators in the package."""


def shipped_path(name: str = SHIPPED) -> Path:
    """Return where a generator of the package lies."""
    return Path(str(files("qsm_pipeline.cycleqsm") / "shipped" / f"{name}.safetensors"))
