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
