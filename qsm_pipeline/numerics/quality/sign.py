"""Whether the sign of a map is that of a brain."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.depth import distance_mm

TAIL = 0.005
"""Part of the voxels on either side that veins, nuclei and bleedings fill in a brain."""
INVERTED = -0.1
"""A map with a smaller asymmetry may be upside down: simulated adults have 0 to 0.5, and a newborn
with hardly any iron had -0.14."""
_FEWEST = 1000
_DEPTH = 0.15


def asymmetry(chi_ppm: Tensor, mask: Tensor) -> float | None:
    """Return by how much the strongest paramagnetic voxels exceed the diamagnetic ones.

    Iron in veins and nuclei is stronger than myelin, so the upper tail of a brain is longer.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid; the rim, where background is left, is not looked at.

    Returns
    -------
    float or None
        From -1 to 1: the difference of the tails from the median over their sum. None for few
        voxels.
    """
    inside = mask.cpu().numpy()
    depth = distance_mm(inside, (1.0, 1.0, 1.0))
    return tails(chi_ppm[torch.from_numpy(depth > _DEPTH * depth.max()).to(mask.device)])


def tails(values: Tensor) -> float | None:
    """Return :func:`asymmetry` of the values of voxels away from the surface, shape (N,)."""
    if values.numel() < _FEWEST:
        return None
    count = max(1, round(TAIL * values.numel()))
    low, high = values.kthvalue(count).values, values.kthvalue(values.numel() - count).values
    spread = float(high - low)
    return float(low + high - 2 * values.median()) / spread if spread > 0 else None
