"""Find the brain and where around it the phase is reliable."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.connected import check_in_one_part
from qsm_pipeline.numerics.core.contracts import check_mask as check_boolean
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.masking.refine import measured_region, refine_mask, reliable_part
from qsm_pipeline.numerics.masking.robust import check_mask, robust_mask
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.quality.mask_shape import volume_ml
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan

MASK_METHODS = ("deepbet", "robust")
MASK_REFINEMENTS = ("phase-quality", "none")
OWN_MASK = "the user's own"


@dataclass(frozen=True)
class BrainMask:
    """The brain.

    Parameters
    ----------
    brain : torch.Tensor, shape (X, Y, Z), bool
        Where susceptibility is wanted.
    measured : torch.Tensor, shape (X, Y, Z), bool
        The brain and what has reliable phase close around it: where the field is fitted.
    quality : torch.Tensor, shape (X, Y, Z)
        Of the phase, from 0 to 1.
    reliable : torch.Tensor, shape (X, Y, Z), bool, optional
        The part of the brain with good phase throughout, for the first of two passes.
    provenance : Provenance
        How it was found.
    """

    brain: Tensor
    measured: Tensor
    quality: Tensor
    reliable: Tensor | None
    provenance: Provenance


def find_mask(
    scan: Scan,
    *,
    own: Tensor | None = None,
    valid: Tensor | None = None,
    method: str = "deepbet",
    refinement: str = "phase-quality",
    two_pass: bool = False,
) -> BrainMask:
    """Find the brain and fit it to the reliable phase, or check a mask of the user's own.

    Parameters
    ----------
    scan : Scan
        With wrapped phase.
    own : torch.Tensor, shape (X, Y, Z), bool, optional
        A mask of the user's own, which is used unchanged where the scan is valid.
    valid : torch.Tensor, shape (X, Y, Z), bool, optional
        Where every echo has a value; everywhere by default.
    method : {"deepbet", "robust"}
        How the brain is found.
    refinement : {"phase-quality", "none"}
        Move the edge of a mask that was found to where the phase is reliable.
    two_pass : bool
        Find the reliable part too.

    Returns
    -------
    BrainMask
        On the CPU.

    Raises
    ------
    ValueError
        If the mask cannot be a brain, or a method is unknown.
    """
    for name, known in ((method, MASK_METHODS), (refinement, MASK_REFINEMENTS)):
        if name not in known:
            raise ValueError(f"Expected {' or '.join(known)}, got {name!r}")
    grid = scan.grid
    valid = torch.ones(grid.shape, dtype=torch.bool) if valid is None else valid.cpu()
    check_boolean("valid", valid, grid.shape)
    if own is not None:
        check_boolean("own", own, grid.shape)
    quality = (_quality(scan) * valid).numpy()
    found = _brain(scan, method) if own is None else own.cpu().numpy()
    mask = found & valid.numpy()
    check_mask(mask, grid)
    refine = refinement != "none" and own is None
    parameters: dict[str, Any] = {
        "MaskMethod": OWN_MASK if own is not None else method,
        "MaskRefinement": refinement if refine else "none",
    }
    facts: dict[str, Any] = {
        "BrainMask": parameters["MaskMethod"], "MaskRefinement": parameters["MaskRefinement"]
    }  # fmt: skip
    if refine:
        facts["BrainVolumeBeforeRefinementMl"] = _volume_ml(mask, grid)
        mask = refine_mask(mask, quality, grid)
        check_mask(mask, grid)
        parameters["MaskRefinementParameters"] = _defaults(refine_mask)
    measured = mask
    if refinement != "none":
        measured = measured_region(mask, quality, grid)
        parameters["FieldRegionParameters"] = _defaults(measured_region)
    check_in_one_part(measured)
    reliable = None
    parameters["TwoPass"] = two_pass
    if two_pass:
        reliable = torch.from_numpy(reliable_part(mask, quality))
        parameters["TwoPassParameters"] = _defaults(reliable_part)
        facts["ReliableVolumeMl"] = _volume_ml(reliable.numpy(), grid)
    facts["BrainVolumeMl"] = _volume_ml(mask, grid)
    facts["FieldVolumeMl"] = _volume_ml(measured, grid)
    return BrainMask(
        torch.from_numpy(mask), torch.from_numpy(measured), torch.from_numpy(quality), reliable,
        Provenance(parameters, facts),
    )  # fmt: skip


def combined_magnitude(magnitude: Tensor) -> Tensor:
    """Return the root of the sum of squares over the echoes, shape (X, Y, Z)."""
    return magnitude.square().sum(0).sqrt()


def _brain(scan: Scan, method: str) -> np.ndarray:
    combined = combined_magnitude(scan.magnitude).cpu().numpy()
    if method == "robust":
        return robust_mask(combined, scan.grid)
    from qsm_pipeline.external.deepbet import brain_mask

    return brain_mask(combined, scan.affine)


def _quality(scan: Scan) -> Tensor:
    everywhere = torch.ones(scan.grid.shape, dtype=torch.bool)
    return phase_quality(scan.phase_rad, scan.magnitude, everywhere, scan.echo_times_s).cpu()


def _volume_ml(mask: np.ndarray, grid: Grid) -> float:
    return round(volume_ml(torch.from_numpy(mask), grid), 1)


def _defaults(function: Any) -> dict[str, Any]:
    """Return the keyword arguments that the function was called with: all of its defaults."""
    given = signature(function).parameters.values()
    return {p.name: p.default for p in given if p.default is not Parameter.empty}
