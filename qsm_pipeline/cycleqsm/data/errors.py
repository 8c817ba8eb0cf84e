"""Errors of measured fields beyond white noise, simulated; the kinds that training mixes."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.cycleqsm.data.samples import Block
from qsm_pipeline.cycleqsm.data.textures import power_noise, smooth_noise
from qsm_pipeline.numerics.core.depth import depth_mm
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import frequencies, irfft3, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError

Draw = Callable[[Block, float, torch.Generator], Tensor]
"""Draws an error in ppm of a block whose field has that white noise."""


def coloured_noise(grid: Grid, knee: float, power: float, generator: torch.Generator) -> Tensor:
    """Return noise of the spectrum (knee / k)^power, for a white floor of 1."""
    axes = frequencies(grid.shape, grid.voxel_size_mm, dtype=torch.float32)
    k = sum((axis.square() for axis in axes), torch.tensor(0.0)).sqrt()
    longest = 1 / max(n * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True))
    response = (knee / k.clamp(min=0.7 * longest)) ** (power / 2)
    return irfft3(rfft3(torch.randn(grid.shape, generator=generator)) * response, grid.shape)


def random_phase(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Stationary noise of a random knee and power."""
    knee = math.exp(_uniform(math.log(0.03), math.log(0.6), generator))
    return n0_ppm * coloured_noise(block.grid, knee, _uniform(1.5, 4.0, generator), generator)


def outer_sources(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Return what background removal leaves: the field of smooth sources outside the mask."""
    shape = block.grid.shape
    outside = smooth_noise(shape, _uniform(4, 30, generator), generator) * ~block.mask
    field = DipoleOperator(block.grid)(outside)
    strength = math.exp(_uniform(math.log(0.3), math.log(6.0), generator))
    return strength * n0_ppm * field / field[block.mask].std().clamp(min=1e-12)


def anatomy_linked(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Return a smooth field that differs between tissues, as anisotropy and microstructure make.

    Tissue is where susceptibility, or the signal, lies in one half of its range.
    """
    shape = block.grid.shape
    source = block.chi_ppm
    if block.signal is not None and _uniform(0, 1, generator) < 0.7:
        source = block.signal
    values = source[block.mask]
    middle, spread = values.median(), values.std().clamp(min=1e-9)
    width = _uniform(0.1, 0.6, generator)
    tissue = torch.sigmoid((source - middle) / (width * spread)) * block.mask
    if _uniform(0, 1, generator) < 0.5:
        tissue = block.mask * (1 - tissue)
    wavelength = _uniform(5, 40, generator)
    rough = smooth_noise(shape, wavelength, generator)
    rough = rough + _uniform(-1, 1, generator)  # the whole tissue is off too
    error = rough * tissue
    if _uniform(0, 1, generator) < 0.5:  # an apparent susceptibility: its field, not itself
        error = DipoleOperator(block.grid)(error)
    strength = math.exp(_uniform(math.log(0.3), math.log(4.0), generator))
    return strength * n0_ppm * error / error[block.mask].std().clamp(min=1e-12)


def strong_sources(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Heavy tails: noise, rough or smooth, that grows with the field's slope and the sources."""
    field = DipoleOperator(block.grid)(block.chi_ppm)
    slope = torch.stack(torch.gradient(field)).square().sum(0).sqrt()
    local = slope / slope[block.mask].mean().clamp(min=1e-12)
    size = block.chi_ppm.abs()
    local = local + size / size[block.mask].mean().clamp(min=1e-12)
    local = avg_pool3d(local[None, None], 3, 1, 1)[0, 0] ** _uniform(0.7, 1.5, generator)
    rough = power_noise(block.grid.shape, _uniform(0.0, 1.5, generator), generator)
    error = rough * local
    strength = math.exp(_uniform(math.log(0.3), math.log(2.0), generator))
    return strength * n0_ppm * error / error[block.mask].std().clamp(min=1e-12)


def rim(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Coloured noise that grows towards the edge of the mask."""
    depth = torch.from_numpy(depth_mm(block.mask.numpy(), block.grid)).float()
    reach = _uniform(2, 10, generator)
    knee = math.exp(_uniform(math.log(0.06), math.log(0.6), generator))
    noise = coloured_noise(block.grid, knee, _uniform(1.5, 4.0, generator), generator)
    floor = _uniform(0.1, 0.7, generator)
    return n0_ppm * noise * (floor + (1 - floor) * torch.exp(-depth / reach)) * 1.5


def artefacts(block: Block, n0_ppm: float, generator: torch.Generator) -> Tensor:
    """Stripes that alternate from voxel to voxel, and slices that are off."""
    shape = block.grid.shape
    axis = int(torch.randint(3, (), generator=generator))
    view = [1, 1, 1]
    view[axis] = shape[axis]
    strength = math.exp(_uniform(math.log(0.3), math.log(2.0), generator)) * n0_ppm
    if _uniform(0, 1, generator) < 0.5:
        waves = (1 - 2 * (torch.arange(shape[axis]) % 2)).float().reshape(view)
        return strength * waves * smooth_noise(shape, 25.0, generator)
    steps = torch.randn(shape[axis], generator=generator)
    return strength * steps.reshape(view).expand(shape).clone()


KINDS: dict[str, tuple[float, Draw]] = {
    "random phase": (0.34, random_phase),
    "outer sources": (0.2, outer_sources),
    "anatomy": (0.16, anatomy_linked),
    "strong sources": (0.12, strong_sources),
    "rim": (0.12, rim),
    "artefacts": (0.06, artefacts),
}
"""How often each kind is drawn, and what draws it."""


def error_spectrum(error_ppm: Tensor, mask: Tensor, grid: Grid) -> FieldError | None:
    """Return the spectrum that describes a known error best; None where it is nothing."""
    inside = mask.float()
    window = avg_pool3d(inside[None, None], 5, 1, 2)[0, 0] * inside
    energy = window.square().sum().clamp(min=1.0)
    spectrum = rfft3((error_ppm - error_ppm[mask].mean()) * window)
    power = ((spectrum.real.square() + spectrum.imag.square()) / energy).double()
    axes = frequencies(grid.shape, grid.voxel_size_mm, dtype=torch.float32)
    k = sum((axis.square() for axis in axes), torch.tensor(0.0)).sqrt()
    edges = torch.logspace(math.log10(0.02), math.log10(float(k.max())), 16)
    bands = [(k > low) & (k <= high) for low, high in pairwise(edges)]
    bands = [band for band in bands if band.sum() >= 4]
    centres = torch.stack([k[band].mean() for band in bands]).double()
    levels = torch.stack([power[band].mean() for band in bands])
    counts = torch.tensor([float(band.sum()) for band in bands]).clamp(max=400).double()
    if not levels.max() > 0:
        return None
    knees = torch.logspace(-2, 0, 50, dtype=torch.float64)
    powers = torch.linspace(1.5, 4.5, 13, dtype=torch.float64)
    shape = 1 + (knees[:, None, None] / centres) ** powers[:, None]
    floors = (counts * levels / shape).sum(-1) / counts.sum()
    model = floors[..., None] * shape
    cost = (counts * (model.log() + levels / model)).sum(-1)
    row, column = divmod(int(cost.argmin()), len(powers))
    floor = float(floors[row, column])
    return FieldError(math.sqrt(floor), float(knees[row]), float(powers[column]))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
