"""The stream of training batches: every one follows from the seed and its step alone."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from qsm_pipeline.bids.maps import (
    find_local_fields,
    find_maps,
    ppm_per_unit,
    read_mask,
    read_volume,
    sidecar_beside,
)
from qsm_pipeline.cycleqsm.data.measured import MeasuredVolume, draw_measured, measured_subject
from qsm_pipeline.cycleqsm.data.measurements import MeasuredField, measure
from qsm_pipeline.cycleqsm.data.samples import (
    Block,
    SampleConfig,
    Subject,
    draw_block,
    has_blocks,
)
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.cycleqsm.training.parallel import rank
from qsm_pipeline.cycleqsm.training.train_step import TrainBatch, collate
from qsm_pipeline.exceptions import BIDSInputError, ConfigError
from qsm_pipeline.training.pool import brains_begun, load_brain, make_brains, numbers_in

LEAST_VOXELS = 1000
"""A mask with fewer is no brain."""
LEAST_MM = 30.0
"""Extent along each axis that blocks need of a map."""


@dataclass(frozen=True)
class Sources:
    """Where the data of a training come from.

    Parameters
    ----------
    pool : pathlib.Path
        Folder of random brains.
    brains : int
        Brains to make if the folder holds none. What was begun there before is completed.
    pool_seed : int
        Seed of the pool.
    fields : pathlib.Path, optional
        Derivatives with measured local fields, instead of simulated ones.
    maps : pathlib.Path, optional
        Derivatives with susceptibility maps, instead of random brains.
    """

    pool: Path
    brains: int = 60
    pool_seed: int = 0
    fields: Path | None = None
    maps: Path | None = None


class Batches(Dataset[list[TrainBatch]]):
    """Batches by step; a dataset, so that workers can draw ahead.

    Parameters
    ----------
    config : TrainConfig
        Sizes and seed.
    maps : sequence of Subject
        Where the maps come from.
    fields : sequence of Subject or of MeasuredVolume
        Where the fields come from: other subjects.
    """

    def __init__(
        self,
        config: TrainConfig,
        maps: Sequence[Subject],
        fields: Sequence[Subject] | Sequence[MeasuredVolume],
    ) -> None:
        self.config, self.maps, self.fields = config, maps, fields
        self.process = rank()

    def __getitem__(self, step: int) -> list[TrainBatch]:
        """Return the batches of one step, on the CPU."""
        optim = self.config.optim
        count = 0 if step % optim.field_every else optim.fields
        batches = []
        for part in range(optim.accumulate):
            name = f"{self.config.seed}/{step}/{self.process}/{part}"
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
            generator = torch.Generator().manual_seed(seed)
            maps = [self._draw(self.maps, generator) for _ in range(optim.maps)]
            fields = [self._draw(self.fields, generator) for _ in range(count)]
            batches.append(collate(maps, fields, "cpu"))
        return batches

    def _draw(
        self, source: Sequence[Subject] | Sequence[MeasuredVolume], generator: torch.Generator
    ) -> tuple[Block, MeasuredField]:
        sample = self.config.sample
        if isinstance(source[0], MeasuredVolume):
            return draw_measured(source, sample, generator)  # type: ignore[arg-type]
        block = draw_block(source, sample, generator)  # type: ignore[arg-type]
        return block, measure(block, sample, generator)


def open_batches(
    config: TrainConfig, sources: Sources, progress: Callable[[str], None]
) -> Batches:
    """Read or make the data of a training.

    Raises
    ------
    ConfigError
        If the pool has no brain for maps or none for fields.
    BIDSInputError
        If the folders of the user hold nothing that can be used.
    """
    seed = sources.pool_seed
    numbers: list[int] = []
    if sources.maps is None or sources.fields is None:
        begun = brains_begun(sources.pool, seed)
        if rank() == 0 and (begun or not numbers_in(sources.pool, seed)):
            make_brains(sources.pool, begun or sources.brains, seed, progress)
        wait_for_others()
        numbers = numbers_in(sources.pool, seed)

    def simulated(parity: int, what: str) -> list[Subject]:
        chosen = [n for n in numbers if n % 2 == parity]
        if not chosen:
            raise ConfigError(f"{sources.pool} holds no brain for {what}; prepare at least two")
        return [Subject.of(load_brain(sources.pool, n, seed)) for n in chosen]

    maps = read_subjects(sources.maps, config.sample) if sources.maps else simulated(0, "maps")
    if sources.fields:
        return Batches(config, maps, read_fields(sources.fields))
    return Batches(config, maps, simulated(1, "fields"))


def read_fields(derivatives: Path) -> list[MeasuredVolume]:
    """Read every local field of a derivatives folder in ppm.

    Raises
    ------
    BIDSInputError
        If there is none, or one cannot be used.
    """
    volumes = []
    for path, mask_path in find_local_fields(derivatives):
        volume = read_volume(path)
        mask = read_mask(mask_path, volume) & (volume.values != 0)
        if mask.sum() < LEAST_VOXELS:
            raise BIDSInputError(
                f"{path} has {mask.sum()} voxels with a field in the mask, expected at least "
                f"{LEAST_VOXELS}; leave it out"
            )
        field = volume.values * ppm_per_unit(path, sidecar_beside(path))
        volumes.append(
            MeasuredVolume.of(torch.from_numpy(field), torch.from_numpy(mask), volume.grid)
        )
    return volumes


def read_subjects(derivatives: Path, config: SampleConfig) -> list[Subject]:
    """Read every susceptibility map of a derivatives folder; it is valid where it is not zero.

    Raises
    ------
    BIDSInputError
        If there is none, or one cannot be used.
    """
    subjects = []
    for path in find_maps(derivatives):
        volume = read_volume(path)
        chi = torch.from_numpy(volume.values)
        spans = [np.ptp(axis) + 1 if len(axis) else 0 for axis in volume.values.nonzero()]
        extents_mm = [n * v for n, v in zip(spans, volume.grid.voxel_size_mm, strict=True)]
        if min(extents_mm) < LEAST_MM:
            raise BIDSInputError(
                f"{path} is not zero over {min(extents_mm):.0f} mm of one axis, expected at least "
                f"{LEAST_MM:.0f} mm; leave it out"
            )
        subject = measured_subject(chi, chi != 0, volume.grid)
        if not has_blocks(subject, config):
            edges = " x ".join(f"{n:.0f}" for n in extents_mm)
            raise BIDSInputError(
                f"{path} is not zero in {int((chi != 0).sum())} voxels all over {edges} mm, too "
                f"few for blocks of {config.size} voxels, expected a whole brain or a thick slab; "
                "leave it out"
            )
        subjects.append(subject)
    return subjects


def stream(
    batches: Batches, start: int, stop: int, device: torch.device, workers: int
) -> Iterator[list[TrainBatch]]:
    """Yield the batches of the steps from ``start`` to ``stop`` on a device."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        collate_fn=None,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    for step in loader:
        yield [_to(batch, device) for batch in step]


def _leave_signals_to_the_parent(worker: int) -> None:
    """Survive a signal to the whole job, at which the parent still has a checkpoint to write."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _to(batch: TrainBatch, device: torch.device) -> TrainBatch:
    fields = batch.fields
    names = ("field_ppm", "mask", "weights", "magnitude")
    moved = {name: getattr(fields, name).to(device) for name in names}
    return replace(batch, fields=replace(fields, **moved), chi_ppm=batch.chi_ppm.to(device))


def wait_for_others() -> None:
    """Return when every process has come here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
