"""Training samples: blocks of random brains, and the fields that would be measured of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain
from qsm_pipeline.cycleqsm.data.textures import power_noise, smooth_noise, tubes
from qsm_pipeline.numerics.core.grid import Grid

LEAST_SIZE = 16
"""Voxels along each axis of a block that the discriminator needs."""
TRIES = 200
"""Blocks of which one has to hold enough brain."""


@dataclass(frozen=True)
class SampleConfig:
    """What is drawn at random.

    Parameters
    ----------
    size : int
        Voxels along each axis of a block.
    voxel_mm : tuple of float
        Smallest and largest voxel edge.
    isotropic : float
        Probability of cubic voxels.
    tilt_deg : float
        Largest angle between B0 and the last axis.
    noise_ppm : tuple of float
        Smallest and largest noise of the field.
    white : float
        Probability that the error of a field is white noise alone.
    background_removed : float
        Probability that the generator takes a field for one that background removal made, though
        nothing is left of the background.
    known_error : float
        Probability that the generator is given the spectrum of the error itself, a little off, and
        not what can be found of it in a block, which is less than in a whole head.
    lesions : float
        Probability of lesions and other odd objects.
    vessels : float
        Probability of thin vessels with sharp walls, beside those of the brain.
    texture_ppm : float
        Largest standard deviation of a texture of its own, beside that of the brain.
    magnitude : float
        Probability that the magnitude is known, where the brain has one.
    """

    size: int = 48
    voxel_mm: tuple[float, float] = (0.6, 2.5)
    isotropic: float = 0.6
    tilt_deg: float = 30.0
    noise_ppm: tuple[float, float] = (0.0005, 0.005)
    white: float = 0.25
    background_removed: float = 0.4
    known_error: float = 0.4
    lesions: float = 0.3
    vessels: float = 0.4
    texture_ppm: float = 0.012
    magnitude: float = 0.5

    def __post_init__(self) -> None:
        if self.size < LEAST_SIZE:
            raise ValueError(f"Expected size >= {LEAST_SIZE}, got {self.size}")
        for name in ("voxel_mm", "noise_ppm"):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1]:
                raise ValueError(f"Expected {name} = [smallest, largest] above 0, got {ends}")


@dataclass(frozen=True)
class Subject:
    """A brain made ready for cutting blocks out of it.

    Parameters
    ----------
    volumes : torch.Tensor, shape (1, 2 or 3, X, Y, Z)
        Susceptibility in ppm, mask and, if known, signal, at 1 mm.
    inside : torch.Tensor, shape (N, 3)
        Voxels of the brain, thinned out.
    """

    volumes: Tensor
    inside: Tensor

    @classmethod
    def of(cls, brain: RandomBrain) -> Subject:
        """Prepare a brain."""
        inside = brain.mask[::4, ::4, ::4].nonzero().float() * 4
        volumes = [brain.chi_ppm, brain.mask, *([] if brain.signal is None else [brain.signal])]
        return cls(torch.stack([x.float() for x in volumes])[None], inside)


@dataclass(frozen=True)
class Block:
    """A block of a brain that is treated as a whole object.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility, zero outside the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        The object; nothing outside it has a field.
    grid : Grid
        Geometry.
    signal : torch.Tensor, shape (X, Y, Z), optional
        Magnitude before any decay, relative (about 1).
    """

    chi_ppm: Tensor
    mask: Tensor
    grid: Grid
    signal: Tensor | None = None


def draw_block(
    subjects: Sequence[Subject], config: SampleConfig, generator: torch.Generator
) -> Block:
    """Cut a block out of a random brain, at a random orientation and voxel size.

    The field of the block alone is then exact for it: no source is missing, unlike in a patch of
    a whole field.

    Raises
    ------
    ValueError
        If `TRIES` blocks in a row hold too little brain, which `has_blocks` tells before.
    """
    for _ in range(TRIES):
        block = _try_block(subjects, config, generator)
        if _is_enough(block):
            return block
    raise ValueError("No block with enough brain was found: the subjects are empty")


def has_blocks(subject: Subject, config: SampleConfig) -> bool:
    """Return whether so many blocks, a fifth, hold enough of it that `draw_block` never fails."""
    generator = torch.Generator().manual_seed(0)
    found = 0
    for _ in range(TRIES // 5 if len(subject.inside) else 0):
        found += _is_enough(_try_block([subject], config, generator))
        if found == TRIES // 25:
            return True
    return False


def _is_enough(block: Block) -> bool:
    return bool(block.mask.float().mean() > 0.15 and block.chi_ppm[block.mask].std() > 0)


def _try_block(
    subjects: Sequence[Subject], config: SampleConfig, generator: torch.Generator
) -> Block:
    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    subject = subjects[int(torch.randint(len(subjects), (), generator=generator))]
    low, high = config.voxel_mm
    voxel = [math.exp(uniform(math.log(low), math.log(high)))] * 3
    if uniform(0, 1) < 0.5:  # most scans are near 1 mm
        voxel = [uniform(max(low, 0.75), min(high, 1.25))] * 3
    if uniform(0, 1) > config.isotropic:
        thick = uniform(1.2, 2.5)
        voxel[int(torch.randint(3, (), generator=generator))] *= thick
        voxel = [min(max(v, low), high) for v in voxel]
    tilt = math.radians(uniform(0, config.tilt_deg))
    turn = uniform(0, 2 * math.pi)
    b0_dir = (math.sin(tilt) * math.cos(turn), math.sin(tilt) * math.sin(turn), math.cos(tilt))
    size = config.size
    grid = Grid((size,) * 3, tuple(voxel), b0_dir)
    shape = subject.volumes.shape[-3:]
    centre = subject.inside[int(torch.randint(len(subject.inside), (), generator=generator))]
    middle = torch.tensor([(n - 1) / 2 for n in shape])
    # a block that holds most of the brain is centred on the brain
    pull = min(1.0, size * min(voxel) / 150)
    centre = centre * (1 - pull) + middle * pull
    axis = torch.arange(size) - (size - 1) / 2
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    offsets = offsets * torch.tensor(voxel)
    points = offsets @ _rotation(config, generator).T + centre
    relative = (2 * points / (torch.tensor(shape) - 1) - 1).flip(-1)[None]
    chi, mask, *signal = grid_sample(subject.volumes, relative, align_corners=True)[0]
    mask = mask > 0.5
    if uniform(0, 1) < 0.7:  # an edge of its own, away from the brain's
        radii = torch.tensor([uniform(0.75, 1.1) for _ in range(3)])
        level = (2 * offsets / (size * torch.tensor(voxel)) / radii).square().sum(-1).sqrt()
        mask &= level + 0.1 * smooth_noise(grid.shape, 20.0, generator) < 1
    if uniform(0, 1) < config.lesions:
        chi = _add_lesions(chi, generator)
    if uniform(0, 1) < config.vessels:
        vessel = tubes(grid.shape, uniform(25, 45), uniform(0.4, 1.0), generator) > 0.5
        chi = torch.where(vessel, uniform(0.1, 0.4), chi)
    if uniform(0, 1) < 0.3:
        chi = _blur(chi, uniform(0.2, 0.7))
    if uniform(0, 1) < 0.7:  # from white, as measured maps have it, to smooth
        rough = power_noise(grid.shape, uniform(0, 1.8), generator)
        chi = chi + uniform(0, config.texture_ppm) * rough
    return Block(chi * mask * uniform(0.5, 1.5), mask, grid, *signal)


def _rotation(config: SampleConfig, generator: torch.Generator) -> Tensor:
    """Return a rotation by up to the largest tilt, after random flips and a swap in plane."""
    angles = (2 * torch.rand(3, generator=generator) - 1) * math.radians(config.tilt_deg)
    skew = torch.zeros(3, 3)
    skew[0, 1], skew[0, 2], skew[1, 2] = angles
    rotation = torch.linalg.matrix_exp(skew - skew.T)
    signs = torch.randint(0, 2, (3,), generator=generator) * 2.0 - 1
    order = [1, 0, 2] if torch.rand((), generator=generator) < 0.5 else [0, 1, 2]
    return rotation[:, order] * signs


def _add_lesions(chi: Tensor, generator: torch.Generator) -> Tensor:
    count = int(torch.randint(1, 6, (), generator=generator))
    axes = [torch.arange(n, dtype=torch.float32) for n in chi.shape]
    for _ in range(count):
        centre = torch.rand(3, generator=generator) * torch.tensor(chi.shape)
        radius = 1 + 7 * torch.rand(3, generator=generator).square()
        squared = sum(
            ((a - c) / r).square().reshape([-1 if i == axis else 1 for i in range(3)])
            for axis, (a, c, r) in enumerate(zip(axes, centre, radius, strict=True))
        )
        inside = torch.sigmoid((1 - squared.sqrt()) * 4)
        strength = float(torch.rand((), generator=generator)) ** 2
        level = strength * (0.8 if torch.rand((), generator=generator) < 0.7 else -0.8)
        chi = chi * (1 - inside) + inside * level
    return chi


def _blur(x: Tensor, sigma: float) -> Tensor:
    side = math.exp(-0.5 / sigma**2)
    for axis in range(3):
        x = (x + side * (x.roll(1, axis) + x.roll(-1, axis))) / (1 + 2 * side)
    return x
