"""The data that the quality of a run is computed from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid


@dataclass(frozen=True)
class Measured:
    """What the scanner measured, and its total field.

    Parameters
    ----------
    magnitude, raw_rad : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit, and phase, as they were read.
    wrapped_rad, unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase, without its offset, before and after unwrapping.
    relative_residual : torch.Tensor, shape (X, Y, Z)
        Of the field fit, see `qsm_pipeline.numerics.field.fit.FieldFit`.
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field of all sources.
    echo_times_s : tuple of float, length E
        In seconds.
    b0_tesla : float
        Field strength.
    """

    magnitude: Tensor
    raw_rad: Tensor
    wrapped_rad: Tensor
    unwrapped_rad: Tensor
    relative_residual: Tensor
    total_field_ppm: Tensor
    echo_times_s: tuple[float, ...]
    b0_tesla: float


@dataclass(frozen=True)
class Assessed:
    """The data that the quality of a run is computed from.

    Parameters
    ----------
    weights : torch.Tensor, shape (X, Y, Z)
        Reliability of the field, 0 where it is not used.
    unsure : torch.Tensor, shape (X, Y, Z), bool
        In and around strong sources, see `qsm_pipeline.numerics.field.trust.Trust`.
    local_field_ppm, field_residual_ppm, chi_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, what the map does not explain of it, and the map.
    brain, known, valid : torch.Tensor, shape (X, Y, Z), bool
        Brain, where the local field is known, and where the map is valid.
    grid : Grid
        Geometry.
    measured : Measured, optional
        None for a local field without its scan, of which less can be told.
    """

    weights: Tensor
    unsure: Tensor
    local_field_ppm: Tensor
    field_residual_ppm: Tensor
    chi_ppm: Tensor
    brain: Tensor
    known: Tensor
    valid: Tensor
    grid: Grid
    measured: Measured | None = None
