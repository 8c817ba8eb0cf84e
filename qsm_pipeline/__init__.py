"""Quantitative susceptibility mapping: a BIDS App, and a library.

As a library::

    import qsm_pipeline as qsm

    scan = qsm.read_run("raw", "01")  # or qsm.Scan(phase_rad, magnitude, ...)
    field = qsm.fit_field(scan)
    local = qsm.remove_background(field, method="pdf")
    chi = qsm.invert(local)  # .chi_ppm, .uncertainty_ppm
    chi.save("chi.nii.gz")
    verdict = qsm.judge(chi)  # .level, .reason, .action

``cli`` -> ``app`` -> ``workflows`` -> ``interfaces`` -> ``steps`` -> ``numerics`` and
``cycleqsm``; ``steps`` is the place to read how a map is made.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsm_pipeline.library import (
        Field,
        Judgement,
        LocalField,
        Map,
        Scan,
        fit_field,
        invert,
        judge,
        read_field,
        read_run,
        remove_background,
    )
    from qsm_pipeline.steps.methods import methods

try:
    __version__ = version("qsm-pipeline")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Field",
    "Judgement",
    "LocalField",
    "Map",
    "Scan",
    "fit_field",
    "invert",
    "judge",
    "methods",
    "read_field",
    "read_run",
    "remove_background",
]


def __getattr__(name: str) -> Any:
    """Load the library on first use: it imports torch."""
    if name == "methods":  # which needs no torch
        return import_module("qsm_pipeline.steps.methods").methods
    if name in __all__:
        return getattr(import_module("qsm_pipeline.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
