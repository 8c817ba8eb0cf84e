"""Distance of a map from the truth, as QSM-CI measures it, on tensors of shape (X, Y, Z)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d


def nrmse_percent(chi: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Return the root mean square error in percent of the truth's, both without their means."""
    error, reference = _centred(chi, mask), _centred(truth, mask)
    return float(100 * (error - reference).norm() / reference.norm())


def xsim(chi: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Return the structural similarity for susceptibility in ppm, in windows of 5 voxels.

    References
    ----------
    Milovic et al. 2024, doi:10.1002/mrm.30271.
    """
    a, b = (torch.where(mask, x, 0.0).double() for x in (chi, truth))

    def local(x: Tensor) -> Tensor:
        pooled = avg_pool3d(x[None, None], 5, 1, 2, count_include_pad=False)
        return pooled[0, 0]

    mean_a, mean_b = local(a), local(b)
    spread = local(a * a) - mean_a**2 + local(b * b) - mean_b**2
    common = local(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * common + 1e-6)
    similarity = top / ((mean_a**2 + mean_b**2 + 1e-4) * (spread + 1e-6))
    return float(similarity[mask].mean())


def slope(chi: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Return the slope of the map against the truth over the sources of more than two sigma."""
    reference = _centred(truth, mask)
    strong = reference.abs() > 2 * reference.std()
    x, y = reference[strong], _centred(chi, mask)[strong]
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def _centred(x: Tensor, mask: Tensor) -> Tensor:
    values = x[mask].double()
    return values - values.mean()
