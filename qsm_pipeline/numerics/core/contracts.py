"""Checks at the door of every step and method: what was got, and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.voxels import any_of


def check_volume(name: str, x: Any, shape: Sequence[int]) -> None:
    """Refuse what is not a real floating-point tensor of a shape.

    Parameters
    ----------
    name : str
        Of the argument, for the message.
    x : Any
        What was given.
    shape : sequence of int
        Expected shape.

    Raises
    ------
    TypeError
        If it is not a tensor of floating-point numbers.
    ValueError
        If it has another shape.
    """
    _check_tensor(name, x, tuple(shape))
    if not x.is_floating_point():
        raise TypeError(f"Expected {name} as floating-point numbers, got {x.dtype}")


def check_mask(name: str, mask: Any, shape: Sequence[int], *, empty: bool = True) -> None:
    """Refuse what is not a boolean tensor of a shape; see :func:`check_volume`.

    Parameters
    ----------
    name, mask, shape
        As there.
    empty : bool
        Whether the mask may hold no voxel.
    """
    _check_tensor(name, mask, tuple(shape))
    if mask.dtype != torch.bool:
        raise TypeError(f"Expected {name} as booleans, got {mask.dtype}; compare it with a number")
    if not empty and not any_of(mask):
        raise ValueError(f"Expected {name} with at least one voxel, got an empty mask")


def check_finite(name: str, x: Tensor, mask: Tensor | None = None) -> None:
    """Refuse values that are not finite, in a mask if one is given.

    Raises
    ------
    ValueError
        With their number.
    """
    if x.sum().isfinite():  # one pass; a sum with anything in it that is not finite is not either
        return
    bad = ~x.isfinite()
    if mask is not None:
        bad &= mask
    count = int(bad.sum())
    if count:
        where = "" if mask is None else " in the mask"
        raise ValueError(f"Expected finite values of {name}{where}, got {count} that are not")


def check_weights(name: str, weights: Tensor, mask: Tensor) -> None:
    """Refuse weights outside of [0, 1] in a mask, with some room for rounding.

    Raises
    ------
    ValueError
        With the smallest and largest value.
    """
    check_finite(name, weights, mask)
    if weights.numel() and float(weights.min()) >= 0 and float(weights.max()) <= 1:
        return  # without a copy of those in the mask
    inside = weights[mask]
    if inside.numel() and (float(inside.min()) < -1e-3 or float(inside.max()) > 1 + 1e-3):
        low, high = float(inside.min()), float(inside.max())
        raise ValueError(f"Expected {name} between 0 and 1, got {low:g} to {high:g}")


def check_echo_times(echo_times_s: Sequence[float], echoes: int) -> None:
    """Refuse echo times that are not as many, positive, finite and ascending.

    Raises
    ------
    ValueError
        With the times.
    """
    times = list(echo_times_s)
    if len(times) != echoes:
        raise ValueError(f"Expected {echoes} echo times for {echoes} echoes, got {len(times)}")
    fine = all(math.isfinite(time) and time > 0 for time in times)
    if not fine or any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"Expected positive, ascending echo times in seconds, got {times}")
    if times[0] > 1:
        raise ValueError(f"Expected echo times in seconds, got {times}; are they milliseconds?")


def check_field_strength(b0_tesla: float) -> None:
    """Refuse a field strength that no scanner has.

    Raises
    ------
    ValueError
        With the value.
    """
    if not (math.isfinite(b0_tesla) and 0 < b0_tesla < 30):
        raise ValueError(f"Expected a field strength between 0 and 30 tesla, got {b0_tesla}")


def _check_tensor(name: str, x: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(x, Tensor):
        kind = f"{type(x).__module__}.{type(x).__name__}"
        raise TypeError(f"Expected {name} as torch.Tensor, got {kind}")
    if tuple(x.shape) != shape:
        raise ValueError(f"Expected {name} of shape {shape}, got {tuple(x.shape)}")
