"""Where the unwrapped phase can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.reliability import steepest_step
from qsm_pipeline.numerics.params.field import ReliabilityParams

_NOT_OFF = 0.125
"""Phase that is less off, as the mean of 1 minus the cosine, may be that of a dephased voxel."""
_MOST_TURNS = 8
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
    echo_times_s: Sequence[float],
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
    echo_times_s : sequence of float
        Of all echoes. Around sources within the brain the phase between echoes tells how many
        turns there are, see :func:`ambiguity_time_s`.
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
    rad_per_s = steepest_step(total_field_ppm, mask) * rad_per_s_per_ppm(b0_tesla)
    step_rad = rad_per_s * echo_times_s[0]
    good = mask & (step_rad <= params.max_step_rad) & ~_open(mask & (weights == 0), mask)
    good = _largest(good)
    unsure = mask & ~good & ~_open(mask & ~good, mask)
    whole = good | unsure
    lost = unsure & ~_largest(whole & (rad_per_s * ambiguity_time_s(echo_times_s) <= CUT_RAD))
    return Trust(whole, unsure, lost)


def ambiguity_time_s(echo_times_s: Sequence[float]) -> float:
    """Return the time over which a field evolves by a turn if no echo can tell it from another.

    A wrong number of turns in the first echo puts the second off its line, unless that turns by a
    whole number too. Voxels off the line get no weight, so that only fields are mistaken for each
    other that differ by the inverse of this time.

    Parameters
    ----------
    echo_times_s : sequence of float
        Increasing; the first two count, since late echoes may be left out of the fit.

    Returns
    -------
    float
        At most the first echo time; that for one echo, and where the second is a multiple of it.
    """
    first = echo_times_s[0]
    if len(echo_times_s) < 2:
        return first
    difference_hz = 0.5 / echo_times_s[1]
    while difference_hz < _MOST_TURNS / first:
        turns = (difference_hz * time for time in echo_times_s[:2])
        off = sum(1 - math.cos(2 * math.pi * t) for t in turns) / 2
        if off < _NOT_OFF:
            break
        difference_hz += 0.01 / echo_times_s[1]
    return min(first, 1 / difference_hz)


def _largest(mask: Tensor) -> Tensor:
    return torch.from_numpy(largest_parts(mask.cpu().numpy())).to(mask.device)


def _open(part: Tensor, mask: Tensor) -> Tensor:
    """Return the voxels of ``part`` that hang together with the outside of the mask."""
    outside = np.pad((~mask).cpu().numpy(), 1, constant_values=True)
    allowed = outside | np.pad(part.cpu().numpy(), 1)
    labels, _ = ndimage.label(allowed)
    reached = (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(reached).to(mask.device) & part
