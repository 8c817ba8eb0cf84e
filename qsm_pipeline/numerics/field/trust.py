"""Where the unwrapped phase can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.reliability import steepest_step
from qsm_pipeline.numerics.params.field import ReliabilityParams

CUT_RAD = math.pi
"""Such a step is left only where paths of unwrapping disagree. Around sources within the brain the
field is used up to here, since there is brain on all sides that it has to fit."""


@dataclass(frozen=True)
class Trust:
    """Which voxels take part, and which of them have a field that is not known for sure.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        The region for background removal and inversion: one connected part.
    unsure : torch.Tensor, shape (X, Y, Z), bool
        Voxels within it with steep phase, or enclosed by it: bleedings, calcifications and what
        lies next to them.
    lost : torch.Tensor, shape (X, Y, Z), bool
        Voxels within it whose field is not known at all. They get no weight.
    """

    mask: Tensor
    unsure: Tensor
    lost: Tensor


def find_trust(
    total_field_ppm: Tensor,
    mask: Tensor,
    evolution_time_s: float,
    b0_tesla: float,
    weights: Tensor,
    params: ReliabilityParams | None = None,
) -> Trust:
    """Return the part of the mask that hangs together without steep phase, with what it encloses.

    Next to air the field changes by more than half a turn per voxel even at the first echo. What
    lies behind such a layer has an unknown number of turns and is dropped with it. What such a
    layer surrounds within the brain stays: a hole would become a surface for background removal,
    and the source within it one of the sources outside.

    Parameters
    ----------
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Total field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    evolution_time_s : float
        Time over which the phase evolved whose whole turns had to be found.
    b0_tesla : float
        Field strength.
    weights : torch.Tensor, shape (X, Y, Z)
        Reliability; voxels of weight zero that reach the mask's surface are dropped.
    params : ReliabilityParams, optional
        ``max_step_rad`` is the steepest step between neighbours.

    Returns
    -------
    Trust
        The largest connected part of the mask without voxels whose phase differs from a
        neighbour's by more than that, and what it encloses.
    """
    params = params or ReliabilityParams()
    rad_per_ppm = rad_per_s_per_ppm(b0_tesla) * evolution_time_s
    step_rad = steepest_step(total_field_ppm, mask) * rad_per_ppm
    good = mask & (step_rad <= params.max_step_rad) & ~_open(mask & (weights == 0), mask)
    good = _largest(good)
    unsure = mask & ~good & ~_open(mask & ~good, mask)
    whole = good | unsure
    lost = unsure & ~_largest(whole & (step_rad <= CUT_RAD))
    return Trust(whole, unsure, lost)


def _largest(mask: Tensor) -> Tensor:
    return torch.from_numpy(largest_parts(mask.cpu().numpy())).to(mask.device)


def _open(part: Tensor, mask: Tensor) -> Tensor:
    """Return the voxels of ``part`` that hang together with the outside of the mask."""
    outside = np.pad((~mask).cpu().numpy(), 1, constant_values=True)
    allowed = outside | np.pad(part.cpu().numpy(), 1)
    labels, _ = ndimage.label(allowed)
    reached = (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(reached).to(mask.device) & part
