"""ROMEO: rapid path-following unwrapping of multi-echo phase."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.params.unwrap import RomeoParams
from qsm_pipeline.numerics.unwrap.edge_costs import edge_costs
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.numerics.unwrap.region_growing import grow
from qsm_pipeline.numerics.unwrap.turns import fit_in_time, nearest_to

_EMPTY = np.empty((0, 0, 0), np.float32)


def romeo(problem: UnwrapProblem, params: RomeoParams | None = None) -> Tensor:
    """Unwrap multi-echo phase along the most reliable paths.

    Parameters
    ----------
    problem : UnwrapProblem
        Wrapped phase; free of phase offsets for the template variant.
    params : RomeoParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase in radians, congruent to the input modulo 2 pi inside the mask; zero
        outside. Each connected part of the mask is shifted so that its median frequency is the
        one nearest to zero that fits all echoes.

    Raises
    ------
    ValueError
        If the template echo does not exist.

    References
    ----------
    Dymerska et al. 2021, doi:10.1002/mrm.28563.
    """
    params = params or RomeoParams()
    times = problem.echo_times_s
    if params.template_echo > len(times):
        raise ValueError(f"template_echo is {params.template_echo} of {len(times)} echoes")
    box = BoundingBox.of(problem.mask, problem.grid)
    phase = box.cut(problem.phase_rad).detach().cpu().numpy().astype(np.float32, copy=False)
    mask = box.cut(problem.mask).detach().cpu().numpy()
    magnitude = None
    if problem.magnitude is not None:
        magnitude = box.cut(problem.magnitude).detach().cpu().numpy()
        magnitude = magnitude.astype(np.float32, copy=False)
    out = np.empty_like(phase)
    template = params.template_echo - 1
    first, parts = _unwrap_in_space(phase, magnitude, mask, times, template)
    out[template] = fit_in_time(first, parts, phase, magnitude, times, template)
    before, after = range(template - 1, -1, -1), range(template + 1, len(times))
    for echo in (*after, *before):
        nearest = echo - 1 if echo > template else echo + 1
        expected = out[nearest] * np.float32(times[echo] / times[nearest])
        if params.individual:
            unwrapped, parts = _unwrap_in_space(phase, magnitude, mask, times, echo)
            out[echo] = nearest_to(expected, unwrapped, parts)
        else:
            out[echo] = _unwrap_in_time(phase[echo], expected)
    out *= mask
    return box.paste(torch.from_numpy(out).to(problem.phase_rad))


def unwrap_volume(phase_rad: Tensor, mask: Tensor, magnitude: Tensor | None = None) -> Tensor:
    """Unwrap a single volume, shape (X, Y, Z), in space; see :func:`romeo`."""
    inside = phase_rad * mask
    if float(inside.abs().max()) < math.pi / 2:  # no neighbours differ by half a turn
        return inside
    weights = None if magnitude is None else magnitude[None]
    return unwrap_first(phase_rad[None], mask, (1.0,), weights)


def unwrap_first(
    phase_rad: Tensor, mask: Tensor, times: tuple[float, ...], magnitude: Tensor | None = None
) -> Tensor:
    """Unwrap the first of several volumes in space, with the turns that fit the others too.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase without offsets.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to unwrap.
    times : tuple of float, length E
        When it was measured, in any unit.
    magnitude : torch.Tensor, shape (E, X, Y, Z), optional
        Magnitude in any unit.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Unwrapped phase in radians, zero outside the mask.
    """
    phase = phase_rad.detach().cpu().numpy().astype(np.float32)
    weights = None if magnitude is None else magnitude.detach().cpu().numpy()
    inside = np.ascontiguousarray(mask.detach().cpu().numpy())
    alone = None if weights is None else weights[:1]
    unwrapped, parts = _unwrap_in_space(phase[:1], alone, inside, times[:1], 0)
    out = fit_in_time(unwrapped, parts, phase, weights, times, 0) * inside
    return torch.from_numpy(out).to(phase_rad)


def _unwrap_in_space(
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    mask: np.ndarray,
    times: tuple[float, ...],
    echo: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unwrapped phase, each part with its median nearest to zero, and the parts."""
    other = _EMPTY
    ratio = 1.0
    if len(times) > 1:
        reference = echo + 1 if echo + 1 < len(times) else echo - 1
        other, ratio = phase[reference], times[echo] / times[reference]
    unwrapped = phase[echo].copy()
    weights = _EMPTY if magnitude is None else np.ascontiguousarray(magnitude[echo], np.float32)
    costs = edge_costs(unwrapped, weights, other, ratio, mask)
    parts = grow(unwrapped, costs, mask)
    return nearest_to(0.0, unwrapped, parts), parts


def _unwrap_in_time(wrapped: np.ndarray, expected: np.ndarray) -> np.ndarray:
    jumps = np.round((expected - wrapped) / np.float32(2 * math.pi))
    return wrapped + np.float32(2 * math.pi) * jumps
