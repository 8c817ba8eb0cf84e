"""Susceptibility of labelled regions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid


@dataclass(frozen=True)
class Region:
    """What a region holds.

    Parameters
    ----------
    index : int
        Its label.
    n_voxels : int
        Voxels of the region in which the map is valid.
    volume_ml : float
        Volume of the whole region.
    mean_ppm, median_ppm, sd_ppm : float or None
        Over the valid voxels; None without one. The standard deviation is that of a sample and
        needs two.
    """

    index: int
    n_voxels: int
    volume_ml: float
    mean_ppm: float | None
    median_ppm: float | None
    sd_ppm: float | None


def measure_regions(chi_ppm: Tensor, labels: Tensor, valid: Tensor, grid: Grid) -> list[Region]:
    """Measure every label but 0.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    labels : torch.Tensor, shape (X, Y, Z), integer
        Regions, on the grid of the map.
    valid : torch.Tensor, shape (X, Y, Z), bool
        Where the map is valid.
    grid : Grid
        Geometry.

    Returns
    -------
    list of Region
        In the order of the labels. The median of an even number of voxels is the mean of the two
        in the middle.
    """
    chosen = labels > 0
    found, counts = torch.unique(labels[chosen], return_counts=True)
    inside = chosen & valid
    order = torch.argsort(labels[inside], stable=True)
    sizes = {int(k): int(n) for k, n in zip(*_counts(labels[inside]), strict=True)}
    per_region = [sizes.get(int(index), 0) for index in found]
    values = chi_ppm[inside][order].double().split(per_region)
    volume_ml = grid.voxel_volume_mm3 / 1000
    return [
        Region(
            int(index),
            len(part),
            int(count) * volume_ml,
            float(part.mean()) if len(part) else None,
            float(part.quantile(0.5)) if len(part) else None,
            float(part.std()) if len(part) > 1 else None,
        )
        for index, count, part in zip(found, counts, values, strict=True)
    ]


def _counts(labels: Tensor) -> tuple[Tensor, Tensor]:
    return torch.unique(labels, return_counts=True)
