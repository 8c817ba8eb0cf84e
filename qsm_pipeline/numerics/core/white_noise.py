"""The white noise of volumes that hold anatomy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import box_slices
from qsm_pipeline.numerics.core.voxels import at, voxels_of

_COEFFICIENTS = (1.0, -4.0, 6.0, -4.0, 1.0)
_FEWEST, _ENOUGH = 100, 200_000
"""Voxels; of more, every second slice counts, or every third, and so on."""


def white_noise(volumes: Tensor, mask: Tensor) -> float | None:
    """Return the standard deviation of white noise, in the unit of the volumes.

    From fourth-order differences along all axes, which tissue hardly has. Of the axes the least
    counts, since structure adds to it, and of the volumes the median.

    Parameters
    ----------
    volumes : torch.Tensor, shape (E, X, Y, Z)
        Such as the magnitudes of all echoes, or one field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to look.

    Returns
    -------
    float or None
        None where the mask is too small or thin to tell.
    """
    box = box_slices(mask)
    if box is None:
        return None
    volumes, mask = volumes[(..., *box)], mask[box]
    every = 1 + int(mask.sum()) // _ENOUGH
    found: list[list[float]] = [[] for _ in volumes]
    for axis in range(3):
        n = mask.shape[axis] - 4
        if n < 1:
            continue
        some: list[Any] = [..., slice(None), slice(None), slice(None)]
        some[(axis + 1) % 3 - 3] = slice(None, None, every)
        inside, thinned = mask[tuple(some)], volumes[tuple(some)]
        where = torch.ones_like(inside.narrow(axis, 0, n))
        for shift in range(5):
            where &= inside.narrow(axis, shift, n)
        inner = voxels_of(where)
        if len(inner) < _FEWEST:
            continue
        for of_volume, volume in zip(found, thinned, strict=True):
            difference = torch.zeros_like(volume.narrow(axis, 0, n))
            for shift, c in enumerate(_COEFFICIENTS):
                difference.add_(volume.narrow(axis, shift, n), alpha=c)
            median = float(at(difference, inner).abs().median())
            of_volume.append(median * 1.4826 / math.sqrt(70))
    least = [min(of_volume) for of_volume in found if of_volume]
    return float(np.median(least)) if least else None
