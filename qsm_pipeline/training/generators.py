"""Generators that the user names."""

from __future__ import annotations

from pathlib import Path

import torch

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.exceptions import ConfigError


def open_generator(weights: Path | None, device: torch.device | str = "cpu") -> Generator:
    """Read a generator, that of the package by default.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return load_generator(weights, device)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def begin_with(generator: Generator, start: Generator) -> None:
    """Give a generator the weights of another, which may have fewer stages.

    Further stages begin as copies of the last one.

    Raises
    ------
    RuntimeError
        If the architectures differ in anything else.
    """
    tensors = dict(start.state_dict())
    for kind in ("networks", "data_steps"):
        before = getattr(start, kind)
        for number in range(len(before), len(getattr(generator, kind))):
            for name, x in before[-1].state_dict().items():
                tensors[f"{kind}.{number}.{name}"] = x
    generator.load_state_dict(tensors)
