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
from copy import copy
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speed import Chain, stages
from torch import Tensor

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import fast_precision, reconstruct
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.training.data import Sources
from qsm_pipeline.training.loop import RunOptions, train

LARGEST = {"unwrap": 1e-3, "cycleqsm": 2e-2, "chain": 3e-2}
"""Largest difference, over the CPU's result; 16-bit networks round, and so does what follows."""
OTHERWISE = 5e-3
VOXEL_MM = (1.25, 1.45, 1.35)
Call = Callable[[], Tensor]


def to_device(x: Any, device: torch.device) -> Any:
    """Return tensors, and all that holds tensors, on a device."""
    if isinstance(x, Tensor):
        return x.to(device)
    if isinstance(x, tuple) and not hasattr(x, "_fields"):
        return tuple(to_device(part, device) for part in x)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{f.name: to_device(getattr(x, f.name), device) for f in fields(x)})
    return x


def checks(chain: Chain, device: torch.device) -> Iterator[tuple[str, str, Call, Call]]:
    """Yield stage, method, and the call on the CPU and on the device, on the same inputs."""
    twin = copy(chain)
    for here, there in zip(stages(chain, []), stages(twin, []), strict=True):
        stage, method, words, call = here
        if stage == "mask":  # it is found on the CPU
            continue
        vars(twin).update({name: to_device(x, device) for name, x in vars(chain).items()})
        yield stage, f"{method} {words}".strip(), call, there[-1]
    yield "inversion", "cycleqsm in tiles", *(partial(_in_tiles, x) for x in (chain, twin))


def _in_tiles(chain: Chain) -> Tensor:
    local = chain.local
    generator = load_generator(None, local.mask.device)
    field = local.local_field_ppm
    return reconstruct(generator, field, local.mask, local.grid, memory_gb=1e-3).chi_ppm


def waited(call: Call, device: torch.device) -> tuple[Tensor, float]:
    """Return a result and its wall-seconds, the device's queue emptied."""
    start = time.perf_counter()
    result = call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result.cpu(), time.perf_counter() - start


def compare(chain: Chain, device: torch.device) -> list[str]:
    """Print the table and return the rows that differ too much."""
    wrong = []
    print("| stage | method | difference | CPU s | device s | GiB |\n|---|---|---|---|---|---|")
    for stage, method, here, there in checks(chain, device):
        expected, cpu_s = waited(here, torch.device("cpu"))
        waited(there, device)  # compiles kernels
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        found, device_s = waited(there, device)
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        difference = float((found - expected).norm() / expected.norm())
        times = f"{cpu_s:.2f} | {device_s:.2f} | {peak:.2f}"
        row = f"| {stage} | {method} | {difference:.1e} | {times} |"
        print(row, flush=True)
        networks = "cycleqsm" if "cycleqsm" in method else stage
        if not difference <= LARGEST.get(stage, LARGEST.get(networks, OTHERWISE)):
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
