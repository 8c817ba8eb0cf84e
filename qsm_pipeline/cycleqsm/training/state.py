"""All that changes during a training, and how it is kept."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from qsm_pipeline.cycleqsm.model.discriminator import PatchDiscriminator
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.training.config import OptimConfig, TrainConfig
from qsm_pipeline.cycleqsm.training.history import ImageHistory
from qsm_pipeline.cycleqsm.training.parallel import gather_objects, rank, world_size


class TrainState:
    """Networks, optimisers, averages, history and random numbers of a training.

    Parameters
    ----------
    config : TrainConfig
        Settings.
    device : torch.device or str
        Where the networks live.
    """

    def __init__(self, config: TrainConfig, device: torch.device | str = "cpu") -> None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.generator = Generator(config.generator).to(device)
            self.discriminator: nn.Module = PatchDiscriminator().to(device)
        optim = config.optim
        self.config = config
        self.device = torch.device(device)
        self.average = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(optim.ema))
        self.generator_optimiser = torch.optim.Adam(
            _trained(self.generator, optim), optim.learning_rate, betas=optim.betas
        )
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), optim.discriminator_learning_rate, betas=(0.5, 0.99)
        )
        self.history = ImageHistory(optim.history)
        self.random = torch.Generator().manual_seed(config.seed + rank())
        scaled = optim.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.step = 0
        self.best_score = math.inf

    def set_learning_rate(self) -> float:
        """Set the generator's learning rate for this step and return it."""
        optim = self.config.optim
        rise = min(1.0, (self.step + 1) / max(1, optim.warmup_steps))
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / max(1, optim.steps))))
        rate = optim.learning_rate * rise * max(fall, 0.01)
        for group in self.generator_optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        return rate

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values only, so that loading executes no code.

        All processes of a training must call this together.
        """
        return {
            "config": self.config.to_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best_score": self.best_score,
            "processes": gather_objects(
                {
                    "history": [sample.cpu() for sample in self.history.samples],
                    "random": self.random.get_state(),
                }
            ),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken.

        Raises
        ------
        ValueError
            If it is of a training with other settings; only the number of steps may differ.
        """
        _compare(state["config"], self.config.to_dict())
        if world_size() != len(state["processes"]):
            raise ValueError(
                f"it is of {len(state['processes'])} process(es), but this training has "
                f"{world_size()}; start as many"
            )
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.load_state_dict(state["average"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        own = state["processes"][rank()]
        self.history.samples = [sample.to(self.device) for sample in own["history"]]
        self.random.set_state(own["random"].cpu())
        self.step = state["step"]
        self.best_score = state["best_score"]

    def save(self, path: Path) -> None:
        """Write a checkpoint, never a half one under its final name."""
        state = self.state_dict()
        if rank() == 0:
            partial = path.with_suffix(".partial")
            torch.save(state, partial)
            os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Read a checkpoint.

        Raises
        ------
        ValueError
            If it is of another architecture or cannot be read.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.load_state_dict(state)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path} is no checkpoint of this training: {reason}") from error


def _trained(generator: Generator, optim: OptimConfig) -> list[dict[str, Any]]:
    """Freeze what a training leaves as it is; return the rest, with relative learning rates."""
    if optim.last_stage:
        generator.requires_grad_(requires_grad=False)
        for part in generator.passes()[-1]:
            part.requires_grad_(requires_grad=True)
    named = [(name, x) for name, x in generator.named_parameters() if x.requires_grad]
    colour = [x for name, x in named if ".colour." in name]
    rest = [x for name, x in named if ".colour." not in name]
    return [{"params": rest, "rate": 1.0}, {"params": colour, "rate": optim.colour_rate}]


def _compare(saved: dict[str, Any], wanted: dict[str, Any], name: str = "") -> None:
    for key in sorted(set(saved) | set(wanted)):
        place = f"{name}{key}"
        before, now = saved.get(key), wanted.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            _compare(before, now, f"{place}.")
        elif before != now and place != "optim.steps":
            raise ValueError(f"it has {place} = {before}, expected {now}")
