"""Combine the images of single receive coils."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.phase.coils import CoilPhases, CombinedCoils


def combine_coils(
    first_echoes: Iterable[np.ndarray],
    coils: Iterable[tuple[np.ndarray, np.ndarray]],
    grid: Grid,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum coils with their sensitivities, which are found in the first echo.

    Both iterables may read one coil at a time, so that memory does not grow with their number.
    What all coils share of the phase offset is left; it is the same in all echoes.

    Parameters
    ----------
    first_echoes : iterable of numpy.ndarray, shape (X, Y, Z), complex
        First echo of each coil.
    coils : iterable of tuple of numpy.ndarray, shape (E, X, Y, Z)
        Wrapped phase in radians and magnitude of each coil, in the same order.
    grid : Grid
        Geometry.

    Returns
    -------
    numpy.ndarray, shape (E, X, Y, Z)
        Wrapped phase in radians.
    numpy.ndarray, shape (E, X, Y, Z)
        Root sum of squares of the magnitudes.

    Raises
    ------
    ValueError
        If there is no coil, or one of another shape.

    References
    ----------
    Parker et al. 2014, doi:10.1002/mrm.25064 (virtual reference coil).
    """
    phases = CoilPhases(grid)
    for first_echo in first_echoes:
        phases.add(torch.from_numpy(first_echo))
    combined: CombinedCoils | None = None
    for (phase, magnitude), sensitivity in zip(coils, phases.sensitivities(), strict=True):
        combined = combined or CombinedCoils(len(phase), grid)
        tensors = torch.from_numpy(phase), torch.from_numpy(magnitude)
        combined.add(*tensors, phases.at_voxels(sensitivity))
    assert combined is not None  # there are as many as sensitivities
    return combined.phase_rad.numpy(), combined.magnitude.numpy()
