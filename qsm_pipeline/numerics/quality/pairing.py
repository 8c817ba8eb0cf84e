"""Whether magnitude and phase show the same head, voxel by voxel."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.grid import Grid

_COARSE_MM = 4.0
_FAR_MM = 10.0
_LEAST = 0.3
"""Less correlation in any position tells nothing. Simulated scans have 0.45 and more."""
_DARK = 0.1
"""Of the bright magnitudes; darker voxels hold air or bone."""


def pairing(phase_rad: Tensor, magnitude: Tensor, grid: Grid) -> float | None:
    """Return how much better phase and magnitude agree than when one of them is turned over.

    Phase hangs together where there is signal and is noise, or zero, elsewhere.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (X, Y, Z)
        Wrapped phase and magnitude of one echo, as they were read.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Correlation between where the magnitude is bright and where the phase hangs together, less
        the best of those with the magnitude flipped along axes or moved by at least 10 mm. Below
        0 they do not belong together. None where all is bright or nothing is, and where phase
        hangs together outside the head nearly as well: some scanners smooth it there.
    """
    bright = magnitude > _DARK * magnitude.flatten()[:: 1 + magnitude.numel() // 200_000].quantile(
        0.98
    )
    together = coherence(phase_rad)
    width = [max(1, round(_COARSE_MM / v)) for v in grid.voxel_size_mm]
    width = [min(w, n) for w, n in zip(width, grid.shape, strict=True)]
    first, second = (
        avg_pool3d(x.to(torch.float32)[None, None], width)[0, 0] for x in (bright, together)
    )
    first, second = first - first.mean(), second - second.mean()
    size = float(first.norm() * second.norm())
    if size == 0 or min(first.shape) < 4:
        return None
    far = [
        max(1, round(_FAR_MM / (w * v))) for w, v in zip(width, grid.voxel_size_mm, strict=True)
    ]
    own, others = 0.0, []
    for number in range(4):
        for axes in itertools.combinations(range(3), number):
            other = torch.flip(first, axes) if axes else first
            product = torch.fft.irfftn(
                torch.fft.rfftn(second) * torch.fft.rfftn(other).conj(), s=first.shape
            )
            if not axes:
                own = float(product[0, 0, 0]) / size
                for axis, distance in enumerate(far):
                    n = first.shape[axis]
                    if n > 2 * distance:
                        others.append(product.narrow(axis, distance, n - 2 * distance + 1).max())
            else:
                others.append(product[0, 0, 0])
    best = float(torch.stack(others).max()) / size
    return own - best if max(own, best) > _LEAST else None


def coherence(phase_rad: Tensor) -> Tensor:
    """Return how well each voxel's phase agrees with its neighbours', from 0 to 1."""
    total = torch.zeros_like(phase_rad)
    for axis in range(3):
        n = phase_rad.shape[axis] - 1
        step = torch.diff(phase_rad, dim=axis).cos_()
        total.narrow(axis, 0, n).add_(step)
        total.narrow(axis, 1, n).add_(step)
    return (total / 6).clamp_(min=0) * (phase_rad != 0)
