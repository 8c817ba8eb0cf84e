"""All settings of a training, read from a TOML preset."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from qsm_pipeline.cycleqsm.data.samples import SampleConfig
from qsm_pipeline.cycleqsm.model.generator import GeneratorConfig
from qsm_pipeline.cycleqsm.training.losses import ADVERSARIAL
from qsm_pipeline.exceptions import did_you_mean

PRESETS = ("default", "paper", "finetune")
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}
"""The 16-bit type of the networks, if any."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses.

    Parameters
    ----------
    map_cycle, field_cycle : float
        Cycle terms ``|x - G(Hx)|`` and ``|y - HG(y)|``.
    squared : float
        Squared error of the map cycle over that of the initial estimate, so that every sample
        counts the same.
    gradient : float
        Gradient difference of the map cycle.
    contrast : float
        Underestimation of fine, strong sources in the map cycle.
    adversarial : float
        Adversarial term; 0 trains no discriminator.
    adversarial_kind : {"lsgan", "wgan-gp"}
        Its form.
    gradient_penalty : float
        Weight of the penalty of ``wgan-gp``.
    """

    map_cycle: float = 1.0
    field_cycle: float = 0.2
    squared: float = 0.0
    gradient: float = 0.5
    contrast: float = 0.0
    adversarial: float = 0.01
    adversarial_kind: str = "lsgan"
    gradient_penalty: float = 10.0

    def __post_init__(self) -> None:
        if self.adversarial_kind not in ADVERSARIAL:
            raise ValueError(f"Expected {' or '.join(ADVERSARIAL)}, got {self.adversarial_kind!r}")


@dataclass(frozen=True)
class OptimConfig:
    """Optimisation.

    Parameters
    ----------
    steps, warmup_steps : int
        Length of the training and of the rise of the learning rate, which then falls as a cosine.
    learning_rate, discriminator_learning_rate : float
        Of Adam.
    colour_rate : float
        Learning rate of the networks' gains for coloured errors, over that of the rest.
    last_stage : bool
        Train the last network and its data step alone; the others stay as they are.
    betas : tuple of float
        Of Adam.
    maps, fields : int
        Samples of each kind per step.
    field_every : int
        Fields, and the discriminator, take part in each such step only.
    accumulate : int
        Batches per step.
    clip : float
        Largest norm of the gradient.
    ema : float
        Decay of the average of the generator.
    history : int
        Size of the image history.
    precision : {"bf16", "fp16", "fp32"}
        Of the networks; FFTs always run in single precision.
    """

    steps: int = 20000
    warmup_steps: int = 200
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 1e-4
    colour_rate: float = 1.0
    last_stage: bool = False
    betas: tuple[float, float] = (0.9, 0.99)
    maps: int = 2
    fields: int = 1
    field_every: int = 1
    accumulate: int = 1
    clip: float = 1.0
    ema: float = 0.998
    history: int = 50
    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"Expected {', '.join(PRECISIONS)}, got {self.precision!r}")
        least = {
            "steps": 1,
            "maps": 1,
            "field_every": 1,
            "accumulate": 1,
            "fields": 0,
            "history": 0,
            "warmup_steps": 0,
            "discriminator_learning_rate": 0,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"Expected {name} >= {value}, got {getattr(self, name)}")
        for name in ("learning_rate", "colour_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Expected two betas of at least 0 and less than 1, got {self.betas}")
        if not 0 <= self.ema <= 1:
            raise ValueError(f"Expected ema between 0 and 1, got {self.ema}")


@dataclass(frozen=True)
class ValidationConfig:
    """How a training is watched.

    Parameters
    ----------
    every : int
        Steps between validations.
    voxel_mm : float
        Voxel edge of the validation volumes.
    keep : {"best", "last"}
        Which moving average the training leaves: that with the best worst kind of error, or the
        last.
    """

    every: int = 500
    voxel_mm: float = 1.5
    keep: str = "best"

    def __post_init__(self) -> None:
        if self.every < 1 or not self.voxel_mm > 0:
            raise ValueError(f"Expected every >= 1 and voxel_mm > 0, got {self}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"Expected keep = best or last, got {self.keep!r}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training.

    Parameters
    ----------
    generator : GeneratorConfig
        Architecture.
    sample : SampleConfig
        Random samples.
    loss : LossConfig
        Losses.
    optim : OptimConfig
        Optimisation.
    validation : ValidationConfig
        Validation.
    seed : int
        Of everything.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Build from nested dictionaries.

        Raises
        ------
        ValueError
            If a key is unknown or a value is wrong.
        """
        config = cls()
        known = {f.name for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"Unknown key {name!r}; known: {', '.join(sorted(known))}")
            before = getattr(config, name)
            if isinstance(before, int):
                value = _like(before, value, name)
            elif isinstance(value, dict):
                value = _section(before, value, name)
            else:
                raise ValueError(f"{name} is {value!r}, expected a table")
            config = replace(config, **{name: value})
        return config

    @classmethod
    def load(cls, preset: str | Path) -> TrainConfig:
        """Read a TOML file, or a preset of the package by its name.

        Raises
        ------
        ValueError
            If it cannot be read or holds what no training knows.
        """
        source = Path(preset)
        if str(preset).lower() in PRESETS:
            name = f"{str(preset).lower()}.toml"
            source = Path(str(files("qsm_pipeline.cycleqsm") / "presets" / name))
        elif not source.exists():
            near = did_you_mean(str(preset), PRESETS)
            raise ValueError(
                f"{preset} is neither a preset ({', '.join(PRESETS)}) nor a TOML file{near}"
            )
        try:
            return cls.from_dict(tomllib.loads(source.read_text()))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{preset}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of plain values."""
        return asdict(self)


def _section(before: Any, values: dict[str, Any], name: str) -> Any:
    """Return a section with other values."""
    known = {f.name for f in fields(before)}
    for key in values:
        if key not in known:
            raise ValueError(f"Unknown key {name}.{key}; known: {', '.join(sorted(known))}")
    changes = {key: _like(getattr(before, key), v, f"{name}.{key}") for key, v in values.items()}
    return replace(before, **changes)


def _like(before: Any, value: Any, name: str) -> Any:
    """Return a value if it is of the kind of the one before it."""
    if isinstance(before, tuple):
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{name} is {value!r}, expected a list such as {list(before)}")
        return tuple(_like(before[0], part, name) for part in value)
    wanted = (int, float) if isinstance(before, float) else type(before)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(before, bool):
        raise ValueError(f"{name} is {value!r}, expected something such as {before!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, expected a finite number such as {before!r}")
    return value
