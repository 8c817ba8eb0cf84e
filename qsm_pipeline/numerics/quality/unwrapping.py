"""What is wrong with unwrapped phase, as far as it shows without the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.quality.raw_data import sampled


def jumps_percent(unwrapped_rad: Tensor, mask: Tensor) -> float | None:
    """Return how many pairs of neighbours still differ by more than half a turn, in percent.

    Parameters
    ----------
    unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase of every echo.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    float or None
        Over all echoes; None if no two voxels of the mask are neighbours.
    """
    pairs, jumps = 0, 0
    if not mask.any():
        return None
    for axis in range(3):
        n = mask.shape[axis] - 1
        both = mask.narrow(axis, 0, n) & mask.narrow(axis, 1, n)
        for echo in unwrapped_rad:
            steep = torch.diff(echo, dim=axis).abs_() > math.pi
            jumps += int(steep.logical_and_(both).sum())
        pairs += int(both.sum()) * len(unwrapped_rad)
    return 100 * jumps / pairs if pairs else None


def incongruence_rad(unwrapped_rad: Tensor, wrapped_rad: Tensor, mask: Tensor) -> float:
    """Return how far unwrapping has moved the phase from what was measured plus whole turns.

    Parameters
    ----------
    unwrapped_rad, wrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase after and before.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    float
        Root mean square over echoes and at most 200,000 voxels of the difference, wrapped to half
        a turn. 0 for exact methods, which the QSM consensus asks for (doi:10.1002/mrm.30006).
    """
    difference = sampled(unwrapped_rad, mask) - sampled(wrapped_rad, mask)
    turns = torch.round(difference / (2 * math.pi))
    return float((difference - 2 * math.pi * turns).double().square().mean().sqrt())


def turns_off_percent(
    unwrapped_rad: Tensor,
    total_field_ppm: Tensor,
    where: Tensor,
    echo_times_s: Sequence[float],
    b0_tesla: float,
) -> float | None:
    """Return how many voxels have an echo with another number of turns than the field says.

    Parameters
    ----------
    unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase of every echo.
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Fitted to it.
    where : torch.Tensor, shape (X, Y, Z), bool
        Voxels that count.
    echo_times_s : sequence of float, length E
        In seconds.
    b0_tesla : float
        Field strength.

    Returns
    -------
    float or None
        In percent; turns that a whole echo has too much do not count. None for one echo or an
        empty mask.
    """
    if len(unwrapped_rad) < 2 or not where.any():
        return None
    field = total_field_ppm[where]
    off = torch.zeros_like(field, dtype=torch.bool)
    for echo, time in zip(unwrapped_rad, echo_times_s, strict=True):
        turns = (echo[where] - rad_per_s_per_ppm(b0_tesla) * time * field) / (2 * math.pi)
        off |= (turns - turns.median()).abs() > 0.5
    return 100 * float(off.double().mean())
