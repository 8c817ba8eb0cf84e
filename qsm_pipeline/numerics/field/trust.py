"""Where the unwrapped phase can be trusted."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.reliability import steepest_step
from qsm_pipeline.numerics.params.field import ReliabilityParams


def trusted_mask(
    total_field_ppm: Tensor,
    mask: Tensor,
    first_echo_time_s: float,
    b0_tesla: float,
    weights: Tensor | None = None,
    params: ReliabilityParams | None = None,
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
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability; voxels of weight zero that reach the mask's surface are dropped too. Those
        within the brain stay, since a hole would become a surface for background removal.
    params : ReliabilityParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z), bool
        The largest connected part of the mask without voxels whose phase differs from a
        neighbour's by more than ``max_step_rad``.
    """
    max_step_rad = (params or ReliabilityParams()).max_step_rad
    limit_ppm = max_step_rad / (rad_per_s_per_ppm(b0_tesla) * first_echo_time_s)
    good = mask & (steepest_step(total_field_ppm, mask) <= limit_ppm)
    if weights is not None:
        good &= ~_reaching_surface(mask & (weights == 0), mask)
    return torch.from_numpy(largest_parts(good.cpu().numpy())).to(mask.device)


def _reaching_surface(part: Tensor, mask: Tensor) -> Tensor:
    """Return the voxels of ``part`` that hang together with the outside of the mask."""
    outside = np.pad((~mask).cpu().numpy(), 1, constant_values=True)
    allowed = outside | np.pad(part.cpu().numpy(), 1)
    labels, _ = ndimage.label(allowed)
    reached = (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(reached).to(mask.device) & part
