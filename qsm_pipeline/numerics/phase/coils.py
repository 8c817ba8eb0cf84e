"""Combination of the images of single receive coils, one coil in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate, pad

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur

BLOCKS = 60
"""Sensitivities are found on blocks of the longest edge over this."""
SMOOTH = 0.04
"""Standard deviation of their smoothing, over the longest edge."""
CENTRE = 0.12
"""Radius of the region in which the coils get one phase, over the longest edge."""


class CoilPhases:
    """The sensitivity of each coil, its phase relative to a virtual coil that sees everything.

    The virtual coil is the sum of all after each was given the same mean phase in the middle of
    the head. Its own phase is left in the combined images, in all echoes alike.

    Parameters
    ----------
    grid : Grid
        Geometry.

    References
    ----------
    Parker et al. 2014, doi:10.1002/mrm.25064 (virtual reference coil).
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        extents = [n * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
        self.longest_mm = max(extents)
        edge = self.longest_mm / BLOCKS
        self.factors = tuple(max(1, round(edge / v)) for v in grid.voxel_size_mm)
        self.blocks: list[Tensor] = []

    def add(self, first_echo: Tensor) -> None:
        """Take the complex first echo of the next coil, shape (X, Y, Z)."""
        if tuple(first_echo.shape) != self.grid.shape:
            raise ValueError(
                f"Expected a coil of shape {self.grid.shape}, got {tuple(first_echo.shape)}"
            )
        self.blocks.append(_complex(self._pool, first_echo))

    def sensitivities(self) -> Sequence[Tensor]:
        """Return those of all coils on the blocks, in any unit."""
        if not self.blocks:
            raise ValueError("Expected at least one coil")
        power = torch.stack([block.abs().square() for block in self.blocks]).sum(0)
        shape = tuple(power.shape)
        voxel = [v * f for v, f in zip(self.grid.voxel_size_mm, self.factors, strict=True)]
        grid = Grid(shape, (voxel[0], voxel[1], voxel[2]), self.grid.b0_dir)
        middle = _middle(power, grid, CENTRE * self.longest_mm)
        virtual = torch.zeros_like(self.blocks[0])
        for block in self.blocks:
            mean = (block * middle).sum()
            virtual += block * torch.polar(torch.ones(()), -mean.angle())
        blur = GaussianBlur(grid, SMOOTH * self.longest_mm, power)
        return [_complex(blur, block * virtual.conj()) for block in self.blocks]

    def at_voxels(self, sensitivity: Tensor) -> Tensor:
        """Return a sensitivity on the voxels, shape (X, Y, Z)."""
        return _complex(self._grow, sensitivity)

    def _pool(self, x: Tensor) -> Tensor:
        missing = [-n % f for n, f in zip(x.shape, self.factors, strict=True)]
        padded = pad(x[None, None], [0, missing[2], 0, missing[1], 0, missing[0]])
        return avg_pool3d(padded, self.factors)[0, 0]

    def _grow(self, x: Tensor) -> Tensor:
        size = [n * f for n, f in zip(x.shape, self.factors, strict=True)]
        grown = interpolate(x[None, None], size=size, mode="trilinear")[0, 0]
        a, b, c = self.grid.shape
        return grown[:a, :b, :c]


class CombinedCoils:
    """The sum of coils, each weighted with its sensitivity, and the root sum of their squares.

    Parameters
    ----------
    echoes : int
        Number of echoes.
    grid : Grid
        Geometry.
    """

    def __init__(self, echoes: int, grid: Grid) -> None:
        self.sum = torch.zeros((echoes, *grid.shape), dtype=torch.complex64)
        self.power = torch.zeros((echoes, *grid.shape))

    def add(self, phase_rad: Tensor, magnitude: Tensor, sensitivity: Tensor) -> None:
        """Take the echoes of the next coil, shape (E, X, Y, Z), and its sensitivity (X, Y, Z)."""
        for echo, (phase, size) in enumerate(zip(phase_rad, magnitude, strict=True)):
            self.sum[echo] += torch.polar(size, phase) * sensitivity.conj()
            self.power[echo] += size.square()

    @property
    def phase_rad(self) -> Tensor:
        """Wrapped phase, shape (E, X, Y, Z)."""
        return self.sum.angle()

    @property
    def magnitude(self) -> Tensor:
        """Root sum of squares, shape (E, X, Y, Z)."""
        return self.power.sqrt()


def _complex(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a linear function to the real and the imaginary part."""
    return torch.complex(function(x.real.contiguous()), function(x.imag.contiguous()))


def _middle(power: Tensor, grid: Grid, radius_mm: float) -> Tensor:
    """Return where the distance from the centre of the signal is below a radius."""
    weight = power.sqrt()
    inside = torch.zeros_like(power)
    for axis, (n, voxel) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True)):
        view = [1, 1, 1]
        view[axis] = n
        at = (torch.arange(n, dtype=power.dtype) * voxel).reshape(view)
        centre = (weight * at).sum() / weight.sum().clamp(min=1e-30)
        inside = inside + (at - centre).square()
    return (inside < radius_mm**2).to(power.dtype)
