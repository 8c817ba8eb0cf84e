"""The generator: local field in, susceptibility out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qsm_pipeline.cycleqsm.model.data_step import DataStep
from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError, estimate_field_error
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.tv import tv_with_outer_field
from qsm_pipeline.numerics.params.inversion import TvParams

Evaluate = Callable[[SpaceToDepthUNet, Tensor, Tensor], Tensor]

ERROR_SOURCES = 3
"""What an expected error is made of; see `qsm_pipeline.cycleqsm.model.uncertainty`."""
GEOMETRY = 9
"""Numbers that describe the geometry of a sample to the network."""
BANDS_PER_MM = (0.03, 0.06, 0.12, 0.25, 0.5)
"""Frequencies at which the networks see how strong the coloured part of the error is."""
BACKGROUND_PER_MM = 0.1
"""Frequency at which the coloured error that background removal leaves is given."""
COLOURED_PER_MM = 0.12
"""Where the error is coloured in bands from this frequency on, the field is followed less."""
CONDITION = GEOMETRY + len(BANDS_PER_MM)
"""Numbers that describe a sample to the networks."""


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
    colour_share : float
        How much of the coloured error the ``tv`` start takes for one.
    colour_cost : float
        The weight of the ``tv`` start grows by the exponential of this times what
        :func:`how_coloured` returns.
    data_damping : float
        The data steps say less by the exponential of this times the same.
    tikhonov : float
        Regularisation of the closed-form start.
    gradient_step, data_step, relaxation : float
        Penalties and over-relaxation of the ``tv`` start's ADMM.
    outside : float
        Where background removal made the field: cost of gradients outside the mask in the ``tv``
        start over their cost in it. The field of what it finds there is subtracted.
    background_error : float
        There, the coloured error at `BACKGROUND_PER_MM` is at least this, over the standard
        deviation of the field.
    margin_mm : float
        Zero padding of the convolutions.
    least_noise : float
        No field is believed to be less noisy than this, over its standard deviation.
    unknown_noise : float
        Of a field, over its standard deviation, where the mask is too small or thin to tell.
    least_weight : float
        The networks see the noise divided by the weight of each voxel, or by this where it is
        less.
    knees_per_mm, powers : tuple of float
        Smallest and largest knee and power of the error's spectrum that the generator takes;
        below the smallest knee the error is white.
    damping : tuple of float
        How much less networks say for the colour of the error in each of `BANDS_PER_MM`, before
        any training; see :class:`~qsm_pipeline.cycleqsm.model.unet.SpaceToDepthUNet`.
    strong_ppm : float
        Sources beyond it are mapped by the ``tv`` start; the networks, which learnt from tissue,
        map the rest.
    strong_error, strong_border_error : float
        Errors of these sources over their susceptibility, and over how much it varies nearby;
        they cover the errors of simulated bleedings and calcifications.
    coloured_per_mm : float
        Where the error is coloured at this frequency, the expected error grows.
    long_wave_mm : float
        Voxels of the least-squares fit of long waves; 0 for none.
    long_wave_penalty, long_wave_noise_penalty : float
        Of its squared correction; the second is multiplied by the squared relative noise.
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
    colour_share: float = 0.25
    colour_cost: float = 0.3
    data_damping: float = 1.0
    gradient_step: float = 0.5
    data_step: float = 0.07
    relaxation: float = 1.6
    outside: float = 0.3
    background_error: float = 0.2
    margin_mm: float = 16.0
    least_noise: float = 0.02
    unknown_noise: float = 0.1
    least_weight: float = 0.1
    knees_per_mm: tuple[float, float] = (0.04, 0.6)
    powers: tuple[float, float] = (1.5, 4.5)
    damping: tuple[float, ...] = (0.0, 0.0, 2.0, 2.0, 2.0)
    strong_ppm: float = 0.3
    strong_error: float = 0.15
    strong_border_error: float = 0.4
    coloured_per_mm: float = 0.06
    long_wave_mm: float = 4.0
    long_wave_penalty: float = 3e-4
    long_wave_noise_penalty: float = 0.02

    def __post_init__(self) -> None:
        for name in ("widths", "knees_per_mm", "powers", "damping"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.start not in ("none", "tikhonov", "tv"):
            raise ValueError(f"Expected a start of none, tikhonov or tv, got {self.start!r}")
        if self.stages < 1 or self.last_passes < 1 or not self.widths:
            raise ValueError(f"Expected at least one stage, pass and level, got {self}")
        if len(self.damping) != len(BANDS_PER_MM):
            raise ValueError(f"Expected damping for {len(BANDS_PER_MM)} bands, got {self.damping}")


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
    errors : tuple of FieldError, optional
        Spectrum of each field's error; found in the fields where not given.
    residual_background : tuple of bool, optional
        Of which samples background removal made the field: it has left the field of sources
        outside the mask there, which the cone of the dipole does not show.
    """

    field_ppm: Tensor
    mask: Tensor
    weights: Tensor
    grids: tuple[Grid, ...]
    magnitude: Tensor | None = None
    errors: tuple[FieldError | None, ...] = ()
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
        White floor of the field's error over the field's standard deviation, on average where the
        weight exceeds half of the largest.
    colour : torch.Tensor, half spectrum, shape (B, 1, X, Y, Z)
        Variance of the error beyond that floor at each frequency, over the floor's.
    scale_ppm : torch.Tensor, shape (B, 1, 1, 1, 1)
        Standard deviation of the field in the mask.
    trust : torch.Tensor, shape (B, 1, 1, 1, 1)
        What is taken of that which the data steps find; 1 for white errors.
    condition : torch.Tensor, shape (B, CONDITION)
        See :func:`describe_geometry` and :func:`describe_errors`.
    errors : tuple of FieldError
        Spectra of the errors over ``scale_ppm``, as the generator takes them.
    dipole : DipoleOperator
        The forward model.
    """

    field: Tensor
    start: Tensor
    mask: Tensor
    weights: Tensor
    noise: Tensor
    colour: Tensor
    scale_ppm: Tensor
    trust: Tensor
    condition: Tensor
    errors: tuple[FieldError, ...]
    dipole: DipoleOperator

    def residual(self, chi: Tensor) -> Tensor:
        """Return what a map over ``scale_ppm`` leaves unexplained of the field."""
        return self.weights.square() * (self.field - self.dipole(chi))

    def correction(self, data_step: DataStep, residual: Tensor) -> Tensor:
        """Return what a data step makes of a residual, zero outside the mask."""
        return data_step(residual, self.noise, self.colour, self.dipole) * self.mask


def describe_geometry(grids: Sequence[Grid], device: torch.device | str | None = None) -> Tensor:
    """Return logarithms of the voxel sizes in mm and the products of B0's components, (B, 9)."""
    rows = []
    for grid in grids:
        b = torch.tensor(grid.b0_dir)
        voxel = torch.tensor(grid.voxel_size_mm)
        rows.append(torch.cat([voxel.log(), b.square(), b * b.roll(1)]))
    return torch.stack(rows).to(device=device, dtype=torch.float32)


