"""Removal of the phase that all echoes share: MCPC-3D-S."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import smooth_phase
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.unwrap.romeo import unwrap_first


def wrap(phase_rad: Tensor) -> Tensor:
    """Wrap to [-pi, pi]."""
    return phase_rad - 2 * torch.pi * torch.round(phase_rad / (2 * torch.pi))


def remove_phase_offset(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    grid: Grid,
    params: PhaseOffsetParams | None = None,
) -> tuple[Tensor, Tensor]:
    """Remove the transmit and receive phase, which is there at echo time zero.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase of at least two echoes.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : tuple of float, length E
        Increasing.
    grid : Grid
        Geometry.
    params : PhaseOffsetParams, optional
        Parameters.

    Returns
    -------
    corrected_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase without the offset.
    offset_rad : torch.Tensor, shape (X, Y, Z)
        The smooth offset that was subtracted; zero outside the box around the mask.

    Raises
    ------
    ValueError
        With fewer than two echoes.

    References
    ----------
    Eckstein et al. 2018, doi:10.1002/mrm.26963.
    """
    params = params or PhaseOffsetParams()
    if len(echo_times_s) < 2:
        raise ValueError("The phase offset cannot be told from the field in a single echo")
    first, second = echo_times_s[:2]
    since_first = tuple(time - first for time in echo_times_s[1:])
    evolved = unwrap_first(
        wrap(phase_rad[1:] - phase_rad[0]), mask, since_first,
        (magnitude[0] * magnitude[1:]).sqrt(),
    )  # fmt: skip
    offset = phase_rad[0] - evolved * (first / (second - first))
    smooth = smooth_phase(offset, magnitude[0] * mask, grid, params.sigma_mm)
    return wrap(phase_rad - smooth) * mask, smooth
