"""Compare every step and method on a GPU with the CPU, then train a little.

`make test-gpu` runs it: results, times and memory. It takes some minutes, fails where a result
differs, and says so where there is no GPU. ``--device cpu`` tries the script itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from speed import Chain
from torch import Tensor

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import fast_precision, reconstruct
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.local_field import remove_background
from qsm_pipeline.steps.methods import methods
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.susceptibility import invert_dipole
from qsm_pipeline.steps.total_field import fit_total_field
from qsm_pipeline.steps.unwrapping import unwrap_phase
from qsm_pipeline.training.data import Sources
from qsm_pipeline.training.loop import RunOptions, train

LARGEST = {"unwrap": 1e-3, "cycleqsm": 2e-2, "chain": 3e-2}
"""Largest difference, over the CPU's result; 16-bit networks round, and so does what follows."""
OTHERWISE = 5e-3
VOXEL_MM = (1.25, 1.45, 1.35)


@dataclass(frozen=True)
class Check:
    """One call on any device, and what of its result is compared."""

    stage: str
    method: str
    call: Callable[[Any], Tensor]
    inputs: Any


def to_device(x: Any, device: torch.device) -> Any:
    """Return tensors, and all that holds tensors, on a device."""
    if isinstance(x, Tensor):
        return x.to(device)
    if isinstance(x, tuple) and not hasattr(x, "_fields"):
        return tuple(to_device(part, device) for part in x)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{f.name: to_device(getattr(x, f.name), device) for f in fields(x)})
    return x


def checks(chain: Chain) -> Iterator[Check]:
    """Yield every step and every method, each on what the CPU made of the steps before."""
    found, scan = chain.found, chain.scan
    yield Check(
        "offset",
        "mcpc-3d-s",
        lambda x: correct_phase(x[0], x[1]).phase_rad,
        (scan, found.measured),
    )
    chain.offset()
    for name in methods("unwrap"):
        yield Check(
            "unwrap",
            name,
            lambda x, n=name: unwrap_phase(x[0], x[1], method=n).phase_rad,
            (chain.corrected, found.measured),
        )
    chain.unwrap()
    for name in methods("field_fit"):
        yield Check(
            "fit",
            name,
            lambda x, n=name: fit_total_field(x[0], x[1], method=n).total_field_ppm,
            (chain.unwrapped, found.measured),
        )
    yield Check(
        "relaxation",
        "R2*",
        lambda x: fit_relaxation(x[0].magnitude, x[1], x[0].echo_times_s).r2star_per_s,
        (scan, found.brain),
    )
    chain.fit()
    for name in methods("background"):
        yield Check(
            "background",
            name,
            lambda x, n=name: remove_background(x[0], x[1], method=n).local_field_ppm,
            (chain.total, found.brain),
        )
    chain.background()
    for name in methods("inversion"):
        yield Check(
            name if name == "cycleqsm" else "inversion",
            name,
            lambda x, n=name: invert_dipole(x[0], x[1], method=n).chi_ppm,
            (chain.local, scan.magnitude[0]),
        )
    yield Check("cycleqsm", "in tiles", _in_tiles, chain.local)
    yield Check(
        "chain",
        "default",
        lambda x: map_scan(x[0], Methods(), mask=x[1]).susceptibility.chi_ppm,
        (scan, found),
    )


def _in_tiles(local: Any) -> Tensor:
    generator = load_generator(None, local.mask.device)
    field = local.local_field_ppm
    return reconstruct(generator, field, local.mask, local.grid, memory_gb=1e-3).chi_ppm


def timed(check: Check, inputs: Any, device: torch.device) -> tuple[Tensor, float]:
    """Return a result and its wall-seconds, the device's queue emptied."""
    start = time.perf_counter()
    result = check.call(inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result.cpu(), time.perf_counter() - start


def compare(chain: Chain, device: torch.device) -> list[str]:
    """Print the table and return the rows that differ too much."""
    wrong = []
    print("| stage | method | difference | CPU s | device s | GiB |\n|---|---|---|---|---|---|")
    for check in checks(chain):
        expected, cpu_s = timed(check, check.inputs, torch.device("cpu"))
        moved = to_device(check.inputs, device)
        timed(check, moved, device)  # compiles kernels
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        found, device_s = timed(check, moved, device)
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        difference = float((found - expected).norm() / expected.norm())
        row = (
            f"| {check.stage} | {check.method} | {difference:.1e} | {cpu_s:.2f} | {device_s:.2f} "
            f"| {peak:.2f} |"
        )
        print(row, flush=True)
        if not difference <= LARGEST.get(check.stage, OTHERWISE):
            wrong.append(row)
    return wrong


def train_a_little(device: torch.device, steps: int, brains: int) -> None:
    """Train the default generator for some steps and print the time of one."""
    config = TrainConfig.load("default")
    config = replace(
        config,
        optim=replace(
            config.optim, steps=steps, precision="fp16" if device.type == "cuda" else "fp32"
        ),
        validation=replace(config.validation, every=steps, voxel_mm=3.0),
    )
    with tempfile.TemporaryDirectory() as folder:
        sources = Sources(Path(folder) / "pool", brains=brains)
        start = time.perf_counter()
        train(config, sources, RunOptions(Path(folder) / "out", device=str(device)))
        spent = time.perf_counter() - start
        print(f"\n{steps} steps of training, with brains and validation: {spent:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, nargs=3, default=(160, 160, 128))
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can use: nothing was checked.")
    device = torch.device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, torch {torch.__version__}, networks in {fast_precision(device) or 'fp32'}\n")
    scale = [160 / args.size[0], 160 / args.size[1], 128 / args.size[2]]
    voxel = tuple(v * s for v, s in zip(VOXEL_MM, scale, strict=True))
    with torch.inference_mode():
        wrong = compare(Chain(tuple(args.size), voxel), device)
    train_a_little(device, args.steps, brains=2)
    if wrong:
        sys.exit("\n".join(["These differ from the CPU:", *wrong]))
    print("Everything agrees with the CPU.")


if __name__ == "__main__":
    main()
