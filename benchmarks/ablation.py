"""What each part of CycleQSM is worth: small generators trained with equal CPU time.

python benchmarks/ablation.py BRAINS [--arms reference supervised] [--budget-s 150] [--seed 0]

BRAINS is a folder of ``cycleqsm prepare``. All arms see the same samples in the same order, on
blocks of 32 voxels with half the channels of the generator that ships, and are judged on the
validation brains, which no arm trains on. That generator has had hours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from qsm_pipeline.cycleqsm.model import generator as generators
from qsm_pipeline.cycleqsm.model import unet
from qsm_pipeline.cycleqsm.model.data_step import DataStep
from qsm_pipeline.cycleqsm.model.generator import FieldBatch, Generator, Prepared
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.cycleqsm.training.state import TrainState
from qsm_pipeline.cycleqsm.training.train_step import train_step
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.field_error import estimate_field_error
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.tv import tv
from qsm_pipeline.training.data import Batches, Sources, open_batches
from qsm_pipeline.training.pool import VALIDATION, load_brain, make_pool
from qsm_pipeline.training.validation import CASES, Case, make_cases, scores, validate

STEPS = 1000
"""The learning rate runs through this many steps, whatever an arm takes in its time."""
SMALL = {
    "generator": {"start": "tikhonov", "widths": [16, 32, 64]},
    "sample": {"size": 32},
    "optim": {"steps": STEPS, "warmup_steps": 50, "learning_rate": 1.5e-3, "ema": 0.99},
}
TV = {"start": "tv", "tv_iterations": 8, "tv_weight": 0.15, "tv_exponent": 1.5}
ARMS: dict[str, dict[str, dict[str, object]]] = {
    "reference": {},
    "start none": {"generator": {"start": "none", "stages": 1}},
    "start tv": {"generator": TV},
    "one stage": {"generator": {"stages": 1}},
    "three passes": {"generator": {"last_passes": 2}},
    "three stages": {"generator": {"stages": 3}},
    "supervised": {"loss": {"adversarial": 0.0, "field_cycle": 0.0}, "optim": {"fields": 0}},
    "adversarial off": {"loss": {"adversarial": 0.0}},
    "adversarial x10": {"loss": {"adversarial": 0.1}},
    "wgan-gp": {"loss": {"adversarial_kind": "wgan-gp"}},
    "field cycle x5": {"loss": {"field_cycle": 1.0}},
    "float32": {"optim": {"precision": "fp32"}},
    "full resolution": {},
    "no data steps": {},
    "plain data steps": {"generator": TV},
    "data step last": {},
}
ROW = "| {:16} | {:>6} |" + " {:>4.1f} / {:.3f} / {:.2f} |" * len(CASES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("brains", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=tuple(ARMS))
    parser.add_argument("--budget-s", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make_pool(args.brains, (*range(40), *VALIDATION), 0, print)
    cases = make_cases([load_brain(args.brains, n, 0) for n in VALIDATION], 1.5)
    print("| arm              | steps  |" + "".join(f" {name} |" for name in cases), flush=True)
    print("|---|---|" + "---|" * len(cases))
    report("tv converged", "", [scores(_converged(case), case) for case in cases.values()])
    for name in args.arms:
        config = configure(ARMS[name], args.seed)
        with changed(name):
            generator, steps = train(config, args.brains, args.budget_s)
            if name in ("reference", "start tv"):
                starts = [scores(_start(generator, case), case) for case in cases.values()]
                report(f"{config.generator.start} alone", "", starts)
            report(name, steps, [validate(generator, case)[1] for case in cases.values()])


def configure(changes: dict[str, dict[str, object]], seed: int) -> TrainConfig:
    """Return the settings of an arm."""
    sections = {name: SMALL.get(name, {}) | changes.get(name, {}) for name in {*SMALL, *changes}}
    return TrainConfig.from_dict({"seed": seed} | sections)


@contextmanager
def changed(arm: str) -> Iterator[None]:
    """Change what no setting does: the stem of the networks, and the steps between them."""
    if arm == "full resolution":
        with (
            patch.object(generators, "SpaceToDepthUNet", FullResolutionUNet),
            patch.object(unet, "space_to_depth", lambda x: x),
            patch.object(unet, "depth_to_space", lambda x: x),
        ):
            yield
    elif arm == "no data steps":
        with patch.object(Prepared, "residual", lambda _, chi: torch.zeros_like(chi)):
            yield
    elif arm == "plain data steps":
        with patch.object(DataStep, "forward", _plain):
            yield
    elif arm == "data step last":
        with patch.object(Generator, "forward", _with_data_step(Generator.forward)):
            yield
    else:
        yield


class FullResolutionUNet(unet.SpaceToDepthUNet):
    """The same U-Net without its stem, whose levels are then twice as fine."""

    def __init__(self, inputs: int, widths: Sequence[int], condition: int) -> None:
        super().__init__(inputs, widths, condition)
        first = nn.Conv3d(inputs, widths[0], 3, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, a=0.1)
        self.encoders[0].convolutions[0] = first
        self.head = nn.Conv3d(widths[0], 1, 3, padding=1, bias=False)
        nn.init.normal_(self.head.weight, std=1e-3)


def _plain(
    _: DataStep, residual: Tensor, noise: Tensor, dipole: DipoleOperator, __: Any
) -> Tensor:
    """Half of the inverse, with one regularisation for all frequencies."""
    return 0.5 * dipole.tikhonov(residual, 0.02 + noise.square())


def _with_data_step(forward: Any) -> Any:
    def run(self: Generator, prepared: Prepared, *rest: Any, **named: Any) -> Tensor:
        chi = forward(self, prepared, *rest, **named) / prepared.scale_ppm
        data_step = self.passes()[-1].data_step
        return (chi + prepared.correction(data_step, prepared.residual(chi))) * prepared.scale_ppm

    return run


def train(config: TrainConfig, brains: Path, budget_s: float) -> tuple[Generator, int]:
    """Train for so many CPU-seconds; return the moving average and the steps it took."""
    batches: Batches = open_batches(config, Sources(brains), print)
    state = TrainState(config)
    start, steps = time.process_time(), 0
    while (spent := time.process_time() - start) < budget_s:
        state.step = int(STEPS * spent / budget_s)
        train_step(state, batches[steps])
        steps += 1
    average = state.average.module
    assert isinstance(average, Generator)
    return average.eval(), steps


def report(name: str, steps: int | str, found: list[dict[str, float]]) -> None:
    values = [case[key] for case in found for key in ("nrmse", "xsim", "slope")]
    print(ROW.format(name, steps, *values), flush=True)


def _start(generator: Generator, case: Case) -> Tensor:
    batch = FieldBatch(
        case.field_ppm[None, None],
        case.mask[None, None],
        case.mask[None, None].float(),
        (case.grid,),
        None if case.magnitude is None else case.magnitude[None, None],
    )
    prepared = generator.prepare(batch)
    return (prepared.start * prepared.scale_ppm)[0, 0]


def _converged(case: Case) -> Tensor:
    error = estimate_field_error(case.field_ppm, case.mask, case.grid)
    noise_ppm = error.n0_ppm if error else None
    return tv(InversionProblem(case.field_ppm, case.mask, case.grid, noise_ppm=noise_ppm))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    main()
