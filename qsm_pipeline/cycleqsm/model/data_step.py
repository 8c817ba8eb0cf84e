"""Data consistency: the residual of the field, inverted in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qsm_pipeline.numerics.core.dipole import DipoleOperator


class DataStep(nn.Module):
    r"""Closed-form inversion of what a map leaves unexplained, with a learned regularisation.

    In :math:`D/(D^2+\lambda)`, :math:`\lambda = c\,n^q\,(1 + (|k|\,v^u / k_0)^p)` for the error n
    of the field at each frequency over the field's standard deviation, frequencies k in 1/mm and
    voxels of :math:`v^3` mm^3.
    Maps have little at high frequencies, where a residual is noise; at low ones nearly all of it
    is true. The five numbers start from what is best after a few iterations of TV.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_level = nn.Parameter(torch.tensor(math.log(0.15)))
        self.noise_power = nn.Parameter(torch.tensor(2.0))
        self.log_frequency = nn.Parameter(torch.tensor(math.log(0.167)))
        self.frequency_power = nn.Parameter(torch.tensor(4.0))
        self.voxel_power = nn.Parameter(torch.tensor(0.75))

    def forward(
        self, residual: Tensor, noise: Tensor, colour: Tensor, dipole: DipoleOperator
    ) -> Tensor:
        """Return what should be added to a map.

        Parameters
        ----------
        residual : torch.Tensor, shape (B, 1, X, Y, Z)
            What the map leaves unexplained of the field, in any unit.
        noise : torch.Tensor, shape (B, 1, 1, 1, 1)
            White floor of the field's error over the field's standard deviation, above 0.
        colour : torch.Tensor, half spectrum, shape (B, 1, X, Y, Z)
            Variance of the error beyond the floor, over the floor's.
        dipole : DipoleOperator
            The forward model.

        Returns
        -------
        torch.Tensor, shape (B, 1, X, Y, Z)
            In the unit of the residual.
        """
        error = noise.log() + 0.5 * colour.log1p()
        level = (self.log_level + self.noise_power * error).exp()
        edge = (self.log_frequency - self.voxel_power * dipole.voxel_edge_mm.log()).exp()
        regularisation = level * (1 + (dipole.frequency / edge) ** self.frequency_power)
        return dipole.tikhonov(residual, regularisation)
