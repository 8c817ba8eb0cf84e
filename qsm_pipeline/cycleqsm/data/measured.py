"""Training samples from measured volumes: blocks of whole fields, subjects from whole maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from qsm_pipeline.cycleqsm.data.measurements import MeasuredField
from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain
from qsm_pipeline.cycleqsm.data.samples import Block, SampleConfig, Subject
from qsm_pipeline.cycleqsm.model.orientation import b0_last, permuted
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.tikhonov import tikhonov

CENTRES = 10_000
"""Voxels of a volume that blocks are centred on, about."""
BORDER = 2
"""Voxels inside the faces of a block whose field does not count in the field cycle."""


@dataclass(frozen=True)
class MeasuredVolume:
    """A whole measured field with an estimate of what made it.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, zero outside the mask; the axis nearest to B0 is the last.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Closed-form estimate of the susceptibility.
    unexplained_ppm : torch.Tensor, shape (X, Y, Z)
        The field less that of the estimate.
    inside : torch.Tensor, shape (N, 3)
        Some voxels of the mask, all over it.
    grid : Grid
        Geometry.
    """

    field_ppm: Tensor
    mask: Tensor
    chi_ppm: Tensor
    unexplained_ppm: Tensor
    inside: Tensor
    grid: Grid

    @classmethod
    def of(cls, field_ppm: Tensor, mask: Tensor, grid: Grid) -> MeasuredVolume:
        """Prepare a field for cutting blocks out of it.

        Parameters
        ----------
        field_ppm : torch.Tensor, shape (X, Y, Z)
            Local field in any orientation.
        mask : torch.Tensor, shape (X, Y, Z), bool
            Where it is valid.
        grid : Grid
            Geometry.

        Raises
        ------
        ValueError
            If the mask is empty.
        """
        box = BoundingBox.of(mask, grid)
        order = b0_last(grid)
        grid = permuted(box.inner, order)
        mask = box.cut(mask).permute(order).contiguous()
        field = box.cut(field_ppm).permute(order).float() * mask
        chi = tikhonov(InversionProblem(field, mask, grid)) * mask
        explained = DipoleOperator(grid)(chi)
        inside = mask.nonzero()
        inside = inside[:: max(1, len(inside) // CENTRES)].clone()
        return cls(field, mask, chi, (field - explained) * mask, inside, grid)


def draw_measured(
    volumes: Sequence[MeasuredVolume], config: SampleConfig, generator: torch.Generator
) -> tuple[Block, MeasuredField]:
    """Cut a block out of a measured field and make it an object of its own.

    Parameters
    ----------
    volumes : sequence of MeasuredVolume
        Whole fields.
    config : SampleConfig
        Size of the block.
    generator : torch.Generator
        Decides volume, place and flips.

    Returns
    -------
    Block
        Its map is zero, as it is not known.
    MeasuredField
        Field of the sources in the block.

    Notes
    -----
    A patch of a field also holds the field of the sources outside the patch. What those do is
    taken from the closed-form inversion of the whole volume and subtracted, so that the dipole
    convolution of the block explains its field. The estimate is good enough for this because
    whatever a field cannot tell about susceptibility does not make a field elsewhere either.
    Directly at the faces of the block it is worst, and there the weights are zero.
    """
    volume = volumes[int(torch.randint(len(volumes), (), generator=generator))]
    shape, size = volume.mask.shape, config.size
    centre = volume.inside[int(torch.randint(len(volume.inside), (), generator=generator))]
    starts = [
        min(max(int(c) - size // 2, min(0, n - size)), max(0, n - size))
        for c, n in zip(centre, shape, strict=True)
    ]
    mask = _cut(volume.mask, starts, size)
    grid = Grid((size,) * 3, volume.grid.voxel_size_mm, volume.grid.b0_dir)
    inside = _cut(volume.chi_ppm, starts, size)
    own = DipoleOperator(grid)(inside)
    field = (_cut(volume.unexplained_ppm, starts, size) + own) * mask
    weights = mask.float()
    for axis, (start, n) in enumerate(zip(starts, shape, strict=True)):
        if start > 0:  # there is brain beyond this face
            weights.narrow(axis, 0, BORDER).zero_()
        if start + size < n:
            weights.narrow(axis, size - BORDER, BORDER).zero_()
    flips = [axis for axis in range(3) if torch.rand((), generator=generator) < 0.5]
    b0 = tuple(-b if axis in flips else b for axis, b in enumerate(grid.b0_dir))
    grid = Grid(grid.shape, grid.voxel_size_mm, b0)
    mask, field, weights = (x.flip(flips) for x in (mask, field, weights))
    measured = MeasuredField(field * (weights > 0), weights, residual_background=True)
    return Block(torch.zeros_like(field), mask, grid), measured


def measured_subject(chi_ppm: Tensor, mask: Tensor, grid: Grid) -> Subject:
    """Make a subject of a measured map: at 1 mm, with B0 near the last axis.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility in any orientation.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.

    Raises
    ------
    ValueError
        If the mask is empty.

    Notes
    -----
    What lies around the mask is cut off: blocks are centred near the middle of a volume.
    """
    box = BoundingBox.of(mask, grid)
    order = b0_last(grid)
    grid = permuted(box.inner, order)
    size = [max(1, round(n * v)) for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    stack = box.cut(torch.stack([chi_ppm.float() * mask, mask.float()]))
    stack = stack.permute(0, *(1 + axis for axis in order))[None]
    chi, inside = interpolate(stack, size=size, mode="trilinear")[0]
    return Subject.of(RandomBrain(chi * (inside > 0.5), inside > 0.5))


def _cut(x: Tensor, starts: Sequence[int], size: int) -> Tensor:
    """Return the cube that starts at ``starts``, zero where it reaches beyond the volume."""
    widths: list[int] = []
    for axis, start in enumerate(starts):
        low, high = max(0, start), min(x.shape[axis], start + size)
        widths = [low - start, start + size - high, *widths]
        x = x.narrow(axis, low, high - low)
    return pad(x, widths)
