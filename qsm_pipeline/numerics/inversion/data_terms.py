"""How far a field is from the measured one: linear, or by the complex signal."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class DataTerm(Protocol):
    """A weighted misfit of a field in ppm, for :class:`~.admm.TotalVariationAdmm`."""

    precision: Tensor

    def nearest(self, target_ppm: Tensor, step: float) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``."""

    def residual(self, field_ppm: Tensor) -> Tensor:
        """Return the difference to the measured field in ppm."""


class LinearMisfit:
    r"""Half of :math:`\|W(x-f)\|^2`.

    Parameters
    ----------
    field_ppm, weights : torch.Tensor, shape (X, Y, Z)
        Measured field :math:`f` and weights :math:`W`.
    """

    def __init__(self, field_ppm: Tensor, weights: Tensor) -> None:
        self.field_ppm = field_ppm
        self.precision = weights.square()

    def nearest(self, target_ppm: Tensor, step: float) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``."""
        nearest = self.precision * self.field_ppm
        return nearest.add_(target_ppm, alpha=step).div_(self.precision + step)

    def residual(self, field_ppm: Tensor) -> Tensor:
        """Return the difference to the measured field in ppm."""
        return field_ppm - self.field_ppm


class SignalMisfit:
    r"""Half of :math:`\|W(e^{isx}-e^{isf})\|^2/s^2`, which whole turns of phase leave as it is.

    Parameters
    ----------
    field_ppm, weights : torch.Tensor, shape (X, Y, Z)
        Measured field :math:`f` and weights :math:`W`.
    rad_per_ppm : float
        Phase :math:`s` of a field of 1 ppm.
    sweeps : int
        Quadratic approximations of the cosine in one call of `nearest`.
    """

    def __init__(
        self, field_ppm: Tensor, weights: Tensor, rad_per_ppm: float, sweeps: int = 2
    ) -> None:
        self.field_ppm = field_ppm
        self.precision = weights.square()
        self.rad_per_ppm = rad_per_ppm
        self.sweeps = sweeps
        self._weighted = self.precision.flatten().nonzero()[:, 0]
        self._field, self._precision = (
            x.flatten()[self._weighted] for x in (field_ppm, self.precision)
        )

    def nearest(self, target_ppm: Tensor, step: float) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``.

        The parabola with the curvature sin(r) / r touches 1 - cos(r) from above, so that every
        sweep descends.
        """
        target = target_ppm.flatten()[self._weighted]  # elsewhere it is the target itself
        x = target
        for _ in range(self.sweeps):
            difference = self._without_turns(x - self._field)
            curvature = torch.sinc(difference * (self.rad_per_ppm / math.pi))
            curvature.mul_(self._precision)
            x = (curvature * (x - difference)).add_(target, alpha=step).div_(curvature + step)
        nearest = target_ppm.clone()
        nearest.view(-1)[self._weighted] = x
        return nearest

    def residual(self, field_ppm: Tensor) -> Tensor:
        """Return the difference to the measured field in ppm, less whole turns of phase."""
        return self._without_turns(field_ppm - self.field_ppm)

    def _without_turns(self, difference_ppm: Tensor) -> Tensor:
        turn_ppm = 2 * math.pi / self.rad_per_ppm
        return difference_ppm - turn_ppm * torch.round(difference_ppm / turn_ppm)
