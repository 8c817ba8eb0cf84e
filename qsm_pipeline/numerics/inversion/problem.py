"""What every dipole-inversion method is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from qsm_pipeline.numerics.core.contracts import (
    check_finite,
    check_mask,
    check_volume,
    check_weights,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import (
    FieldError,
    FieldSpectra,
    SusceptibilitySpectrum,
    estimate_spectra,
)

LEAST_NOISE = 0.03
"""Over the standard deviation of the field: no field is believed to be less noisy."""
MEAN_SQUARED_DIPOLE = 4 / 45
UNKNOWN_NOISE_PPM = 1e-3
"""Where nothing is known of a field's error."""


@dataclass(frozen=True)
class InversionProblem:
    """A local field to be inverted; every method returns susceptibility in ppm, (X, Y, Z).

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field in ppm; zero outside the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the field is valid.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field. Only
        their ratios matter: they are scaled so that the largest is 1, and with them ``noise_ppm``
        and ``field_error``.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        Magnitude image in any unit, for methods that use its edges.
    noise_ppm : float, optional
        Standard deviation of the field's noise where ``weights`` is 1.
    rad_per_ppm : float, optional
        Phase in radians of a field of 1 ppm, for methods that fit the complex signal.
    residual_background : bool
        Whether background removal made the field, which then still holds a little of the field
        of sources outside the mask; False for the exact field of the sources inside.
    field_error : FieldError, optional
        Error of the field where it is known already; else it is estimated once, from the field.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    local_field_ppm: Tensor
    mask: Tensor
    grid: Grid
    weights: Tensor | None = None
    magnitude: Tensor | None = None
    noise_ppm: float | None = None
    rad_per_ppm: float | None = None
    residual_background: bool = False
    field_error: FieldError | None = None

    def __post_init__(self) -> None:
        shape = self.grid.shape
        check_mask("mask", self.mask, shape, empty=False)
        check_volume("local_field_ppm", self.local_field_ppm, shape)
        known = self.mask
        if self.weights is not None:
            check_volume("weights", self.weights, shape)
            check_weights("weights", self.weights, self.mask)
            known = self.mask & (self.weights > 0)
        check_finite("local_field_ppm", self.local_field_ppm, known)
        if self.magnitude is not None:
            check_volume("magnitude", self.magnitude, shape)
            check_finite("magnitude", self.magnitude, self.mask)
        for name in ("noise_ppm", "rad_per_ppm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Expected {name} of at least 0, got {value}")
        self._scale_weights()

    def _scale_weights(self) -> None:
        largest = 1.0 if self.weights is None else float((self.weights * self.mask).max())
        if not 0 < largest < 1:
            return
        scaled: dict[str, Any] = {"weights": self.weights / largest}  # type: ignore[operator]
        if self.noise_ppm is not None:
            scaled["noise_ppm"] = self.noise_ppm / largest
        if self.field_error is not None:
            scaled["field_error"] = self.field_error.at_least(self.field_error.n0_ppm / largest)
        for name, value in scaled.items():
            object.__setattr__(self, name, value)

    @cached_property
    def error(self) -> FieldError:
        """The error of the field: as given, else as estimated, else white.

        Where it is estimated, its white part is at least `LEAST_NOISE` of the field: the dipole
        model itself is no better at the edge of the mask.
        """
        if self.field_error is not None:
            return self.field_error
        found = self.spectra
        error = found.error if found else FieldError(self.noise_ppm or UNKNOWN_NOISE_PPM)
        return error.at_least(LEAST_NOISE * self.spread_ppm)

    @cached_property
    def susceptibility(self) -> SusceptibilitySpectrum:
        """The spectrum of susceptibility, white where it cannot be estimated."""
        if self.spectra:
            return self.spectra.susceptibility
        flat = max(self.spread_ppm**2, UNKNOWN_NOISE_PPM**2) / MEAN_SQUARED_DIPOLE
        return SusceptibilitySpectrum((0.01, 1.0), (flat, flat))

    @cached_property
    def spectra(self) -> FieldSpectra | None:
        """The spectra as estimated from the field; None where it cannot tell."""
        return estimate_spectra(self.local_field_ppm, self.mask, self.grid, self.weights)

    @cached_property
    def spread_ppm(self) -> float:
        """Standard deviation of the field where it is known, 0 for less than two voxels."""
        known = self.mask if self.weights is None else self.mask & (self.weights > 0)
        inside = self.local_field_ppm[known]
        return float(inside.std()) if inside.numel() > 1 else 0.0
