"""How far a field is from the measured one: linear, or by the complex signal."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.voxels import at, voxels_of


class DataTerm(Protocol):
    """A weighted misfit of a field in ppm, for :class:`~.admm.TotalVariationAdmm`."""

    precision: Tensor

    def nearest(self, target_ppm: Tensor) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``."""

    def residual(self, field_ppm: Tensor) -> Tensor:
        """Return the difference to the measured field in ppm."""


class LinearMisfit:
    r"""Half of :math:`\|W(x-f)\|^2`.

    Parameters
    ----------
    field_ppm, weights : torch.Tensor, shape (X, Y, Z)
        Measured field :math:`f` and weights :math:`W`.
    step : float
        Penalty of the distance to a target.
    """

    def __init__(self, field_ppm: Tensor, weights: Tensor, step: float) -> None:
        self.field_ppm = field_ppm
        self.precision = weights.square()
        self._share = step / (self.precision + step)

    def nearest(self, target_ppm: Tensor) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``."""
        return torch.lerp(self.field_ppm, target_ppm, self._share)

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
    step : float
        Penalty of the distance to a target.
    sweeps : int
        Quadratic approximations of the cosine in one call of `nearest`.
    """

    def __init__(
        self,
        field_ppm: Tensor,
        weights: Tensor,
        rad_per_ppm: float,
        step: float,
        sweeps: int = 2,
    ) -> None:
        self.field_ppm = field_ppm
        self.precision = weights.square()
        self.step = step
        self.sweeps = sweeps
        self._turn_ppm = 2 * math.pi / rad_per_ppm
        self._weighted = voxels_of(self.precision)
        self._field, self._precision = (at(x, self._weighted) for x in (field_ppm, self.precision))

    def nearest(self, target_ppm: Tensor) -> Tensor:
        """Minimise the misfit plus ``step / 2`` times the squared distance to ``target_ppm``.

        The parabola with the curvature sin(r) / r touches 1 - cos(r) from above, so that every
        sweep descends.
        """
        target = at(target_ppm, self._weighted)  # elsewhere it is the target itself
        x = target
        for _ in range(self.sweeps):
            turns = (x - self._field).div_(self._turn_ppm)
            turns.sub_(turns.round())
            share = torch.sinc(2 * turns).mul_(self._precision).add_(self.step)
            share = torch.div(self.step, share, out=share)
            x = torch.sub(x, turns, alpha=self._turn_ppm).lerp_(target, share)
        nearest = target_ppm.clone()
        nearest.view(-1)[self._weighted] = x
        return nearest

    def residual(self, field_ppm: Tensor) -> Tensor:
        """Return the difference to the measured field in ppm, less whole turns of phase."""
        difference_ppm = field_ppm - self.field_ppm
        return difference_ppm - self._turn_ppm * torch.round(difference_ppm / self._turn_ppm)
