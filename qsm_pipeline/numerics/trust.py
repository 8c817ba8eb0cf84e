"""Where the unwrapped phase can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.parts import largest_parts
from qsm_pipeline.numerics.units import rad_per_s_per_ppm

MAX_STEP_RAD = 0.5 * math.pi
"""Steeper steps between neighbours are on the way to being aliased: no unwrapping can then know
how many turns lie between them."""


def trusted_mask(
    total_field_ppm: Tensor, mask: Tensor, first_echo_time_s: float, b0_tesla: float
) -> Tensor:
    """Return the part of the mask that is free of steep phase and hangs together.

    Next to air the field changes by more than half a turn per voxel even at the first echo. What
    lies behind such a layer has an unknown number of turns and is dropped with it.

    Parameters
    ----------
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Total field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    first_echo_time_s : float
        Time over which the phase of the unwrapped echo evolved.
    b0_tesla : float
        Field strength.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z), bool
        The largest connected part of the mask without voxels whose phase differs from a
        neighbour's by more than :data:`MAX_STEP_RAD`.
    """
    limit_ppm = MAX_STEP_RAD / (rad_per_s_per_ppm(b0_tesla) * first_echo_time_s)
    steep = torch.zeros_like(mask)
    for axis in range(3):
        n = mask.shape[axis]
        low, high = (0, n - 1), (1, n - 1)
        edge = torch.diff(total_field_ppm, dim=axis).abs() > limit_ppm
        edge &= mask.narrow(axis, *low) & mask.narrow(axis, *high)
        steep.narrow(axis, *low).logical_or_(edge)
        steep.narrow(axis, *high).logical_or_(edge)
    hanging_together = largest_parts((mask & ~steep).cpu().numpy())
    return torch.from_numpy(hanging_together).to(mask.device)
