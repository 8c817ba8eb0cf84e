"""Adaptation of a trained generator to the fields of one site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.training.data import Sources
from qsm_pipeline.training.generators import open_generator
from qsm_pipeline.training.loop import RunOptions, train


def finetune(
    config: TrainConfig,
    sources: Sources,
    options: RunOptions,
    weights: Path | None = None,
    echo: Callable[[str], None] = lambda text: None,
) -> bool:
    """Go on training a generator with a site's own fields.

    Parameters
    ----------
    config : TrainConfig
        Its architecture is replaced by that of the generator.
    sources : Sources
        With the fields of the site; the maps stay simulated unless given too.
    options : RunOptions
        Where and on what it runs.
    weights : pathlib.Path, optional
        The generator; that of the package by default.
    echo : callable, optional
        Told what happens.

    Returns
    -------
    bool
        As of `qsm_pipeline.training.loop.train`.

    Raises
    ------
    ConfigError
        If the generator cannot be read.
    """
    generator = open_generator(weights)
    adapted = replace(config, generator=generator.config)
    return train(adapted, sources, options, generator, echo)
