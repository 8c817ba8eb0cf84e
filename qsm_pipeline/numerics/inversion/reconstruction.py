"""A map and its expected error."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What an inversion says that knows its own error.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility, zero outside the mask; its mean is arbitrary.
    uncertainty_ppm : torch.Tensor, shape (X, Y, Z), optional
        Expected error (one standard deviation), zero outside the mask.
    error_sources : torch.Tensor, shape (E, X, Y, Z), optional
        What the expected error of a generator is made of, for calibration.
    """

    chi_ppm: Tensor
    uncertainty_ppm: Tensor | None = None
    error_sources: Tensor | None = None
