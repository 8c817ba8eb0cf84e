"""What is wrong with the images before anything is computed: range, clipping, missing data."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from qsm_pipeline.numerics.core.voxels import at, some_of

_FEW = 20_000
_COPY = 0.5


def sampled(images: Tensor, mask: Tensor) -> Tensor:
    """Return what the functions here look at: at most 200,000 voxels of a mask, evenly chosen.

    Parameters
    ----------
    images : torch.Tensor, shape (E, X, Y, Z)
        Echoes.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    torch.Tensor, shape (E, N)
    """
    return at(images, some_of(mask))


def phase_range_turns(phase_rad: Tensor) -> float | None:
    """Return the range that wrapped phase fills, in turns.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, N)
        Phase as it was read, in voxels of the brain.

    Returns
    -------
    float or None
        Of the echo that fills most; 1 for phase in radians that wraps. Less for phase that was
        scaled wrongly or filtered, more for phase that was scaled wrongly or unwrapped. None
        without voxels.
    """
    count = phase_rad.shape[1]
    if not count:
        return None
    cut = max(1, count // 1000)
    low = phase_rad.kthvalue(cut, 1).values
    high = phase_rad.kthvalue(count + 1 - cut, 1).values
    return float((high - low).max()) / (2 * math.pi)


def phase_levels(phase_rad: Tensor) -> float | None:
    """Return how many different values the phase has, of the echo with fewest.

    Shape as in :func:`phase_range_turns`. At most 20,000, as many voxels as are looked at.
    """
    step = 1 + phase_rad.shape[1] // _FEW
    if not phase_rad.shape[1]:
        return None
    return float(min(echo[::step].unique().numel() for echo in phase_rad))


def clipped_percent(phase_rad: Tensor, magnitude: Tensor) -> float | None:
    """Return how many voxels hold the largest or smallest value of their image, in percent.

    Shapes as in :func:`missing_percent`. The worst echo counts, less what the ends hold of phase
    stored in few levels; images that were not clipped have nearly none.
    """
    levels = phase_levels(phase_rad)
    if levels is None:
        return None
    worst = 0.0
    for images, usual in ((phase_rad, 3 / levels), (magnitude, 0.0)):
        for values in images:
            for end in (float(values.max()), float(values.min())):
                worst = max(worst, float((values == end).double().mean()) - usual)
    return 100 * worst


def missing_percent(phase_rad: Tensor, magnitude: Tensor) -> float | None:
    """Return how many voxels of the brain have no data.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, N)
        As they were read, in voxels of the brain.

    Returns
    -------
    float or None
        Voxels whose magnitude or phase is zero in an echo, in percent, less what phase in few
        levels has at zero; 100 if most of an echo is the same as the echo before. None without
        voxels.
    """
    levels = phase_levels(phase_rad)
    if levels is None:
        return None
    for images in (phase_rad, magnitude):
        for before, after in pairwise(images):
            if float((before == after).double().mean()) > _COPY:
                return 100.0
    dark = float((magnitude == 0).any(0).double().mean())
    empty = max(float((echo == 0).double().mean()) for echo in phase_rad) - 3 / levels
    return 100 * max(dark, empty, 0.0)
