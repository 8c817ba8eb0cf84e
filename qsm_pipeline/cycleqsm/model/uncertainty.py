"""How wrong a map of the generator is expected to be, and how that is calibrated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from qsm_pipeline.cycleqsm.model.generator import (
    ERROR_SOURCES,
    Generator,
    Prepared,
)

SAMPLES = 40_000
"""Voxels of each map that calibration looks at."""
_FLOOR = 1e-4
"""Smallest expected variance, relative to the map's mean squared error."""


@torch.no_grad()
def error_sources(
    generator: Generator, prepared: Prepared, chi_ppm: Tensor, changed_ppm: Tensor
) -> Tensor:
    """Return what tells of errors, as local means of squares in ppm^2.

    Parameters
    ----------
    generator : Generator
        That made the map.
    prepared : Prepared
        What it made it of.
    chi_ppm : torch.Tensor, shape (B, 1, X, Y, Z)
        The map.
    changed_ppm : torch.Tensor, shape (B, 1, X, Y, Z)
        What its last pass changed of it.

    Returns
    -------
    torch.Tensor, shape (B, ERROR_SOURCES, X, Y, Z)
        What the last pass changed; what the map leaves unexplained of the field, inverted; and
        the variance of the map times the relative noise of the field, since errors are largest
        where susceptibility changes, and the share of it that is lost grows with the noise.
    """
    p = prepared
    residual = p.residual(chi_ppm / p.scale_ppm)
    unexplained = p.correction(generator.passes()[-1].data_step, residual) * p.scale_ppm
    inside = _box_mean(p.mask).clamp(min=1e-3)
    mean, changed, unexplained, square = (
        _box_mean(x * p.mask) / inside
        for x in (chi_ppm, changed_ppm.square(), unexplained.square(), chi_ppm.square())
    )
    lost = p.noise * (square - mean.square()).clamp(min=0)
    return torch.cat([changed, unexplained, lost], 1) * p.mask


def expected_error_ppm(generator: Generator, sources: Tensor) -> Tensor:
    """Return the standard deviation of the error, shape (B, 1, X, Y, Z), from its sources."""
    gains = torch.as_tensor(generator.error_gains)[None, :, None, None, None]
    return (gains * sources).sum(1, keepdim=True).sqrt()


def calibrate(maps: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Find how much each source of error counts, from maps whose errors are known.

    Parameters
    ----------
    maps : sequence of pairs of torch.Tensor
        Sources of each voxel, shape (N, ERROR_SOURCES) in ppm^2, and its error, shape (N,) in ppm.

    Returns
    -------
    torch.Tensor, shape (ERROR_SOURCES,)
        Gains for which errors are most likely if they are normal with the expected variance; each
        map counts the same.
    """
    random = torch.Generator().manual_seed(0)
    scaled = []
    for sources, error in maps:
        chosen = torch.randperm(len(error), generator=random)[:SAMPLES]
        squared = error[chosen].double().square()
        mean = squared.mean()
        if mean > 0:
            scaled.append((sources[chosen].double() / mean, squared / mean))
    logarithm = torch.zeros(ERROR_SOURCES, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([logarithm], 0.1)
    for _ in range(200):
        optimiser.zero_grad()
        loss = 0 * logarithm.sum()
        for sources, squared in scaled:
            variance = (sources * logarithm.exp()).sum(1) + _FLOOR
            loss = loss + (variance.log() + squared / variance).mean()
        loss.backward()
        optimiser.step()
    return logarithm.detach().exp().float()


def _box_mean(x: Tensor, width: int = 5) -> Tensor:
    """Return the mean of ``width``^3 voxels, zeros outside, one axis after the other."""
    for axis in (-3, -2, -1):
        widths = [0] * 6
        widths[-2 * axis - 2 : -2 * axis] = [width // 2] * 2
        padded, size = pad(x, widths), x.shape[axis]
        x = padded.narrow(axis, 0, size).clone()
        for shift in range(1, width):
            x += padded.narrow(axis, shift, size)
    return x / width**3
