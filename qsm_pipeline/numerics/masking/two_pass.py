"""Combine the maps of two inversions: of the reliable voxels alone, and of the whole mask."""

from __future__ import annotations

import torch
from torch import Tensor


def combine_passes(chi_reliable_ppm: Tensor, chi_whole_ppm: Tensor, reliable: Tensor) -> Tensor:
    """Return the first map where it exists and the second elsewhere.

    The unreliable voxels around strong sources cannot streak into the first map; the second has
    values in them.

    Parameters
    ----------
    chi_reliable_ppm, chi_whole_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility from the reliable and from the whole mask. Each has an unknown constant.
    reliable : torch.Tensor, shape (X, Y, Z), bool
        Where the first map is used.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        The constant of the second map is moved so that both agree on average where they overlap.

    Raises
    ------
    ValueError
        If no voxel is reliable.

    References
    ----------
    Stewart et al. 2022, doi:10.1002/mrm.29048.
    """
    if not reliable.any():
        raise ValueError("No voxel is reliable, so there is no first pass to combine")
    shift = (chi_reliable_ppm - chi_whole_ppm)[reliable].mean()
    filled = torch.where(chi_whole_ppm != 0, chi_whole_ppm + shift, 0.0)
    return torch.where(reliable, chi_reliable_ppm, filled)
