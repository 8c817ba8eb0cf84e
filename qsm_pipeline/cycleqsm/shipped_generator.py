"""The trained generator that comes with the package, and the hash that it must have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = "cycleqsm-7"
SHA256 = {"cycleqsm-7": "37414997a16d7af6c82f430f75d315aa93779c5425f4c9be5cee6d6e5cc7ced0"}
"""Hashes of the generators in the package."""


def shipped_path(name: str = SHIPPED) -> Path:
    """Return where a generator of the package lies."""
    return Path(str(files("qsm_pipeline.cycleqsm") / "shipped" / f"{name}.safetensors"))
