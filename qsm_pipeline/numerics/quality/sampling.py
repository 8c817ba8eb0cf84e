"""Fewer voxels for metrics that need no more: what is near the masks, and coarser ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.quality.assessed import Assessed, Measured

_AROUND_MM = 10.0
_COARSE_MM = 2.0
_LARGE = 2_000_000
_AVERAGED = {"local_field_ppm": "known", "field_residual_ppm": "known", "chi_ppm": "valid"}


def cut_to_masks(run: Assessed, sized: Grid) -> Assessed:
    """Return the box of the masks with what lies just around: nothing else looks farther."""
    masks = run.brain | run.known | run.valid
    if not masks.any():
        return run
    box = box_around(masks, run.grid, sized)

    def volumes(of: Assessed | Measured) -> dict[str, Any]:
        return {k: box.cut(v) for k, v in vars(of).items() if isinstance(v, Tensor)}

    measured = run.measured and replace(run.measured, **volumes(run.measured))
    return replace(run, grid=box.inner, measured=measured, **volumes(run))


def box_around(masks: Tensor, grid: Grid, sized: Grid) -> BoundingBox:
    """Return the box of the masks, shape (X, Y, Z), bool, with what lies just around."""
    margin = 1 + math.ceil(_AROUND_MM / min(sized.voxel_size_mm))
    return BoundingBox.of(masks, grid, margin=margin)


def coarsened(run: Assessed) -> tuple[Assessed, list[int]]:
    """Return volumes with voxels of about :data:`_COARSE_MM`, and how many make one.

    Images are sampled, so that their noise stays what it is; fields and maps are averaged.
    """
    sized = head_sized(run.grid, run.brain)
    step = [max(1, round(_COARSE_MM / v)) for v in sized.voxel_size_mm]
    if max(step) == 1:
        return run, step
    x, y, z = shape = [n // s for n, s in zip(run.grid.shape, step, strict=True)]
    every = [slice(s // 2, None, s) for s in step]

    def pooled(volume: Tensor) -> Tensor:
        return avg_pool3d(volume.to(run.chi_ppm.dtype)[None, None], step)[0, 0]

    def sampled(volume: Tensor) -> Tensor:
        return volume[..., every[0], every[1], every[2]][..., :x, :y, :z].contiguous()

    changed: dict[str, Any] = {
        name: pooled(getattr(run, name)) >= 0.5 for name in ("brain", "known", "valid", "unsure")
    }
    for name, within in _AVERAGED.items():
        mask = getattr(run, within)
        share = pooled(mask).clamp(min=1e-3)
        changed[name] = pooled(getattr(run, name) * mask) / share * (share > 0.01)
    measured = run.measured
    if measured:
        images: dict[str, Any] = {
            k: sampled(v) for k, v in vars(measured).items() if isinstance(v, Tensor)
        }
        measured = replace(measured, **images)
    voxel = tuple(v * s for v, s in zip(run.grid.voxel_size_mm, step, strict=True))
    grid = replace(run.grid, shape=tuple(shape), voxel_size_mm=voxel)
    return replace(
        run, grid=grid, measured=measured, weights=sampled(run.weights), **changed
    ), step


def repeated(mask: Tensor, step: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return a coarse mask on the fine grid; what is left over at the ends does not count."""
    for along, times in enumerate(step):
        mask = mask.repeat_interleave(times, along) if times > 1 else mask
    whole = torch.zeros(tuple(shape), dtype=torch.bool, device=mask.device)
    whole[tuple(slice(0, n) for n in mask.shape)] = mask
    return whole


def middle_half(volume: Tensor) -> Tensor:
    """Return the middle half along the first axis of volumes of more than two million voxels."""
    n = volume.shape[-3]
    if math.prod(volume.shape[-3:]) < _LARGE:
        return volume
    return volume[..., n // 4 : n - n // 4, :, :]
