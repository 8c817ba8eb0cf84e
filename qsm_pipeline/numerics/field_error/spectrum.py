"""The spectrum of a local field's error: white noise above a knee, coloured below it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

LOWEST_PER_MM = 0.01
"""Errors longer than 100 mm count as if they were that long."""


@dataclass(frozen=True)
class FieldError:
    r"""The error of a local field: :math:`n(k)^2=n_0^2\,(1+(k_c/|k|)^p)`.

    Parameters
    ----------
    n0_ppm : float
        Standard deviation of the white part in a voxel whose weight is 1; above 0.
    knee_per_mm : float
        Frequency :math:`k_c` below which the error is coloured; 0 for white noise.
    power : float
        How steeply the coloured part rises towards low frequencies.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    n0_ppm: float
    knee_per_mm: float = 0.0
    power: float = 3.0

    def __post_init__(self) -> None:
        if not (self.n0_ppm > 0 and self.knee_per_mm >= 0 and self.power > 0):
            raise ValueError(f"Expected n0_ppm > 0, knee_per_mm >= 0 and power > 0, got {self}")

    def density(self, frequency_per_mm: Tensor) -> Tensor:
        """Return :math:`n(k)^2` in ppm^2: the variance of white noise that is as strong there."""
        return self.n0_ppm**2 + self.coloured_density(frequency_per_mm)

    def coloured_density(self, frequency_per_mm: Tensor) -> Tensor:
        """Return what :meth:`density` holds above its white part."""
        bounded = frequency_per_mm.abs().clamp(min=LOWEST_PER_MM)
        return self.n0_ppm**2 * (self.knee_per_mm / bounded) ** self.power

    def colour(self, frequency_per_mm: Tensor) -> Tensor:
        """Return the coloured part of :meth:`density` over its white part."""
        return self.coloured_density(frequency_per_mm) / self.n0_ppm**2

    def at_least(self, n0_ppm: float) -> FieldError:
        """Return the error with no less white noise than this, and its coloured part as it is."""
        if n0_ppm <= self.n0_ppm:
            return self
        knee = self.knee_per_mm * (self.n0_ppm / n0_ppm) ** (2 / self.power)
        return FieldError(n0_ppm, knee, self.power)

    def at_least_coloured(self, error_ppm: float, frequency_per_mm: float) -> FieldError:
        """Return the error whose coloured part has no less than this standard deviation there."""
        knee = frequency_per_mm * (error_ppm / self.n0_ppm) ** (2 / self.power)
        return replace(self, knee_per_mm=max(self.knee_per_mm, knee))


@dataclass(frozen=True)
class SusceptibilitySpectrum:
    """The spectral density of a susceptibility map, given at some frequencies.

    Parameters
    ----------
    nodes_per_mm : tuple of float
        Frequencies, rising.
    density_ppm2 : tuple of float
        Variance of white noise that is as strong there, above 0.
    """

    nodes_per_mm: tuple[float, ...]
    density_ppm2: tuple[float, ...]

    def density(self, frequency_per_mm: Tensor) -> Tensor:
        """Return the density in ppm^2, a power law from node to node, flat beyond them."""
        place = frequency_per_mm.clamp(*(self.nodes_per_mm[i] for i in (0, -1))).log()
        nodes, values = (
            torch.tensor(x, dtype=torch.float64, device="cpu").log().to(place)
            for x in (self.nodes_per_mm, self.density_ppm2)
        )
        upper = torch.bucketize(place, nodes).clamp(1, len(nodes) - 1)
        share = (place - nodes[upper - 1]) / (nodes[upper] - nodes[upper - 1])
        return torch.lerp(values[upper - 1], values[upper], share).exp()


@dataclass(frozen=True)
class FieldSpectra:
    """What a local field is made of: its error, and the susceptibility that has the rest."""

    error: FieldError
    susceptibility: SusceptibilitySpectrum
