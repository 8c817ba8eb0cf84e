"""Smooth random functions of place, known exactly at every point and so on any grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Waves:
    """A sum of plane waves: a band-limited random function of unit variance.

    Parameters
    ----------
    wave_vectors : torch.Tensor, shape (K, 3)
        In rad/mm.
    phases_rad : torch.Tensor, shape (K,)
        Phases at the origin.
    """

    wave_vectors: Tensor
    phases_rad: Tensor

    @classmethod
    def random(
        cls, wavelength_mm: float, count: int, generator: torch.Generator, spread: float = 0.25
    ) -> Waves:
        """Draw ``count`` waves of ``wavelength_mm``, give or take the share ``spread``."""
        direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator))
        length = wavelength_mm * (1 + spread * (2 * torch.rand(count, 1, generator=generator) - 1))
        phases = 2 * math.pi * torch.rand(count, generator=generator)
        return cls(2 * math.pi / length * direction, phases)

    def __call__(self, points_mm: Tensor) -> Tensor:
        """Return the value, shape (N,), at points of shape (N, 3)."""
        return self._angles(points_mm).sin_().sum(1) * self._scale

    def with_slope(self, points_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value and the length of its gradient in 1/mm, each of shape (N,)."""
        angles = self._angles(points_mm)
        gradient = angles.cos() @ self.wave_vectors.to(points_mm)
        return angles.sin_().sum(1) * self._scale, gradient.norm(dim=1) * self._scale

    def _angles(self, points_mm: Tensor) -> Tensor:
        return points_mm @ self.wave_vectors.to(points_mm).T + self.phases_rad.to(points_mm)

    @property
    def _scale(self) -> float:
        return math.sqrt(2 / len(self.phases_rad))
