"""Where the magnitude has edges, which susceptibility often shares."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import gradient_length
from qsm_pipeline.numerics.core.order import upper_fraction
from qsm_pipeline.numerics.inversion.spectral import SpectralBox


def edge_weights(box: SpectralBox, magnitude: Tensor, fraction: float, weight: float) -> Tensor:
    """Return how much the total variation counts at each voxel.

    Parameters
    ----------
    box : SpectralBox
        The padded problem.
    magnitude : torch.Tensor, shape (X, Y, Z)
        On the problem's grid, in any unit.
    fraction : float
        The part of the mask with the steepest magnitude, in [0, 1).
    weight : float
        What counts there; elsewhere it is 1.

    Returns
    -------
    torch.Tensor, padded shape
        Weights.

    References
    ----------
    Liu et al. 2012, doi:10.1016/j.neuroimage.2011.08.082.
    """
    padded = box.pad(magnitude)
    steepness = gradient_length(padded * box.mask, box.inverse_voxel)
    threshold = upper_fraction(steepness[box.mask], fraction)
    edge = box.mask & (steepness > threshold)
    return torch.where(edge, weight, 1.0).to(padded)
