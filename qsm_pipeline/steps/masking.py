"""Find the brain and where around it the phase is reliable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.connected import check_in_one_part
from qsm_pipeline.numerics.core.contracts import check_mask as check_boolean
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized, length_scale
from qsm_pipeline.numerics.masking.refine import measured_region, refine_mask, reliable_part
from qsm_pipeline.numerics.masking.robust import check_mask, robust_mask
from qsm_pipeline.numerics.params.masking import (
    FieldRegionParams,
    RefinementParams,
    TwoPassParams,
)
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.quality.mask_shape import volume_ml
from qsm_pipeline.steps import methods as registry
from qsm_pipeline.steps.methods import OWN_MASK
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan


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
    combined: Tensor | None = None,
    own: Tensor | None = None,
    valid: Tensor | None = None,
    method: str = registry.default("mask"),
    refinement: str = registry.default("mask_refinement"),
    two_pass: bool = False,
) -> BrainMask:
    """Find the brain and fit it to the reliable phase, or check a mask of the user's own.

    Parameters
    ----------
    scan : Scan
        With wrapped phase; the first two echoes are enough if ``combined`` is given.
    combined : torch.Tensor, shape (X, Y, Z), optional
        From :func:`combined_magnitude` of all echoes.
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
    method = registry.method("mask", method).name
    refinement = registry.method("mask_refinement", refinement).name
    grid = scan.grid
    valid = torch.ones(grid.shape, dtype=torch.bool) if valid is None else valid.cpu()
    check_boolean("valid", valid, grid.shape)
    if own is not None:
        check_boolean("own", own, grid.shape)
    if own is None:
        combined = combined_magnitude(scan.magnitude) if combined is None else combined
        found = _brain(combined.cpu().numpy(), scan, method)
    else:
        found = own.cpu().numpy()
    mask = found & valid.numpy()
    check_mask(mask, grid)
    quality = (_quality(scan) * valid).numpy()  # not before deepbet, which takes the most memory
    scale = length_scale(torch.from_numpy(mask), grid)
    sized = head_sized(grid, torch.from_numpy(mask))
    refine = refinement != "none" and own is None
    parameters: dict[str, Any] = {
        "MaskMethod": OWN_MASK if own is not None else method,
        "MaskRefinement": refinement if refine else "none",
    }
    facts: dict[str, Any] = {
        "BrainMask": parameters["MaskMethod"],
        "MaskRefinement": parameters["MaskRefinement"],
    }
    if refine:
        facts["BrainVolumeBeforeRefinementMl"] = _volume_ml(mask, grid)
        edge = RefinementParams()
        mask = refine_mask(mask, quality, sized, edge)
        check_mask(mask, grid)
        parameters["MaskRefinementParameters"] = asdict(edge)
    measured = mask
    if refinement != "none":
        around = FieldRegionParams()
        measured = measured_region(mask, quality, sized, around)
        parameters["FieldRegionParameters"] = asdict(around)
    check_in_one_part(measured)
    reliable = None
    parameters["TwoPass"] = two_pass
    if two_pass:
        passes = TwoPassParams()
        reliable = torch.from_numpy(reliable_part(mask, quality, passes))
        parameters["TwoPassParameters"] = asdict(passes)
        facts["ReliableVolumeMl"] = _volume_ml(reliable.numpy(), grid)
    if scale != 1:
        facts["LengthScale"] = round(scale, 4)
    facts["BrainVolumeMl"] = _volume_ml(mask, grid)
    facts["FieldVolumeMl"] = _volume_ml(measured, grid)
    return BrainMask(
        torch.from_numpy(mask),
        torch.from_numpy(measured),
        torch.from_numpy(quality),
        reliable,
        Provenance(parameters, facts),
    )


def combined_magnitude(magnitude: Tensor) -> Tensor:
    """Return the root of the sum of squares over the echoes, shape (X, Y, Z)."""
    return magnitude.square().sum(0).sqrt()


def _brain(combined: np.ndarray, scan: Scan, method: str) -> np.ndarray:
    if method == "robust":
        return robust_mask(combined, scan.grid)
    from qsm_pipeline.external.deepbet import brain_mask

    return brain_mask(combined, scan.affine)


def _quality(scan: Scan) -> Tensor:
    everywhere = torch.ones(scan.grid.shape, dtype=torch.bool)
    return phase_quality(scan.phase_rad, scan.magnitude, everywhere, scan.echo_times_s).cpu()


def _volume_ml(mask: np.ndarray, grid: Grid) -> float:
    return round(volume_ml(torch.from_numpy(mask), grid), 1)
