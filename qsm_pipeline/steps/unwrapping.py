"""Unwrap the phase of all echoes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps import methods as registry
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan


@dataclass(frozen=True)
class UnwrappedPhase:
    """Phase without wraps.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Zero outside the mask.
    provenance : Provenance
        How it was unwrapped.
    """

    phase_rad: Tensor
    provenance: Provenance


def unwrap_phase(
    scan: Scan,
    mask: Tensor,
    *,
    method: str = registry.default("unwrap"),
    params: Mapping[str, Any] | None = None,
) -> UnwrappedPhase:
    """Unwrap all echoes in a mask.

    Parameters
    ----------
    scan : Scan
        With wrapped phase that is proportional to the echo time.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to unwrap.
    method : str
        A method of the stage ``unwrap``.
    params : mapping, optional
        Parameters that differ from the method's defaults.

    Returns
    -------
    UnwrappedPhase
        The phase and how it was unwrapped.
    """
    problem = UnwrapProblem(scan.phase_rad, mask, scan.echo_times_s, scan.grid, scan.magnitude)
    chosen = registry.method("unwrap", method)
    used = chosen.with_values(params)
    return UnwrappedPhase(
        chosen.function(problem, used),
        Provenance({"Unwrapping": chosen.name, "UnwrappingParameters": asdict(used)}),
    )
