"""The trained generator that comes with the package, and the hash that it must have."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SHIPPED = "cycleqsm-7"
SHA256 = {"cycleqsm-7": "136ffedf4c54d4a2272e180ee25c73553677ba4ebe9200ea19d16fa62ef1f0b3"}
"""Hashes of the generators in the package."""


def shipped_path(name: str = SHIPPED) -> Path:
    """Return where a generator of the package lies."""
    return Path(str(files("qsm_pipeline.cycleqsm") / "shipped" / f"{name}.safetensors"))
