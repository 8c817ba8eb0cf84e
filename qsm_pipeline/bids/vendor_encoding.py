"""Phase and magnitude as each maker's scanners and their converters store them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MAGNITUDE_SCALE = 500
_RANGE = 4096


class StoredPart(NamedTuple):
    """One image as it lies in a file.

    Parameters
    ----------
    values : numpy.ndarray, int16
        Stored integers.
    slope, intercept : float
        Of the header.
    """

    values: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0


def _siemens(phase_rad: np.ndarray, magnitude: np.ndarray) -> dict[str, StoredPart]:
    return {"mag": _magnitude(magnitude), "phase": StoredPart(_twelve_bit(phase_rad), 2.0, -4096)}


def _siemens_unscaled(phase_rad: np.ndarray, magnitude: np.ndarray) -> dict[str, StoredPart]:
    return {"mag": _magnitude(magnitude), "phase": StoredPart(_twelve_bit(phase_rad))}


def _philips(phase_rad: np.ndarray, magnitude: np.ndarray) -> dict[str, StoredPart]:
    phase = StoredPart(_twelve_bit(phase_rad), 2000 * np.pi / _RANGE, -1000 * np.pi)
    return {"mag": _magnitude(magnitude), "phase": phase}


def _ge(phase_rad: np.ndarray, magnitude: np.ndarray) -> dict[str, StoredPart]:
    """Opposite sign of the phase; every second slice negated, as in raw data."""
    signal = magnitude * np.exp(-1j * phase_rad) * (1 - 2 * (np.arange(phase_rad.shape[2]) % 2))
    return {"real": _magnitude(signal.real), "imag": _magnitude(signal.imag)}


def _twelve_bit(phase_rad: np.ndarray) -> np.ndarray:
    """Return 0..4095 for -pi to just below pi."""
    steps = np.round(phase_rad / np.pi * (_RANGE / 2)) + _RANGE / 2
    return (steps % _RANGE).astype(np.int16)


def _magnitude(values: np.ndarray) -> StoredPart:
    return StoredPart(np.round(values * _MAGNITUDE_SCALE).clip(-32768, 32767).astype(np.int16))


ENCODERS = {
    "siemens": ("Siemens", _siemens),
    "siemens-unscaled": ("Siemens", _siemens_unscaled),
    "philips": ("Philips", _philips),
    "ge": ("GE", _ge),
}
"""Name to the maker's name in the sidecar and the function from phase (rad) and magnitude, each
of shape (X, Y, Z), to part entity and :class:`StoredPart`."""
