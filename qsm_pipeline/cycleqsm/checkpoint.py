"""Trained generators as files: safetensors with the architecture inside, checked by hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qsm_pipeline.cycleqsm.model.generator import Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.shipped_generator import SHA256, SHIPPED, shipped_path

_MAX_PARTS = 16
"""Stages, and levels of a network, of any generator."""


def save_generator(generator: Generator, path: Path) -> None:
    """Write a generator with its architecture, never a half one under its final name."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    partial = path.with_suffix(".partial")
    metadata = {"generator": json.dumps(asdict(generator.config))}
    partial.write_bytes(save(tensors, metadata))  # save_file would let nobody else read it
    os.replace(partial, path)


def load_generator(path: Path | None = None, device: torch.device | str = "cpu") -> Generator:
    """Read a generator without executing code.

    Parameters
    ----------
    path : pathlib.Path, optional
        A safetensors file of :func:`save_generator`; the generator of the package by default,
        which must have the hash that was recorded when it was shipped.
    device : torch.device or str
        Where it goes.

    Returns
    -------
    Generator
        For inference: no gradients.

    Raises
    ------
    ValueError
        If the file is missing, of another kind, or not the one that was shipped.
    """
    source = path or shipped_path()
    try:
        if path is None:
            found = hashlib.sha256(source.read_bytes()).hexdigest()
            if found != SHA256[SHIPPED]:
                raise ValueError(
                    f"it has SHA-256 {found}, expected {SHA256[SHIPPED]}; reinstall qsm-pipeline"
                )
        with safe_open(source, framework="pt", device=str(device)) as file:
            declared = json.loads((file.metadata() or {})["generator"])
            config = GeneratorConfig(**declared)
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            _compare(config, shapes)
            tensors = {name: file.get_tensor(name) for name in shapes}
        generator = Generator(config).to(device)
        _add_what_is_new(tensors, generator)
        generator.load_state_dict(tensors)
        broken = sorted(name for name, x in tensors.items() if not x.isfinite().all())
        if broken:
            raise ValueError(f"{broken[0]} holds values that are not finite")
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{source} is no generator of CycleQSM: {reason}") from None
    return generator.eval().requires_grad_(requires_grad=False)


def _compare(config: GeneratorConfig, shapes: Mapping[str, list[int]]) -> None:
    """Refuse a declaration that the tensors do not keep, before memory is asked for it.

    Raises
    ------
    ValueError
        If a tensor has another shape, is missing, or belongs to nothing.
    """
    if not (isinstance(config.stages, int) and 0 < config.stages <= _MAX_PARTS):
        raise ValueError(f"it declares {config.stages!r} stages, expected 1 to {_MAX_PARTS}")
    if not 0 < len(config.widths) <= _MAX_PARTS:
        raise ValueError(f"it declares {len(config.widths)} levels, expected 1 to {_MAX_PARTS}")
    with torch.device("meta"):
        declared = {name: list(t.shape) for name, t in Generator(config).state_dict().items()}
    for name in declared:
        if not name.endswith("colour.weight") and name not in shapes:
            raise ValueError(f"the tensor {name} is missing")
    for name, shape in shapes.items():
        if shape != declared.get(name):
            raise ValueError(
                f"the tensor {name} has shape {shape}, but {declared.get(name)} is declared"
            )


def _add_what_is_new(tensors: dict[str, Tensor], generator: Generator) -> None:
    """Let a generator from before networks saw the colour of the error say less for it."""
    for name, fresh in generator.state_dict().items():
        if name.endswith("colour.weight"):
            tensors.setdefault(name, fresh)
