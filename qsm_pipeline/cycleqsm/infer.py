"""The trained generator on a whole volume: susceptibility and how far to trust it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.model.generator import Evaluate, FieldBatch, Generator, Pass, Prepared
from qsm_pipeline.cycleqsm.model.long_waves import long_wave_correction
from qsm_pipeline.cycleqsm.model.orientation import b0_last, permuted
from qsm_pipeline.cycleqsm.model.tiles import in_tiles
from qsm_pipeline.cycleqsm.model.uncertainty import error_sources, expected_error_ppm
from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction

LOGGER = logging.getLogger(__name__)

BYTES_PER_VOXEL = 200
"""Memory of the networks on a whole volume, measured."""
TILE = 96
"""Edge of a tile without its overlap."""


class Sample(NamedTuple):
    """A local field, prepared for the generator in the box of its mask with B0's axis last.

    Parameters
    ----------
    prepared : Prepared
        What the generator takes.
    grid : Grid
        Geometry of the turned box.
    box : BoundingBox
        Of the mask in the whole volume.
    order : tuple of int
        Axes of the volume, in the order that they have here.
    """

    prepared: Prepared
    grid: Grid
    box: BoundingBox
    order: tuple[int, ...]

    def restore(self, x: Tensor) -> Tensor:
        """Return the whole volume of what has the shape (1, 1, X, Y, Z) here."""
        back = [self.order.index(axis) for axis in range(3)]
        return self.box.paste(x[0, 0].permute(back).contiguous())


def prepare_sample(
    generator: Generator,
    field_ppm: Tensor,
    mask: Tensor,
    grid: Grid,
    weights: Tensor | None = None,
    magnitude: Tensor | None = None,
    *,
    error: FieldError | None = None,
    residual_background: bool = False,
) -> Sample:
    """Prepare a local field; see :func:`reconstruct` for the parameters."""
    box = BoundingBox.of(mask, grid)
    order = b0_last(box.inner)
    turned = permuted(box.inner, order)

    def turn(x: Tensor) -> Tensor:
        return box.cut(x).permute(order)[None, None].contiguous()

    reliable = mask.float() if weights is None else weights.float() * mask
    batch = FieldBatch(
        turn(field_ppm.float()),
        turn(mask),
        turn(reliable),
        (turned,),
        None if magnitude is None else turn(magnitude.float()),
        (error,),
        (residual_background,),
    )
    del reliable
    return Sample(generator.prepare(batch), turned, box, tuple(order))


@torch.inference_mode()
def reconstruct(
    generator: Generator,
    field_ppm: Tensor,
    mask: Tensor,
    grid: Grid,
    weights: Tensor | None = None,
    magnitude: Tensor | None = None,
    *,
    error: FieldError | None = None,
    residual_background: bool = False,
    memory_gb: float | None = None,
    uncertainty: bool = False,
    keep_error_sources: bool = False,
) -> Reconstruction:
    """Invert a local field.

    Parameters
    ----------
    generator : Generator
        Trained.
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, on the generator's device.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where susceptibility is wanted.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability of the field in [0, 1]; 0 where it is not known. The mask by default.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        Magnitude image in any unit, for its edges.
    error : FieldError, optional
        Spectrum of the field's error in ppm; found in the field if not given.
    residual_background : bool
        Background removal made the field, as it does measured ones: sources outside the mask
        explain a part of it.
    memory_gb, uncertainty, keep_error_sources
        As for :func:`map_sample`.

    Returns
    -------
    Reconstruction
        The map, and its error if asked for.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    sample = prepare_sample(
        generator,
        field_ppm,
        mask,
        grid,
        weights,
        magnitude,
        error=error,
        residual_background=residual_background,
    )
    return map_sample(
        generator,
        sample,
        memory_gb=memory_gb,
        uncertainty=uncertainty,
        keep_error_sources=keep_error_sources,
    )


@torch.inference_mode()
def map_sample(
    generator: Generator,
    sample: Sample,
    *,
    memory_gb: float | None = None,
    uncertainty: bool = False,
    keep_error_sources: bool = False,
) -> Reconstruction:
    """Invert a prepared field.

    Parameters
    ----------
    generator : Generator
        Trained.
    sample : Sample
        From :func:`prepare_sample`.
    memory_gb : float, optional
        Memory for the networks, that of the GPU by default; beyond it they run in tiles.
    uncertainty : bool
        Also estimate the error.
    keep_error_sources : bool
        Also return what that estimate is made of.

    Returns
    -------
    Reconstruction
        The map, zero outside the mask, and its error if asked for.
    """
    p, config = sample.prepared, generator.config
    *first, last = generator.passes()
    before = p
    if first:
        rough_ppm = _run(generator, p, first, memory_gb)
        before = replace(p, start=rough_ppm / p.scale_ppm)
    chi_ppm = _run(generator, before, [last], memory_gb)
    changed_ppm = chi_ppm - before.start * p.scale_ppm
    if config.long_wave_mm and config.start != "none":
        correction = long_wave_correction(p, chi_ppm / p.scale_ppm, sample.grid, config)
        chi_ppm = chi_ppm + correction * p.scale_ppm
    if not uncertainty:
        return Reconstruction(sample.restore(chi_ppm))
    sources = error_sources(generator, p, chi_ppm, changed_ppm)
    expected = sample.restore(expected_error_ppm(generator, sources) * p.mask)
    parts = None
    if keep_error_sources:
        parts = torch.stack([sample.restore(x[None, None]) for x in sources[0]])
    return Reconstruction(sample.restore(chi_ppm), expected, parts)


def _run(
    generator: Generator,
    prepared: Prepared,
    passes: Sequence[Pass],
    memory_gb: float | None,
) -> Tensor:
    device = prepared.field.device
    if memory_gb is None and device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        memory_gb = (torch.cuda.mem_get_info(device)[0] + cached) / 2**30
    needed = BYTES_PER_VOXEL * prepared.field.numel() / 2**30
    if memory_gb is not None and needed > memory_gb:
        LOGGER.warning("The networks need %.1f GiB of %.1f: using tiles", needed, memory_gb)
        return _apply(generator, prepared, passes, _tiled)
    with suppress(torch.OutOfMemoryError):
        return _apply(generator, prepared, passes, None)
    # only here, with the error gone, is the memory of what failed free
    LOGGER.warning("The GPU's memory is not enough for the whole volume: using tiles")
    torch.cuda.empty_cache()
    return _apply(generator, prepared, passes, _tiled)


def _tiled(network: SpaceToDepthUNet, x: Tensor, geometry: Tensor) -> Tensor:
    return in_tiles(network, x, geometry, TILE)


def _apply(
    generator: Generator,
    prepared: Prepared,
    passes: Sequence[Pass],
    evaluate: Evaluate | None,
) -> Tensor:
    device = prepared.field.device
    fast = fast_precision(device)
    with torch.autocast(device.type, fast or torch.bfloat16, enabled=fast is not None):
        return generator(prepared, evaluate, passes)


def fast_precision(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type that a device computes faster with, if any."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # older ones emulate bfloat16
        return torch.bfloat16 if native else torch.float16
    probes: list[Callable[[], bool]] = [
        getattr(torch.cpu, name, lambda: False)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    if device.type == "cpu" and any(probe() for probe in probes):
        return torch.bfloat16
    return None
