"""Removal of the phase that all echoes share: MCPC-3D-S."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import smooth_phase
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.unwrap.romeo import unwrap_first


def wrap(phase_rad: Tensor) -> Tensor:
    """Wrap to [-pi, pi]."""
    turns = torch.round(phase_rad / (2 * torch.pi))
    return phase_rad - turns.mul_(2 * torch.pi)


def phasor_sum(size: Tensor, phase_rad: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Return the complex sum of phasors over axes, all by default."""
    real, imaginary = (f(phase_rad).mul_(size).sum(axes) for f in (torch.cos, torch.sin))
    return torch.complex(real, imaginary)


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
        raise ValueError("A single echo cannot separate the phase offset from the field")
    first, second = echo_times_s[:2]
    since_first = tuple(time - first for time in echo_times_s[1:])
    box = BoundingBox.of(mask, grid)
    phase, size, inside = box.cut(phase_rad), box.cut(magnitude), box.cut(mask)
    evolved = unwrap_first(
        wrap(phase[1:] - phase[0]), inside, since_first, (size[0] * size[1:]).sqrt_()
    )
    offset = evolved.mul_(-first / (second - first)).add_(phase[0])
    smooth = smooth_phase(offset, size[0] * inside, box.inner, params.sigma_mm)
    return box.paste(wrap(phase.sub_(smooth)).mul_(inside)), box.paste(smooth)
