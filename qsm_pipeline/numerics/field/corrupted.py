"""An echo that does not fit the others, because something moved or was stored wrongly."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from qsm_pipeline.numerics.core.voxels import at, some_of
from qsm_pipeline.numerics.phase.offset import wrap

OFF_RAD = 0.06
"""Echoes that are less off a line, typically and each, are left in."""
BETTER = 1.8
"""Without the echo that is to be left out, the others fit better by this factor at least."""
_MOST_TIMES = 8


def corrupted_echo(
    phase_rad: Tensor, magnitude: Tensor, mask: Tensor, echo_times_s: Sequence[float]
) -> int | None:
    """Find the one echo without which the phase is a line in the echo time.

    Combinations of three echoes that cancel offset and field leave noise, if all is well;
    constants of echoes do not count.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, with its offset.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : sequence of float, length E
        Increasing.

    Returns
    -------
    int or None
        Counted from 0. None if all fit, if none alone is the reason, or with fewer than four.
    """
    echoes = list(range(len(echo_times_s)))
    if len(echoes) < 4:
        return None
    some = some_of(mask)
    phase, size = at(phase_rad, some), at(magnitude, some)
    if not phase.shape[1]:
        return None
    worst = _worst(phase, size, echo_times_s, echoes)
    if worst is None or worst < OFF_RAD:
        return None
    without = {}
    for echo in echoes:
        rest = _worst(phase, size, echo_times_s, [e for e in echoes if e != echo])
        if rest is not None:
            without[echo] = rest
    if not without:
        return None
    best = min(without, key=without.__getitem__)
    return best if without[best] * BETTER < worst else None


def _worst(
    phase: Tensor, size: Tensor, times: Sequence[float], echoes: Sequence[int]
) -> float | None:
    """Return the largest typical misfit of three echoes in a row, per echo, in radians."""
    found = []
    for a, b, c in zip(echoes, echoes[1:], echoes[2:], strict=False):
        whole = _whole_numbers(times[a], times[b], times[c])
        if whole is None:
            continue
        first, second, third = (n * phase[e] for n, e in zip(whole, (a, b, c), strict=True))
        left = first + second + third
        weight = size[[a, b, c]].amin(0)
        bright = weight >= weight.median()  # voxels without signal say nothing
        left = wrap(left[bright])
        middle = (left.cos().mean(), left.sin().mean())
        left = wrap(left - math.atan2(float(middle[1]), float(middle[0])))
        found.append(float(left.abs().median()) / math.sqrt(sum(n * n for n in whole)))
    return max(found) if found else None


def _whole_numbers(first: float, second: float, third: float) -> tuple[int, int, int] | None:
    """Return numbers of times that cancel offset and field of three echoes, if they are small."""
    ratio = (second - first) / (third - first)
    for times in range(1, _MOST_TIMES + 1):
        last = round(times * ratio)
        if abs(times * ratio - last) <= 0.01 * times:
            return (last - times, times, -last)
    return None
