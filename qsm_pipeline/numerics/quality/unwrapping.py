"""What is wrong with unwrapped phase, as far as it shows without the truth."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
        Root mean square over voxels and echoes of the difference, wrapped to half a turn. 0 for
        exact methods, which the QSM consensus asks for (doi:10.1002/mrm.30006).
    """
    squares = torch.zeros((), dtype=torch.float64, device=mask.device)
    for after, before in zip(unwrapped_rad, wrapped_rad, strict=True):
        difference = after[mask] - before[mask]
        turns = torch.round(difference / (2 * math.pi))
        squares += (difference - 2 * math.pi * turns).double().square().mean()
    return math.sqrt(float(squares) / len(unwrapped_rad))
