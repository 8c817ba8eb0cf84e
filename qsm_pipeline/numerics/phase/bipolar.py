"""Phase difference between odd and even echoes of a bipolar readout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import smooth_phase
from qsm_pipeline.numerics.phase.offset import wrap
from qsm_pipeline.numerics.unwrap.romeo import unwrap_volume

FOUND_RAD = 0.05
"""A larger spread of the alternating phase is that of a bipolar readout: monopolar ones have less
than 0.01, also with noise and at 7 T, and bipolar ones with 0.3 rad across the volume 0.04."""
_MOST_TIMES = 4
"""Largest whole number that an echo is taken times, so that noise stays small."""
_COARSE_MM = 3.0
"""Voxels up to this size show a phase that is smooth over more than twice as much."""
_SAME = 0.02
"""Echo times that differ by less than this part of their spacing count as equal."""
_FEWEST = 1000
"""Voxels that tell whether there is a smooth phase."""


class _Triple(NamedTuple):
    """Two echoes of one polarity, and one of the other between or after them."""

    like: tuple[int, int]
    other: int
    times: tuple[int, int, int] | None
    """Whole numbers for the three that cancel offset and field; None if there are none."""


def polarities(echoes: int, echo_numbers: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return -1 for odd and 1 for even echoes, by their numbers where those are known."""
    numbers = range(1, echoes + 1) if echo_numbers is None else echo_numbers
    return tuple(1 if number % 2 == 0 else -1 for number in numbers)


def can_be_looked_for(polarity: Sequence[int]) -> bool:
    """Return whether there are two echoes of one polarity and one of the other."""
    return len(polarity) > 2 and len(set(polarity)) == 2


def alternating_phase(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    grid: Grid,
    sigma_mm: float = 7.0,
    polarity: Sequence[int] | None = None,
) -> Tensor:
    """Return the smooth phase by which even echoes differ from odd ones.

    With ``phase_e = offset + field * TE_e + p_e * g / 2`` and the polarities ``p_e``, combinations
    of three echoes that cancel offset and field leave a multiple of ``g``. Where whole numbers do
    so, wraps cancel too; else the difference of two echoes of one polarity is unwrapped.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase of at least three echoes.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : tuple of float, length E
        In any spacing.
    grid : Grid
        Geometry.
    sigma_mm : float
        Standard deviation of the Gaussian that smooths the result.
    polarity : sequence of int, optional
        From :func:`polarities`; alternating by default.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        ``g`` in radians, zero outside the mask.

    Raises
    ------
    ValueError
        Without two echoes of one polarity and one of the other.
    """
    polarity = polarities(len(echo_times_s)) if polarity is None else polarity
    if not can_be_looked_for(polarity):
        raise ValueError(
            "A bipolar readout needs at least 3 echoes of both polarities to be corrected, got "
            f"{len(echo_times_s)} echoes"
        )
    box = BoundingBox.of(mask, grid)
    phase, size, inside = box.cut(phase_rad), box.cut(magnitude), box.cut(mask)
    triples = _triples(echo_times_s, polarity)
    least = triples[0].times
    real, imaginary = torch.zeros_like(phase[0]), torch.zeros_like(phase[0])
    for like, other, times in triples:
        a, b = like
        if times is None:
            ratio = (echo_times_s[other] - echo_times_s[a]) / (echo_times_s[b] - echo_times_s[a])
            weight = torch.minimum(size[a], size[b])
            evolved = unwrap_volume(wrap(phase[b] - phase[a]), inside, weight)
            left = wrap(phase[other] - phase[a] - ratio * evolved)
        else:
            left = wrap(times[2] * phase[other] + times[0] * phase[a] + times[1] * phase[b])
        weight = size[[a, b, other]].amin(0) * inside
        real.addcmul_(weight, left.cos())
        imaginary.addcmul_(weight, left.sin_(), value=polarity[other])
    size = torch.hypot(real, imaginary)
    smooth = smooth_phase(torch.atan2(imaginary, real), size, box.inner, sigma_mm)
    found = unwrap_volume(wrap(smooth), inside, size)
    return box.paste(found.div_(1 if least is None else least[2]))


def _triples(echo_times_s: Sequence[float], polarity: Sequence[int]) -> list[_Triple]:
    """Return the combinations that multiply ``g`` least, the same number of times."""
    echoes = range(len(polarity))
    found: dict[int, list[_Triple]] = {}
    for a, b in itertools.combinations(echoes, 2):
        if polarity[a] != polarity[b]:
            continue
        for other in echoes:
            if polarity[other] == polarity[a]:
                continue
            span = echo_times_s[b] - echo_times_s[a]
            ratio = (echo_times_s[other] - echo_times_s[a]) / span
            for times in range(1, _MOST_TIMES + 1):
                second = round(times * ratio)
                left_s = abs(times * ratio - second) * span
                if left_s <= _SAME * span / 2 and abs(times - second) <= _MOST_TIMES:
                    whole = (second - times, -second, times)
                    found.setdefault(times, []).append(_Triple((a, b), other, whole))
                    break
            else:
                if 0 < ratio < 1:
                    found.setdefault(_MOST_TIMES + 1, []).append(_Triple((a, b), other, None))
    if not found:  # all of the other polarity come before or after
        pair = next(
            p for p in itertools.combinations(echoes, 2) if polarity[p[0]] == polarity[p[1]]
        )
        other = next(e for e in echoes if polarity[e] != polarity[pair[0]])
        return [_Triple(pair, other, None)]
    best = found[min(found)]
    return best if best[0].times is not None else best[:1]


def remove_alternating_phase(
    phase_rad: Tensor, alternating_rad: Tensor, polarity: Sequence[int] | None = None
) -> Tensor:
    """Give all echoes the polarity of their mean; see :func:`alternating_phase`."""
    polarity = polarities(len(phase_rad)) if polarity is None else polarity
    signs = torch.tensor(polarity, dtype=phase_rad.dtype, device=phase_rad.device)
    return wrap(phase_rad - signs[:, None, None, None] * alternating_rad / 2)


def bipolar_score(alternating_rad: Tensor, mask: Tensor) -> float:
    """Return the spread of the alternating phase in radians: near 0 for a monopolar readout."""
    values = alternating_rad[mask]
    return float((values - values.median()).abs().median())


def spread_seen_coarsely(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    grid: Grid,
    polarity: Sequence[int],
) -> float | None:
    """Return :func:`bipolar_score` as every second or third voxel along each axis shows it.

    Arguments as of :func:`alternating_phase`. None where its field has to be unwrapped, which
    takes all voxels, or where little of the mask is left.
    """
    if _triples(echo_times_s, polarity)[0].times is None:
        return None
    steps = [max(1, math.floor(_COARSE_MM / voxel)) for voxel in grid.voxel_size_mm]
    some: tuple[Any, ...] = (..., *[slice(None, None, step) for step in steps])
    inside = mask[some]
    if int(inside.sum()) < _FEWEST:
        return None
    voxel = tuple(v * step for v, step in zip(grid.voxel_size_mm, steps, strict=True))
    coarse = Grid(tuple(inside.shape), voxel, grid.b0_dir)
    found = alternating_phase(
        phase_rad[some], magnitude[some], inside, echo_times_s, coarse, polarity=polarity
    )
    return bipolar_score(found, inside)
