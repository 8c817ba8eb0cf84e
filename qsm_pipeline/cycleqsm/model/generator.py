"""The generator: local field in, susceptibility out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qsm_pipeline.cycleqsm.model.data_step import DataStep
from qsm_pipeline.cycleqsm.model.noise import LEAST_NOISE, field_noise_ppm
from qsm_pipeline.cycleqsm.model.physics import BatchDipole
from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.tv import tv
from qsm_pipeline.numerics.params.inversion import TvParams

Evaluate = Callable[[SpaceToDepthUNet, Tensor, Tensor], Tensor]

ERROR_SOURCES = 3
"""What an expected error is made of; see `qsm_pipeline.cycleqsm.model.uncertainty`."""
GEOMETRY = 9
"""Numbers that describe the geometry of a sample to the network."""
UNKNOWN_NOISE = 0.1
"""Of a field, over its standard deviation, where the mask is too small or thin to tell."""
LEAST_WEIGHT = 0.1
"""The networks see the noise divided by the weight of each voxel, or by this where it is less."""
BACKGROUND_FREQUENCY = 0.05
"""In 1/mm: below it background removal leaves more of the background than there is to correct."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Architecture of the generator.

    Parameters
    ----------
    start : str
        What the first stage refines: ``none`` (the field alone goes in, as in the paper),
        ``tikhonov`` (closed form) or ``tv`` (a few iterations of total variation).
    stages : int
        Networks, each of which sees what the field still disagrees with.
    last_passes : int
        How often the last of them is applied.
    widths : tuple of int
        Channels of each level of a network.
    tv_iterations : int
        Iterations of the ``tv`` start.
    tv_weight, tv_exponent : float
        Its weight over that power of the field's noise in standard deviations of the field.
    edge_fraction, edge_weight : float
        Where a magnitude is given: the part of the mask where it is steepest, and how much
        gradients cost the ``tv`` start there of what they cost elsewhere.
    tikhonov : float
        Regularisation of the closed-form start.
    margin_mm : float
        Zero padding of the convolutions.
    """

    start: str = "tv"
    stages: int = 2
    last_passes: int = 1
    widths: tuple[int, ...] = (32, 64, 128)
    tv_iterations: int = 10
    tv_weight: float = 0.05
    tv_exponent: float = 1.0
    edge_fraction: float = 0.3
    edge_weight: float = 0.6
    tikhonov: float = 0.02
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.start not in ("none", "tikhonov", "tv"):
            raise ValueError(f"Expected a start of none, tikhonov or tv, got {self.start!r}")
        if self.stages < 1 or self.last_passes < 1 or not self.widths:
            raise ValueError(f"Expected at least one stage, pass and level, got {self}")


@dataclass(frozen=True)
class FieldBatch:
    """Local fields with all that the generator needs to know of them.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (B, 1, X, Y, Z)
        Local field, zero outside the mask.
    mask : torch.Tensor, shape (B, 1, X, Y, Z), bool
        Where susceptibility is wanted.
    weights : torch.Tensor, shape (B, 1, X, Y, Z)
        Reliability of the field in [0, 1]; zero outside the mask.
    grids : tuple of Grid
        Geometry of each sample.
    magnitude : torch.Tensor, shape (B, 1, X, Y, Z), optional
        Magnitude image in any unit, whose edges the ``tv`` start keeps; all zero where there is
        none.
    residual_background : tuple of bool, optional
        Of which samples background removal made the field: the data steps leave its long
        wavelengths alone, where what is left of the background is strongest.
    """

    field_ppm: Tensor
    mask: Tensor
    weights: Tensor
    grids: tuple[Grid, ...]
    magnitude: Tensor | None = None
    residual_background: tuple[bool, ...] = ()


class Pass(NamedTuple):
    """One time through the generator: a data step, then a network."""

    data_step: DataStep
    network: SpaceToDepthUNet


@dataclass(frozen=True)
class Prepared:
    """A batch in the generator's own units, with what is computed once per sample.

    Parameters
    ----------
    field, start : torch.Tensor, shape (B, 1, X, Y, Z)
        Field and first susceptibility over ``scale_ppm``.
    mask, weights : torch.Tensor
        As in `FieldBatch`, the mask as numbers.
    noise : torch.Tensor, shape (B, 1, 1, 1, 1)
        Noise of the field over its standard deviation, on average where the weight exceeds half of
        the largest.
    scale_ppm : torch.Tensor, shape (B, 1, 1, 1, 1)
        Standard deviation of the field in the mask.
    lowest_frequency : torch.Tensor, shape (B, 1, 1, 1, 1)
        In 1/mm; below it the data steps follow less than half of a residual.
    geometry : torch.Tensor, shape (B, GEOMETRY)
        See :func:`describe_geometry`.
    dipole : BatchDipole
        The forward model.
    """

    field: Tensor
    start: Tensor
    mask: Tensor
    weights: Tensor
    noise: Tensor
    scale_ppm: Tensor
    lowest_frequency: Tensor
    geometry: Tensor
    dipole: BatchDipole

    def residual(self, chi: Tensor) -> Tensor:
        """Return what a map over ``scale_ppm`` leaves unexplained of the field."""
        return self.weights.square() * (self.field - self.dipole.field(chi))

    def correction(self, data_step: DataStep, residual: Tensor) -> Tensor:
        """Return what a data step makes of a residual, zero outside the mask."""
        return data_step(residual, self.noise, self.dipole, self.lowest_frequency) * self.mask


def describe_geometry(grids: Sequence[Grid], device: torch.device | str | None = None) -> Tensor:
    """Return logarithms of the voxel sizes in mm and the products of B0's components, (B, 9)."""
    rows = []
    for grid in grids:
        b = torch.tensor(grid.b0_dir)
        voxel = torch.tensor(grid.voxel_size_mm)
        rows.append(torch.cat([voxel.log(), b.square(), b * b.roll(1)]))
    return torch.stack(rows).to(device=device, dtype=torch.float32)


