"""Phase that is the same for a whole slice, or for a whole echo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.voxels import at, some_of
from qsm_pipeline.numerics.phase.offset import phasor_sum, wrap

ROUGH_RAD = 0.15
"""Offsets of slices whose steps from slice to slice vary by more are not part of a smooth phase:
simulated and measured volumes have less than 0.03."""
ROUGH_SINGLE_RAD = 0.4
"""The same for one echo, whose steps hold the field too."""
SAME_RAD = 0.1
"""Constants of echoes that are smaller are left alone: decay that is not simple makes such."""
_FEWEST = 0.02


@dataclass(frozen=True)
class SliceOffsets:
    """Offsets of the slices along one axis.

    Parameters
    ----------
    axis : int
        The slice axis.
    offsets_rad : torch.Tensor, shape (slices,)
        Of each slice, in all echoes alike.
    """

    axis: int
    offsets_rad: Tensor

    def remove(self, phase_rad: Tensor) -> Tensor:
        """Return wrapped phase, shape (E, X, Y, Z), without them."""
        shape = [1, 1, 1]
        shape[self.axis] = -1
        return wrap(phase_rad - self.offsets_rad.reshape(shape))


def slice_offsets(
    phase_rad: Tensor, magnitude: Tensor, mask: Tensor, echo_times_s: tuple[float, ...]
) -> SliceOffsets | None:
    """Find offsets that jump from slice to slice, as two-dimensional acquisitions have them.

    The step of the phase offset between two slices is the mean over them of the step of the first
    echo less what the field makes of it, which the second echo tells.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : tuple of float, length E
        Echo times. Of a single echo the mean field of each slice goes with its offset.

    Returns
    -------
    SliceOffsets or None
        None where the offset is smooth along all axes.
    """
    best: tuple[float, SliceOffsets] | None = None
    several = len(echo_times_s) > 1
    between = wrap(phase_rad[1] - phase_rad[0]) if several else None
    for axis in range(3):
        n = mask.shape[axis] - 1
        if n < 4:
            continue
        both = mask.narrow(axis, 0, n) & mask.narrow(axis, 1, n)
        step = wrap(torch.diff(phase_rad[0], dim=axis))
        if between is not None:
            first, second = echo_times_s[:2]
            evolved = wrap(torch.diff(between, dim=axis))
            step = step - evolved * (first / (second - first))
        size = magnitude[0].narrow(axis, 0, n) * magnitude[0].narrow(axis, 1, n) * both
        others = tuple(a for a in range(3) if a != axis)
        mean = phasor_sum(size, step, others)
        count = both.sum(others)
        used = (count > _FEWEST * count.max()) & (mean.abs() > 0)
        steps = torch.where(used, mean.angle(), 0.0)
        bends = wrap(torch.diff(steps))[used[1:] & used[:-1]]
        if bends.numel() < 3:
            continue
        rough = float(bends.square().mean().sqrt())
        if rough > (ROUGH_RAD if several else ROUGH_SINGLE_RAD) and (not best or rough > best[0]):
            offsets = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
            best = rough, SliceOffsets(axis, offsets)
    return best[1] if best else None


def echo_constants_rad(
    phase_rad: Tensor, magnitude: Tensor, mask: Tensor, echo_times_s: tuple[float, ...]
) -> tuple[float, ...]:
    """Find the constant by which each echo is off the line through the first two.

    Scanners that measure echoes apart, or drift between them, add such constants. What is linear
    in the echo time is a field that is the same everywhere, and not looked for.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, with or without offset.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : tuple of float, length E
        Increasing.

    Returns
    -------
    tuple of float, length E
        In radians, from -pi to pi; 0 for the first two echoes.
    """
    constants = [0.0] * min(2, len(echo_times_s))
    if len(echo_times_s) < 3:
        return tuple(constants)
    some = some_of(mask)
    phase, sizes = at(phase_rad, some), at(magnitude, some)
    evolved = wrap(phase[1] - phase[0])
    for echo in range(2, len(echo_times_s)):
        first, second = echo_times_s[:2]
        ratio = (echo_times_s[echo] - first) / (second - first)
        off = wrap(phase[echo] - phase[0] - ratio * evolved)
        weight = sizes[echo].square()
        found = phasor_sum(weight, off).angle()
        for _ in range(3):  # voxels whose step between echoes is wrapped lie elsewhere
            rest = wrap(off - found)
            near = rest.abs() < 1.0
            found = found + phasor_sum(weight * near, rest).angle()
        constants.append(float(wrap(found)))
    return tuple(constants)
