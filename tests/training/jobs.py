"""Trainings as jobs of their own, which begin where everything is imported, as that takes longest.

Run as a program with the folder of a pool and an empty one, in which it leaves

- ``two``: what two processes that torch's launcher started left, and beside it what each of them
  had after each step: the sum of the generator's weights and that of its maps;
- ``stopped``: what a training left that got a signal together with its worker, and beside it how
  it ended.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from small_training import first_case, quick
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from qsm_pipeline.cycleqsm.training import parallel
from qsm_pipeline.training import data, loop


def train(pool: Path, out: Path, steps: int, after: Callable[[Any, Any], None], **options) -> bool:
    """Train for some steps, validate on one scan, and tell of each step."""
    plain_step = loop.train_step

    def step(state, batches):
        metrics = plain_step(state, batches)
        after(state, batches)
        return metrics

    loop.train_step = step
    loop._cases = first_case
    return loop.train(quick(steps=steps), data.Sources(pool), loop.RunOptions(out, **options))


def one_of_two(pool: Path, out: Path) -> None:
    """Train two steps as one of several processes."""

    def note(state, batches):
        weights = sum(p.double().abs().sum().item() for p in state.generator.parameters())
        maps = batches[0].chi_ppm.double().abs().sum().item()
        note = out.with_name(f"rank-{parallel.rank()}-{state.step}")
        note.write_text(f"{weights} {maps}")

    assert train(pool, out, 2, note)


def until_stopped(pool: Path, out: Path) -> None:
    """Train, in a session of its own, until a signal comes, and end with 143 then."""
    os.setsid()

    def draw_slowly(self, step, plain=data.Batches.__getitem__):
        time.sleep(0.2)
        return plain(self, step)

    data.Batches.__getitem__ = draw_slowly
    started = out.with_name("started")
    done = train(pool, out, 10_000, lambda state, batches: started.touch(), workers=1)
    sys.exit(0 if done else 143)


def stop(pool: Path, out: Path) -> int | None:
    """Return how a training ends to whose whole session a signal is sent; None if it does not."""
    job = multiprocessing.get_context("fork").Process(target=until_stopped, args=(pool, out))
    job.start()
    deadline = time.monotonic() + 120
    while not out.with_name("started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGTERM)
    job.join(120)
    code = job.exitcode
    job.kill()
    return code


def main(pool: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports what each would have to
    (folder / "code").write_text(str(stop(pool, folder / "stopped")))
    launcher = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        run_id="two",
        max_restarts=0,
    )
    elastic_launch(launcher, one_of_two)(pool, folder / "two")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
