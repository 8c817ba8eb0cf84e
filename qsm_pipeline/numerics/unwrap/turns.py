"""The whole turns that unwrapping in space leaves open, for each connected part of a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_SAMPLES = 200_000
_MOST = 20
_SAME = 0.02
"""Numbers of turns whose mean cosine of the misfit differs by less fit equally well."""


def nearest_to(
    expected: np.ndarray | float, unwrapped: np.ndarray, parts: np.ndarray
) -> np.ndarray:
    """Shift each part by whole turns so that its median is the nearest to what is expected.

    Parameters
    ----------
    expected : numpy.ndarray, shape (X, Y, Z), or float
        Phase in radians.
    unwrapped : numpy.ndarray, shape (X, Y, Z)
        Phase in radians, right but for whole turns in each part.
    parts : numpy.ndarray, shape (X, Y, Z), integer
        0 outside the mask, else the number of the connected part.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z)
        Unwrapped phase; unchanged outside the mask.
    """
    if not parts.any():
        return unwrapped
    medians = _medians(expected - unwrapped, parts)
    return _add_turns(unwrapped, parts, np.append(0.0, np.round(medians / (2 * math.pi))))


def _medians(values: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the median of each part; the largest, which is nearly all, without sorting it."""
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    largest = counts.argmax()
    medians = np.empty(len(counts))
    medians[largest] = np.median(values[parts == largest])
    others = np.delete(np.arange(len(counts)), np.array([0, largest]))
    if len(others):
        rest = (parts > 0) & (parts != largest)
        medians[others] = ndimage.median(values[rest], parts[rest], others)
    return medians[1:]


def fit_in_time(
    unwrapped: np.ndarray,
    parts: np.ndarray,
    phase: np.ndarray,
    magnitude: np.ndarray | None,
    times: Sequence[float],
    echo: int = 0,
) -> np.ndarray:
    """Shift each part of one echo by the turns that make it fit the others.

    Off resonance the whole head has the same frequency on top, which unwrapping in space cannot
    see; the phase of the other echoes only fits with the right number of turns.

    Parameters
    ----------
    unwrapped : numpy.ndarray, shape (X, Y, Z)
        Phase of one echo in radians, right but for whole turns in each part.
    parts : numpy.ndarray, shape (X, Y, Z), integer
        0 outside the mask, else the number of the connected part.
    phase : numpy.ndarray, shape (E, X, Y, Z)
        Phase of all echoes in radians without offsets, wrapped or not.
    magnitude : numpy.ndarray, shape (E, X, Y, Z), or None
        Magnitude in any unit.
    times : sequence of float, length E
        Echo times.
    echo : int
        Which echo was unwrapped.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z)
        Unwrapped phase. Of several numbers of turns that fit equally well the smallest is taken,
        which is none where all times are multiples of that of the echo.
    """
    others = [e for e in range(len(times)) if e != echo]
    if not others or not parts.any():
        return unwrapped
    ratios = [times[e] / times[echo] for e in others]
    weights = None if magnitude is None else [magnitude[e] for e in others]
    turns = _best_turns(unwrapped, parts, [phase[e] for e in others], weights, ratios)
    return _add_turns(unwrapped, parts, turns)


def _add_turns(unwrapped: np.ndarray, parts: np.ndarray, turns: np.ndarray) -> np.ndarray:
    if not turns.any():
        return unwrapped
    return unwrapped + np.float32(2 * math.pi) * turns.astype(np.float32)[parts]


def _best_turns(
    unwrapped: np.ndarray,
    parts: np.ndarray,
    others: Sequence[np.ndarray],
    weights: Sequence[np.ndarray] | None,
    ratios: Sequence[float],
) -> np.ndarray:
    inside = np.flatnonzero(parts)
    inside = inside[:: 1 + len(inside) // _SAMPLES]
    part = parts.ravel()[inside]
    count = int(parts.max()) + 1
    here = unwrapped.ravel()[inside].astype(np.float64)
    # more would repeat themselves where the echoes are equally spaced
    largest = min(_MOST, math.ceil(1 / min(abs(1 - ratio) for ratio in ratios)))
    turns = np.array(sorted(range(-largest, largest + 1), key=abs))
    fit = np.zeros((len(turns), count))
    for echo, ratio in enumerate(ratios):
        weight = np.ones_like(here) if weights is None else weights[echo].ravel()[inside]
        phasor = np.exp(1j * (ratio * here - others[echo].ravel()[inside]))
        real, imaginary = (
            np.bincount(part, weight * values, count) for values in (phasor.real, phasor.imag)
        )
        mean = (real + 1j * imaginary) / np.maximum(np.bincount(part, weight, count), 1e-30)
        fit += (mean * np.exp(2j * math.pi * ratio * turns)[:, None]).real / len(ratios)
    return turns[(fit >= fit.max(axis=0) - _SAME).argmax(axis=0)]
