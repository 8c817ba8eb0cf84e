"""The fields that would be measured of blocks, with the errors that measured fields have."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.data.errors import KINDS, error_spectrum
from qsm_pipeline.cycleqsm.data.samples import Block, SampleConfig
from qsm_pipeline.cycleqsm.data.textures import smooth_noise
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.field_error import FieldError

LEAST_WEIGHT = 0.1
"""Noise grows with the inverse of the weight down to this."""


@dataclass(frozen=True)
class MeasuredField:
    """What a scan of a block would give.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field with its error, zero outside the mask.
    weights : torch.Tensor, shape (X, Y, Z)
        Reliability in [0, 1].
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        In any unit.
    error : FieldError, optional
        Spectrum of the error that the generator is known; it looks for itself without.
    residual_background : bool
        Background removal made the field, for all that the generator knows.
    """

    field_ppm: Tensor
    weights: Tensor
    magnitude: Tensor | None = None
    error: FieldError | None = None
    residual_background: bool = False


def measure(block: Block, config: SampleConfig, generator: torch.Generator) -> MeasuredField:
    """Simulate the local field of a block: dipole, errors of several kinds, noise, gaps."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    shape = block.grid.shape
    field = DipoleOperator(block.grid)(block.chi_ppm)
    signal = torch.ones(shape) if block.signal is None else block.signal
    decay = uniform(0, 8) * block.chi_ppm.abs()  # iron and blood shorten the signal
    weights = torch.ones(shape)
    if uniform(0, 1) < 0.6:  # precision follows the signal
        local = 0.8 + 0.3 * smooth_noise(shape, 20.0, generator)
        weights = (signal * local * torch.exp(-decay)).clamp(0.12, 1)
    magnitude = None
    if block.signal is not None and uniform(0, 1) < config.magnitude:
        coil = (1 + 0.3 * smooth_noise(shape, 100.0, generator)).clamp(min=0.1)
        magnitude = signal * coil * torch.exp(-uniform(0, 1) * decay)  # of an earlier echo
        magnitude = magnitude + uniform(0, 0.05) * torch.randn(shape, generator=generator)
    if uniform(0, 1) < 0.3:  # voxels whose phase could not be trusted
        weights = weights * (smooth_noise(shape, 12.0, generator) < uniform(1.5, 3))
    n0 = math.exp(uniform(*[math.log(v) for v in config.noise_ppm]))
    white = torch.randn(shape, generator=generator) * n0
    further = torch.zeros(shape)
    kinds: list[str] = []
    if uniform(0, 1) >= config.white:
        further, kinds = structured_error(block, field, n0, generator)
    removed = "outer sources" in kinds or uniform(0, 1) < config.background_removed
    known = None
    if uniform(0, 1) < config.known_error:
        known = error_spectrum(white + further, block.mask, block.grid)
        if known is not None:
            off = math.exp(0.15 * float(torch.randn((), generator=generator)))
            known = replace(known, knee_per_mm=known.knee_per_mm * off)
    weights = weights * block.mask
    field = field + white / weights.clamp(min=LEAST_WEIGHT) + further
    return MeasuredField(field * (weights > 0), weights, magnitude, known, removed)


def structured_error(
    block: Block, field_ppm: Tensor, n0_ppm: float, generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    """Draw an error of one to three kinds, and name them.

    Each is at most .2 to 1.2 times as strong as the field.
    """
    names, shares = list(KINDS), torch.tensor([weight for weight, _ in KINDS.values()])
    count = 1 + int(torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), 1, generator=generator))
    chosen = torch.multinomial(shares, count, generator=generator)
    total = torch.zeros_like(field_ppm)
    for number in chosen.tolist():
        part = KINDS[names[number]][1](block, n0_ppm, generator)
        size = float(part[block.mask].std())
        limit = (0.2 + float(torch.rand((), generator=generator))) * float(
            field_ppm[block.mask].std()
        )
        total += part * min(1.0, limit / max(size, 1e-12))
    return total, [names[number] for number in chosen.tolist()]