def describe_errors(
    errors: Sequence[FieldError], device: torch.device | str | None = None
) -> Tensor:
    """Return a / (1 + a) for the standard deviation a of what is coloured in bands, (B, bands).

    That of a field is 1. All zero for white noise.
    """
    bands = torch.tensor(BANDS_PER_MM)
    coloured = torch.stack([error.coloured_density(bands).sqrt() for error in errors])
    return (coloured / (1 + coloured)).to(device=device, dtype=torch.float32)


def how_coloured(described: Tensor) -> Tensor:
    """Return the sum of what :func:`describe_errors` says from `COLOURED_PER_MM` on, (B,)."""
    return described[:, [band >= COLOURED_PER_MM for band in BANDS_PER_MM]].sum(1)


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
                SpaceToDepthUNet(channels, self.config.widths, GEOMETRY, self.config.damping)
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
        spectra = self._errors(field, scale, batch)
        errors = [self._with_background(error, batch, n) for n, error in enumerate(spectra)]
        noise = torch.tensor([e.n0_ppm for e in errors], device=field.device)
        noise = noise[:, None, None, None, None]
        described = describe_errors(spectra, field.device)
        coloured = how_coloured(described)
        trust = (-self.config.data_damping * coloured).exp()
        costs = (self.config.colour_cost * coloured).exp().tolist()
        start = torch.zeros_like(field)
        if self.config.start == "tv":  # first, as it takes the most memory
            found = [self._tv(field, batch, n, errors[n], cost) for n, cost in enumerate(costs)]
            start = torch.stack([chi for chi, _ in found])[:, None]
            outer = torch.stack([outer for _, outer in found])[:, None]
            field = torch.where(batch.weights > 0, field - outer, 0.0)
        margin = self.config.margin_mm
        dipole = DipoleOperator(batch.grids, margin_mm=margin, device=field.device)
        lengths = dipole.frequency
        beyond = torch.stack([e.colour(lengths[n]) for n, e in enumerate(errors)])
        if self.config.start == "tikhonov":
            start = dipole.tikhonov(field * batch.weights.square(), self.config.tikhonov) * mask
        condition = torch.cat([describe_geometry(batch.grids, field.device), described], 1)
        return Prepared(
            field,
            start,
            mask,
            batch.weights,
            noise,
            beyond,
            scale,
            trust[:, None, None, None, None],
            condition,
            tuple(errors),
            dipole,
        )

    def _errors(self, field: Tensor, scale: Tensor, batch: FieldBatch) -> list[FieldError]:
        """Return the spectrum of each error over the field's scale, within what networks know."""
        c = self.config
        errors = []
        given = batch.errors or (None,) * len(field)
        for n, (error, grid) in enumerate(zip(given, batch.grids, strict=True)):
            if error is None:
                error = estimate_field_error(
                    field[n, 0], batch.mask[n, 0], grid, batch.weights[n, 0]
                )
            else:
                error = replace(error, n0_ppm=error.n0_ppm / float(scale[n]))
            if error is None:
                error = FieldError(c.unknown_noise)
            knee = min(error.knee_per_mm, c.knees_per_mm[1])
            errors.append(
                FieldError(
                    max(error.n0_ppm, c.least_noise),
                    knee if knee >= c.knees_per_mm[0] else 0.0,
                    min(max(error.power, c.powers[0]), c.powers[1]),
                )
            )
        return errors

    def _with_background(self, error: FieldError, batch: FieldBatch, number: int) -> FieldError:
        """Return an error that is coloured at long waves where background removal left some."""
        if not self._leaves_background(batch, number):
            return error
        c = self.config
        error = error.at_least_coloured(c.background_error, BACKGROUND_PER_MM)
        return replace(error, knee_per_mm=min(error.knee_per_mm, c.knees_per_mm[1]))

    def _tv(
        self, field: Tensor, batch: FieldBatch, number: int, error: FieldError, cost: float
    ) -> tuple[Tensor, Tensor]:
        magnitude = None if batch.magnitude is None else batch.magnitude[number, 0]
        problem = InversionProblem(
            field[number, 0],
            batch.mask[number, 0],
            batch.grids[number],
            weights=batch.weights[number, 0],
            magnitude=magnitude,
            field_error=error,
            residual_background=self._leaves_background(batch, number),
        )
        c = self.config
        params = TvParams(
            regularisation=c.tv_weight * cost * error.n0_ppm**c.tv_exponent,
            noise_exponent=0.0,
            colour_share=c.colour_share,
            gradient_step=c.gradient_step,
            data_step=c.data_step,
            relaxation=c.relaxation,
            tolerance=1e-9,
            max_iterations=c.tv_iterations,
            margin_mm=c.margin_mm,
            outside=c.outside,
            edge_fraction=c.edge_fraction,
            edge_weight=c.edge_weight,
        )
        chi, outer = tv_with_outer_field(problem, params)
        return chi, outer if problem.residual_background else torch.zeros_like(outer)

    @staticmethod
    def _leaves_background(batch: FieldBatch, number: int) -> bool:
        return bool(batch.residual_background) and batch.residual_background[number]

    def passes(self) -> list[Pass]:
        """Return what is applied, in this order."""
        networks = [*self.networks, *[self.networks[-1]] * (self.config.last_passes - 1)]
        passes = zip(self.data_steps, networks, strict=True)
        return [Pass(step, network) for step, network in passes]  # type: ignore[arg-type]

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
        something = p.field.abs().amax((-3, -2, -1), keepdim=True) > 0
        noise = something * p.noise * p.mask / p.weights.clamp(min=self.config.least_weight)
        for data_step, network in self.passes() if passes is None else passes:
            if self.config.start == "none":
                channels = [p.field, p.mask]
            else:
                residual = p.residual(x)
                correction = p.trust * p.correction(data_step, residual)
                channels = [x, correction, p.field, residual, noise]
                x = x + correction
            x = (x + evaluate(network, torch.cat(channels, 1), p.condition).float()) * p.mask
        return x * p.scale_ppm
