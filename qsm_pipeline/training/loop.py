"""A training from its first step, or its last checkpoint, to the generator it leaves."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from qsm_pipeline.cycleqsm.checkpoint import load_generator, save_generator
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.cycleqsm.training.parallel import rank, sum_over_processes, world_size
from qsm_pipeline.cycleqsm.training.state import TrainState
from qsm_pipeline.cycleqsm.training.train_step import train_step
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.training.data import Sources, open_batches, stream, wait_for_others
from qsm_pipeline.training.device import processes
from qsm_pipeline.training.generators import begin_with
from qsm_pipeline.training.logs import Logs
from qsm_pipeline.training.pool import VALIDATION, load_brain, make_pool
from qsm_pipeline.training.validation import (
    Case,
    calibrate_errors,
    make_cases,
    reference_scores,
    validate,
    worst_kind,
)


@dataclass(frozen=True)
class RunOptions:
    """How a training runs; none of it changes what comes out.

    Parameters
    ----------
    out : pathlib.Path
        Folder of the checkpoint, logs and the generator.
    device : str
        ``auto`` or a torch device.
    resume : bool
        Go on from the checkpoint in ``out``.
    workers : int
        Processes that draw batches ahead; 0 draws them in between.
    checkpoint_s : float
        Seconds between checkpoints.
    log_every : int
        Steps that one row of the table averages.
    """

    out: Path
    device: str = "auto"
    resume: bool = False
    workers: int = 0
    checkpoint_s: float = 180.0
    log_every: int = 25


@dataclass(frozen=True)
class Watch:
    """What a training is graded on.

    Parameters
    ----------
    cases : dict of Case
        Simulated scans.
    """

    cases: dict[str, Case]

    @cached_property
    def references(self) -> dict[str, dict[str, float]]:
        """Scores of the reference of each case."""
        return {name: reference_scores(case) for name, case in self.cases.items()}


def train(
    config: TrainConfig,
    sources: Sources,
    options: RunOptions,
    start: Generator | None = None,
    echo: Callable[[str], None] = lambda text: None,
) -> bool:
    """Train a generator.

    Parameters
    ----------
    config : TrainConfig
        Everything that decides the result.
    sources : Sources
        Data.
    options : RunOptions
        Where and on what it runs.
    start : Generator, optional
        Adapt this one instead of a fresh one.
    echo : callable, optional
        Told what happens.

    Returns
    -------
    bool
        Whether the training came to its end; False if SIGTERM or SIGINT stopped it after a
        checkpoint.

    Raises
    ------
    ConfigError
        If the folder holds a training and ``resume`` is not set, or the other way round, or its
        checkpoint or ``start`` does not fit.
    """
    with processes(options.device) as device:
        state = _open_state(config, options, device, start)
        if rank() == 0:
            echo(
                f"steps {state.step} to {config.optim.steps} on {device}; checkpoint, logs and "
                f"the generator in {options.out}"
            )
            echo("reading the brains")
        batches = open_batches(config, sources, echo)
        cases = _cases(config, sources, echo) if rank() == 0 else {}
        logs = Logs(options.out, state.step) if rank() == 0 else None
        wait_for_others()
        if rank() == 0:
            echo("training begins; Ctrl-C or SIGTERM stops it with a checkpoint")
        with _stop_signals(echo) as asked:
            batch_stream = stream(batches, state.step, config.optim.steps, device, options.workers)
            done = _run(state, batch_stream, options, logs, Watch(cases), asked)
        state.save(_checkpoint(options.out))
        if logs is not None:
            if done:
                generator = load_generator(_kept(options.out), device)
                # the gains cannot fit white and coloured errors at once: see the model card
                white = [case for case in cases.values() if case.kind == "white"]
                echo("calibrating the expected error")
                calibrate_errors(generator, white)
                save_generator(generator, options.out / "generator.safetensors")
                echo(
                    f"the generator is {options.out / 'generator.safetensors'}: for "
                    "cycleqsm predict --generator, or generator in [inversion_params]"
                )
            logs.close()
    return done


def _run(
    state: TrainState,
    batch_stream: Iterator[list],
    options: RunOptions,
    logs: Logs | None,
    watch: Watch,
    asked: list[int],
) -> bool:
    """Take the steps that are left; return False if asked to stop."""
    total = state.config.optim.steps
    saved = time.monotonic()
    sums: dict[str, float] = {}
    count = 0
    with tqdm(total=total, initial=state.step, unit="step", disable=logs is None) as bar:
        for batches in batch_stream:
            for key, value in train_step(state, batches).items():
                sums[key] = sums.get(key, 0.0) + value
            count += 1
            bar.update()
            if count == options.log_every or state.step == total:
                means = _mean_over_processes(sums, count, state.device)
                if logs is not None:
                    logs.numbers("training", state.step, means)
                    bar.set_postfix({key: f"{means[key]:.3f}" for key in ("map_cycle",)})
                sums, count = {}, 0
            if logs is not None and _validates(state):
                _validate(state, logs, watch, options.out, bar)
            late = time.monotonic() - saved > options.checkpoint_s
            stop, save = _agreed((bool(asked), late), state.device)
            if stop:
                return False
            if save:
                state.save(_checkpoint(options.out))
                saved = time.monotonic()
    return True


def _validates(state: TrainState) -> bool:
    """Return whether it is time: early twice, then regularly, and at the end."""
    every = state.config.validation.every
    early = (every // 10, every // 4)
    return not state.step % every or state.step in (*early, state.config.optim.steps)


def _validate(state: TrainState, logs: Logs, watch: Watch, out: Path, bar: tqdm) -> None:
    """Score the moving average, and keep it if it is the one to keep so far."""
    scores: dict[str, float] = {}
    found = {}
    for number, (name, case) in enumerate(watch.cases.items(), 1):
        bar.set_description(f"validating {number} of {len(watch.cases)}")
        chi, own = validate(_average(state), case)
        found[name] = own
        scores |= {f"{name} {key}": value for key, value in own.items()}
        logs.image(name, state.step, {"truth": case.chi_ppm, "generator": chi})
    _, score = worst_kind(found, watch.references, watch.cases)
    logs.numbers("validation", state.step, scores | {"score": score})
    if score < state.best_score or state.config.validation.keep == "last":
        save_generator(_average(state), _kept(out))
        state.best_score = score
    bar.set_description("")


def _average(state: TrainState) -> Generator:
    """Return the moving average of the generator."""
    average = state.average.module
    assert isinstance(average, Generator)
    return average


def _open_state(
    config: TrainConfig, options: RunOptions, device: torch.device, start: Generator | None
) -> TrainState:
    checkpoint = _checkpoint(options.out)
    if checkpoint.exists() and not options.resume:
        raise ConfigError(
            f"{options.out} holds a training; give --resume to go on with it or another --out"
        )
    if options.resume and not checkpoint.exists():
        raise ConfigError(f"{checkpoint} does not exist, so there is nothing to resume")
    options.out.mkdir(parents=True, exist_ok=True)
    wait_for_others()
    state = TrainState(config, device)
    if options.resume:
        try:
            state.load(checkpoint)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if state.step > config.optim.steps:
            raise ConfigError(
                f"{checkpoint} is of step {state.step}, beyond the {config.optim.steps} steps of "
                "the training; give more --steps"
            )
    elif start is not None:
        networks = (state.generator, _average(state))
        try:
            for network in networks:
                begin_with(network, start)
        except RuntimeError:
            raise ConfigError(
                f"The generator to begin with has another architecture ({start.config}) than the "
                f"preset asks for ({config.generator})"
            ) from None
    return state


def _cases(config: TrainConfig, sources: Sources, echo: Callable[[str], None]) -> dict[str, Case]:
    make_pool(sources.pool, VALIDATION, sources.pool_seed, echo)
    brains = [load_brain(sources.pool, n, sources.pool_seed) for n in VALIDATION]
    cases = make_cases(brains, config.validation.voxel_mm)
    uses_magnitude = config.generator.start == "tv"
    return {name: c for name, c in cases.items() if uses_magnitude or c.magnitude is None}


def _kept(out: Path) -> Path:
    return out / "kept.safetensors"


def _checkpoint(out: Path) -> Path:
    return out / "checkpoint.pt"


def _mean_over_processes(
    sums: dict[str, float], count: int, device: torch.device
) -> dict[str, float]:
    keys = sorted(sums)
    totals = sum_over_processes(torch.tensor([sums[key] for key in keys], device=device))
    return dict(zip(keys, (totals / (count * world_size())).tolist(), strict=True))


def _agreed(wishes: tuple[bool, ...], device: torch.device) -> list[bool]:
    """Return for each wish whether some process has it, so that all do the same."""
    votes = torch.tensor([float(wish) for wish in wishes], device=device)
    return [vote > 0 for vote in sum_over_processes(votes).tolist()]


@contextmanager
def _stop_signals(echo: Callable[[str], None]) -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them, and answer at once."""
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)
        with tqdm.external_write_mode():  # on a line of its own, not behind the bar
            echo(
                f"asked to stop ({signal.Signals(number).name}): this step, or this validation, "
                "is ended, then a checkpoint is left"
            )

    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(s, note) for s in signals]
    try:
        yield asked
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
