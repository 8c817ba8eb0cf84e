"""One training step on unpaired susceptibility maps and fields."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.data.measurements import MeasuredField
from qsm_pipeline.cycleqsm.data.samples import Block
from qsm_pipeline.cycleqsm.model.generator import FieldBatch, Prepared
from qsm_pipeline.cycleqsm.training.config import PRECISIONS
from qsm_pipeline.cycleqsm.training.losses import (
    ADVERSARIAL,
    contrast,
    field_cycle,
    gradient_difference,
    gradient_penalty,
    map_cycle,
    masked_std,
    squared_error,
)
from qsm_pipeline.cycleqsm.training.parallel import average_gradients
from qsm_pipeline.cycleqsm.training.state import TrainState
from qsm_pipeline.numerics.core.dipole import DipoleOperator


@dataclass(frozen=True)
class TrainBatch:
    """Samples of one step.

    Parameters
    ----------
    fields : FieldBatch
        First the simulated fields of the maps, then the measured ones.
    chi_ppm : torch.Tensor, shape (M, 1, X, Y, Z)
        The maps.
    """

    fields: FieldBatch
    chi_ppm: Tensor


def collate(
    maps: Sequence[tuple[Block, MeasuredField]],
    fields: Sequence[tuple[Block, MeasuredField]],
    device: torch.device | str,
) -> TrainBatch:
    """Stack samples; the maps of ``fields`` are left behind."""
    both = [*maps, *fields]

    def stack(volumes: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(volumes))[:, None].to(device)

    magnitudes = [0 * m.field_ppm if m.magnitude is None else m.magnitude for _, m in both]
    batch = FieldBatch(
        stack([m.field_ppm for _, m in both]),
        stack([b.mask for b, _ in both]),
        stack([m.weights for _, m in both]),
        tuple(b.grid for b, _ in both),
        magnitude=stack(magnitudes),
        errors=tuple(m.error for _, m in both),
        residual_background=tuple(m.residual_background for _, m in both),
    )
    return TrainBatch(batch, stack([b.chi_ppm for b, _ in maps]))


def train_step(state: TrainState, batches: Sequence[TrainBatch]) -> dict[str, float]:
    """Update both networks once.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    batches : sequence of TrainBatch
        Gradients are averaged over them.

    Returns
    -------
    dict
        Losses of the step.
    """
    metrics: dict[str, float] = {"learning_rate": state.set_learning_rate()}
    state.generator_optimiser.zero_grad(set_to_none=True)
    fakes = []
    for batch in batches:
        loss, parts, fake = _generator_loss(state, batch)
        state.scaler.scale(loss / len(batches)).backward()
        fakes.append(fake)
        for name, value in parts.items():
            metrics[name] = metrics.get(name, 0.0) + float(value) / len(batches)
    average_gradients(state.generator)
    state.scaler.unscale_(state.generator_optimiser)
    norm = torch.nn.utils.clip_grad_norm_(state.generator.parameters(), state.config.optim.clip)
    metrics["gradient_norm"] = float(norm)
    if torch.isfinite(norm):  # else the maps may be unusable for the discriminator too
        state.scaler.step(state.generator_optimiser)
        state.average.update_parameters(state.generator)
        if state.config.loss.adversarial and len(fakes[0]):
            metrics["discriminator"] = _train_discriminator(state, batches, fakes)
    state.scaler.update()
    state.step += 1
    return metrics


def autocast(device: torch.device, precision: str) -> Any:
    """Return the context in which networks run at a precision."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _generator_loss(
    state: TrainState, batch: TrainBatch
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    weights = state.config.loss
    generator = state.generator
    prepared: Prepared = generator.prepare(batch.fields)
    with autocast(state.device, state.config.optim.precision):
        chi = generator(prepared)
    count = len(batch.chi_ppm)
    mask = prepared.mask
    start = prepared.start[:count] * prepared.scale_ppm[:count]
    parts = {
        "squared": squared_error(chi[:count], batch.chi_ppm, start, mask[:count]),
        "map_cycle": map_cycle(chi[:count], batch.chi_ppm, mask[:count]),
        "gradient": gradient_difference(chi[:count], batch.chi_ppm, mask[:count]),
        "contrast": contrast(chi[:count], batch.chi_ppm, mask[:count]),
    }
    with torch.no_grad():
        ratio = parts["map_cycle"] / map_cycle(start, batch.chi_ppm, mask[:count])
    loss = sum(
        (getattr(weights, name) * value for name, value in parts.items()), chi.new_zeros(())
    )
    fake = chi[count:]
    if len(fake):
        dipole = DipoleOperator(batch.fields.grids[count:], device=state.device)
        measured = batch.fields.field_ppm[count:]
        certain = batch.fields.weights[count:]
        parts["field_cycle"] = field_cycle(measured, dipole(fake), certain)
        loss = loss + weights.field_cycle * parts["field_cycle"]
        fake = torch.cat([_standardised(fake, mask[count:]), mask[count:]], dim=1)
        if weights.adversarial:
            with autocast(state.device, state.config.optim.precision):
                score = state.discriminator(fake[:, :1], fake[:, 1:])
            judge = ADVERSARIAL[weights.adversarial_kind]
            parts["adversarial"] = judge(score.float(), True)
            loss = loss + weights.adversarial * parts["adversarial"]
    parts["error_over_start"] = ratio
    return loss, {name: value.detach() for name, value in parts.items()}, fake.detach()


def _train_discriminator(
    state: TrainState, batches: Sequence[TrainBatch], fakes: Sequence[Tensor]
) -> float:
    weights = state.config.loss
    judge = ADVERSARIAL[weights.adversarial_kind]
    state.discriminator_optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for batch, new in zip(batches, fakes, strict=True):
        old = state.history.exchange(new, state.random)
        count = min(len(old), len(batch.chi_ppm))
        old = old[:count]
        mask = batch.fields.mask[:count].to(batch.chi_ppm)
        real = torch.cat([_standardised(batch.chi_ppm[:count], mask), mask], dim=1)
        with autocast(state.device, state.config.optim.precision):
            scores = [state.discriminator(x[:, :1], x[:, 1:]).float() for x in (real, old)]
        loss = judge(scores[0], True) + judge(scores[1], False)
        if weights.adversarial_kind == "wgan-gp":
            share = torch.rand((count, 1, 1, 1, 1), generator=state.random).to(state.device)
            loss = loss + weights.gradient_penalty * gradient_penalty(
                lambda x: state.discriminator(x[:, :1], x[:, 1:]), real, old, share
            )
        state.scaler.scale(loss / len(batches)).backward()
        total += float(loss.detach()) / len(batches)
    average_gradients(state.discriminator)
    state.scaler.step(state.discriminator_optimiser)
    return total


def _standardised(chi: Tensor, mask: Tensor) -> Tensor:
    return chi / masked_std(chi, mask).detach()