class Generator(nn.Module):
    """Alternate between what the field says and what a network knows of susceptibility.

    Each pass compares the field with that of the current map, adds the difference inverted in
    closed form, and lets a U-Net correct the sum. The output scales exactly with the field, as
    everything is divided by the field's standard deviation first.

    Parameters
    ----------
    config : GeneratorConfig
        Architecture.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        channels = 2 if self.config.start == "none" else 5
        self.networks = nn.ModuleList(
            [
                SpaceToDepthUNet(channels, self.config.widths, GEOMETRY)
                for _ in range(self.config.stages)
            ]
        )
        count = self.config.stages + self.config.last_passes - 1
        self.data_steps = nn.ModuleList([DataStep() for _ in range(count)])
        self.register_buffer("error_gains", torch.ones(ERROR_SOURCES))

    @torch.no_grad()
    def prepare(self, batch: FieldBatch) -> Prepared:
        """Scale a batch and compute its closed-form or TV start; nothing here is trained."""
        mask = batch.mask.to(batch.field_ppm)
        field = torch.where(batch.mask & (batch.weights > 0), batch.field_ppm, 0.0)
        count = mask.sum((-3, -2, -1), keepdim=True).clamp(min=1)
        mean = field.sum((-3, -2, -1), keepdim=True) / count
        variance = ((field - mean) * mask).square().sum((-3, -2, -1), keepdim=True) / count
        scale = variance.sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        field = field / scale
        found = [
            field_noise_ppm(f[0], w[0] > 0.5 * w.max(), grid)
            for f, w, grid in zip(field, batch.weights, batch.grids, strict=True)
        ]
        levels = [UNKNOWN_NOISE if level is None else level for level in found]
        noise = torch.tensor(levels, device=field.device)[:, None, None, None, None]
        margin = self.config.margin_mm
        dipole = BatchDipole(batch.grids, margin_mm=margin, device=field.device)
        start = torch.zeros_like(field)
        if self.config.start == "tikhonov":
            start = dipole.tikhonov(field * batch.weights.square(), self.config.tikhonov) * mask
        elif self.config.start == "tv":
            start = torch.stack(
                [self._tv(field, batch, n, noise)[None] for n in range(len(field))]
            )
        lowest = torch.zeros_like(noise)
        if batch.residual_background:
            measured = torch.tensor(batch.residual_background, device=field.device)
            lowest = BACKGROUND_FREQUENCY * measured[:, None, None, None, None]
        geometry = describe_geometry(batch.grids, field.device)
        return Prepared(field, start, mask, batch.weights, noise, scale, lowest, geometry, dipole)

    def _tv(self, field: Tensor, batch: FieldBatch, number: int, noise: Tensor) -> Tensor:
        magnitude = None if batch.magnitude is None else batch.magnitude[number, 0]
        problem = InversionProblem(
            field[number, 0], batch.mask[number, 0], batch.grids[number],
            weights=batch.weights[number, 0], magnitude=magnitude, field_error=FieldError(1.0),
        )  # fmt: skip
        level = max(float(noise[number]), LEAST_NOISE) ** self.config.tv_exponent
        params = TvParams(
            regularisation=self.config.tv_weight * level,
            noise_exponent=0.0,
            gradient_step=0.5,
            data_step=0.07,
            relaxation=1.6,
            tolerance=1e-9,
            max_iterations=self.config.tv_iterations,
            margin_mm=self.config.margin_mm,
            outside=1.0,
            edge_fraction=self.config.edge_fraction,
            edge_weight=self.config.edge_weight,
        )
        return tv(problem, params)

    def passes(self) -> list[Pass]:
        """Return what is applied, in this order."""
        networks = [*self.networks, *[self.networks[-1]] * (self.config.last_passes - 1)]
        return [Pass(*both) for both in zip(self.data_steps, networks, strict=True)]

    def forward(
        self,
        prepared: Prepared,
        evaluate: Evaluate | None = None,
        passes: Sequence[Pass] | None = None,
    ) -> Tensor:
        """Return susceptibility in ppm, shape (B, 1, X, Y, Z), zero outside the mask.

        ``evaluate(network, channels, geometry)`` may run the networks in another way, for example
        in tiles; ``passes`` are all by default.
        """
        p = prepared
        evaluate = evaluate or (lambda network, *inputs: network(*inputs))
        x = p.start
        noise = p.noise * p.mask / p.weights.clamp(min=LEAST_WEIGHT)
        for data_step, network in self.passes() if passes is None else passes:
            if self.config.start == "none":
                channels = [p.field, p.mask]
            else:
                residual = p.residual(x)
                correction = p.correction(data_step, residual)
                channels = [x, correction, p.field, residual, noise]
                x = x + correction
            x = (x + evaluate(network, torch.cat(channels, 1), p.geometry).float()) * p.mask
        return x * p.scale_ppm
