"""Random fields of place: smooth noise, power-law texture, tubes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qsm_pipeline.numerics.core.fourier import crop_to, frequencies, irfft3, rfft3


def smooth_noise(shape: Sequence[int], wavelength: float, generator: torch.Generator) -> Tensor:
    """Return Gaussian noise of unit variance whose structures are ``wavelength`` voxels long."""
    step = max(1, int(wavelength // 6))  # smooth enough to be drawn on a coarser grid
    coarse = [math.ceil(n / step) + 1 for n in shape]
    kx, ky, kz = frequencies(coarse, (1.0, 1.0, 1.0), dtype=torch.float32)
    squared = kx.square() + ky.square() + kz.square()
    noise = _shaped(coarse, torch.exp(-squared * (wavelength / step) ** 2 / 2), generator)
    if step == 1:
        return crop_to(noise, shape).contiguous()
    size = [n * step for n in coarse]
    noise = interpolate(noise[None, None], size=size, mode="trilinear")[0, 0]
    return crop_to(noise, shape).contiguous()


def power_noise(shape: Sequence[int], exponent: float, generator: torch.Generator) -> Tensor:
    """Return noise of unit variance whose amplitude falls as ``frequency ** -exponent``."""
    kx, ky, kz = frequencies(shape, (1.0, 1.0, 1.0), dtype=torch.float32)
    squared = (kx.square() + ky.square() + kz.square()).clamp(min=(1.5 / max(shape)) ** 2)
    return _shaped(shape, squared ** (-exponent / 2), generator)


def tubes(
    shape: Sequence[int], wavelength: float, radius: float, generator: torch.Generator
) -> Tensor:
    """Return thin winding tubes, 1 inside and 0 outside, about ``radius`` voxels thick.

    They lie where two smooth random functions vanish together.
    """
    squared = torch.zeros(tuple(shape))
    for _ in range(2):
        noise = smooth_noise(shape, wavelength, generator)
        slope = torch.stack(torch.gradient(noise)).square().sum(0)
        squared += noise.square() / slope.clamp(min=1e-6)
    return torch.sigmoid((radius - squared.sqrt()) * 4)


def _shaped(shape: Sequence[int], response: Tensor, generator: torch.Generator) -> Tensor:
    white = torch.randn(tuple(shape), generator=generator)
    response = response.clone()
    response[0, 0, 0] = 0
    noise = irfft3(rfft3(white) * response, shape)
    return noise / noise.std().clamp(min=1e-12)
