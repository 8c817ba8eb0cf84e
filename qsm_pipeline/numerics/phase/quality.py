"""Phase quality: how reliable the edges around each voxel are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.unwrap.edge_costs import COSTS, edge_costs


def phase_quality(
    phase_rad: Tensor, magnitude: Tensor, mask: Tensor, echo_times_s: tuple[float, ...]
) -> Tensor:
    """Return the mean reliability of a voxel's edges in the first echo.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the quality is wanted; edges that leave the mask do not count.
    echo_times_s : tuple of float, length E
        Echo times.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        From 0 (random) to 1; 0 outside the mask and in voxels without an edge.

    References
    ----------
    Dymerska et al. 2021, doi:10.1002/mrm.28563; Hagberg et al. 2022, doi:10.1002/mrm.29368.
    """
    phase = phase_rad[:2].detach().cpu().numpy().astype(np.float32, copy=False)
    second = phase[1] if len(phase) > 1 else np.empty((0, 0, 0), np.float32)
    ratio = echo_times_s[0] / echo_times_s[1] if len(phase) > 1 else 1.0
    first_magnitude = magnitude[0].detach().cpu().numpy().astype(np.float32, copy=False)
    inside = mask.detach().cpu().numpy()
    costs = edge_costs(
        np.ascontiguousarray(phase[0]),
        np.ascontiguousarray(first_magnitude),
        np.ascontiguousarray(second),
        ratio,
        np.ascontiguousarray(inside),
    )
    total = np.zeros(inside.shape, np.float32)
    count = np.zeros(inside.shape, np.float32)
    for axis in range(3):
        there = costs[axis] > 0
        weight = np.where(there, 1 - costs[axis] / np.float32(COSTS - 1), 0)
        for values, target in ((weight, total), (there, count)):
            target += values
            ahead = [slice(None)] * 3
            behind = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            target[tuple(ahead)] += values[tuple(behind)]
    quality = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return torch.from_numpy(quality).to(phase_rad)
