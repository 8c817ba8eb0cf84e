"""Reliability of the field, for methods that weight their data."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_RELATIVE_RESIDUAL = 0.3
"""Voxels whose signal the fit explains worse get no weight (doi:10.1002/mrm.30006)."""


def reliability(
    field_noise_ppm: Tensor, relative_residual: Tensor, mask: Tensor
) -> tuple[Tensor, float]:
    """Turn the noise of the field into weights in [0, 1].

    Parameters
    ----------
    field_noise_ppm : torch.Tensor, shape (X, Y, Z)
        Standard deviation of the field.
    relative_residual : torch.Tensor, shape (X, Y, Z)
        Fraction of the signal that the field fit does not explain.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    weights : torch.Tensor, shape (X, Y, Z)
        Inverse noise relative to the most precise decile, at most 1; zero outside the mask and
        where the residual exceeds :data:`MAX_RELATIVE_RESIDUAL`.
    noise_ppm : float
        Standard deviation of the field where the weight is 1.
    """
    values = field_noise_ppm[mask]
    values = values[torch.isfinite(values)]
    # kthvalue, since torch.quantile refuses more than 16 million values
    best = float(values.kthvalue(max(1, values.numel() // 10)).values) if values.numel() else 0.0
    if best <= 0:
        return mask.to(field_noise_ppm.dtype), 0.0
    weights = (best / field_noise_ppm.clamp(min=best)) * mask
    return torch.where(relative_residual > MAX_RELATIVE_RESIDUAL, 0.0, weights), best
