"""The error of a local field: its spectrum, found in the field itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from qsm_pipeline.numerics.fourier import crop_to, fast_shape, frequencies, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.kernels import dipole_kernel

CONE = 0.06
"""Where ``|D|`` is smaller, next to nothing of a field comes from susceptibility."""
KNEES = (0.01, 0.8)
"""Smallest and largest knee that is looked for, in 1/mm."""
LONGEST_WAVE = 0.01
"""In 1/mm; the error grows no further below."""
_MARGIN_MM = 16.0
_ROUNDS, _REFINEMENTS = 3, 2


@dataclass(frozen=True)
class FieldError:
    r"""Standard deviation of a field's error at each frequency.

    :math:`n(k)^2 = n_0^2 (1 + (k_c/|k|)^p)`, as the standard deviation of white noise that is as
    strong there.

    Parameters
    ----------
    n0_ppm : float
        White floor.
    knee_per_mm : float
        Frequency in 1/mm below which the error is stronger than the floor; 0 for white noise.
    power : float
        How fast it grows below.
    """

    n0_ppm: float
    knee_per_mm: float = 0.0
    power: float = 3.0

    def colour(self, k_per_mm: Tensor) -> Tensor:
        """Return the variance beyond the white floor at frequencies in 1/mm, over the floor."""
        return (self.knee_per_mm / k_per_mm.clamp(min=LONGEST_WAVE)).pow(self.power)


def estimate_field_error(
    local_field_ppm: Tensor, mask: Tensor, grid: Grid, weights: Tensor | None = None
) -> FieldError | None:
    """Estimate the spectrum of a field's error from the cone of the dipole.

    Returns
    -------
    FieldError, optional
        Proportional to the field. None where the mask is too small or thin to tell.
    """
    inside = mask if weights is None else mask & (weights > 0.5 * weights.max())
    window = _taper(inside.to(local_field_ppm))
    energy = float(window.square().sum())
    if energy < 64:
        return None
    shape = fast_shape(grid.shape, [math.ceil(_MARGIN_MM / v) for v in grid.voxel_size_mm])
    device = local_field_ppm.device
    axes = frequencies(shape, grid.voxel_size_mm, device=device, dtype=torch.float32)
    k = sum(axis.square() for axis in axes).clamp(min=1e-8).sqrt()
    relative = sum(
        (2 * axis * v).square() for axis, v in zip(axes, grid.voxel_size_mm, strict=True)
    ).sqrt()
    kernel = dipole_kernel(grid, shape, device=device, dtype=torch.float32)
    cone = (kernel.abs() < CONE) & (relative <= 1)
    top = (kernel.abs() < CONE) & (relative > 0.5)
    field = local_field_ppm * mask
    power = _power(field * window, shape) / energy
    if not top.any():
        return None
    floor = float(power[top].median()) / math.log(2)
    if not floor > 0:
        return None
    squared = kernel.square()
    outside = (kernel.abs() > 0.15) & (relative < 1)
    prior = _prior(power, squared, k, outside, floor)
    noise = torch.full_like(k, floor)
    found = FieldError(math.sqrt(floor))
    known = inside.to(field)
    for _ in range(_ROUNDS):
        gain = squared * prior / (squared * prior + noise)
        inverse = gain / torch.where(kernel.abs() > 1e-6, kernel, 1e-6)
        chi = torch.zeros_like(field)
        residual = field * known
        for _ in range(_REFINEMENTS):
            step = irfft3(rfft3(pad_to(residual, shape)) * inverse, shape)
            chi = chi + crop_to(step, grid.shape) * mask
            explained = irfft3(rfft3(pad_to(chi, shape)) * kernel, shape)
            residual = (field - crop_to(explained, grid.shape)) * known
        left = _power(residual * window, shape) / energy
        kept = (1 - gain).pow(2 * _REFINEMENTS)
        found = _fit(left, kept, cone & (kept > 0.2), k, floor)
        noise = floor * (1 + (found.knee_per_mm / k.clamp(min=0.01)) ** found.power)
    return found


def _power(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    spectrum = rfft3(pad_to(x, shape))
    return spectrum.real.square() + spectrum.imag.square()


def _prior(power: Tensor, squared: Tensor, k: Tensor, where: Tensor, floor: float) -> Tensor:
    """Return a power law of the susceptibility's spectrum, from outside the cone."""
    edges = torch.logspace(math.log10(0.03), math.log10(float(k[where].max())), 12)
    x, y, count = [], [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        band = where & (k > low) & (k <= high)
        n = int(band.sum())
        if n < 8:
            continue
        level = max(float(power[band].mean()) - floor, 0.05 * floor) / float(squared[band].mean())
        x.append(math.log(float(k[band].mean())))
        y.append(math.log(level))
        count.append(min(n, 1000) ** 0.5)
    if len(x) < 2:
        return torch.full_like(k, float(power.mean()) / float(squared.mean()))
    xs, ys, w = (torch.tensor(v, dtype=torch.float64) for v in (x, y, count))
    xm, ym = (w * xs).sum() / w.sum(), (w * ys).sum() / w.sum()
    slope = float((w * (xs - xm) * (ys - ym)).sum() / (w * (xs - xm).square()).sum())
    slope = min(max(slope, -6.0), -1.0)
    return torch.exp(float(ym) + slope * (k.clamp(min=0.02).log() - float(xm)))


def _fit(left: Tensor, kept: Tensor, cone: Tensor, k: Tensor, floor: float) -> FieldError:
    """Find knee and power by the likelihood of exponential powers in bands of frequency."""
    lengths = k[cone]
    measured = left[cone] / kept[cone]
    edges = torch.logspace(math.log10(0.025), math.log10(max(0.05, float(lengths.max()))), 14)
    centres, levels, counts = [], [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        band = (lengths > low) & (lengths <= high)
        n = int(band.sum())
        if n < 4:
            continue
        centres.append(float(lengths[band].mean()))
        levels.append(float(measured[band].median()) / math.log(2))
        counts.append(n * 0.25)
    if not centres:
        return FieldError(math.sqrt(floor))
    c, p, n = (torch.tensor(v, dtype=torch.float64) for v in (centres, levels, counts))
    knees = torch.logspace(math.log10(KNEES[0]), math.log10(KNEES[1]), 45, dtype=torch.float64)
    powers = torch.linspace(1.5, 4.5, 13, dtype=torch.float64)
    shape = 1 + (knees[:, None, None] / c) ** powers[:, None]
    n0 = (n * p / shape).sum(-1) / n.sum()
    model = n0[..., None] * shape
    cost = (n.clamp(max=200) * (model.log() + p / model)).sum(-1)
    cost = cost + 0.5 * ((powers - 3) / 0.7).square() + 0.5 * (knees[:, None] / 0.1).log().square() / 2
    best = int(cost.argmin())
    i, j = divmod(best, len(powers))
    return FieldError(math.sqrt(float(n0[i, j])), float(knees[i]), float(powers[j]))


def _taper(mask: Tensor, width: int = 4) -> Tensor:
    """Return a window that falls smoothly to zero at the edge of the mask."""
    size = 2 * width + 1
    window = mask
    for axis, n in enumerate(mask.shape):
        widths = [0] * 6
        widths[4 - 2 * axis], widths[5 - 2 * axis] = width + 1, width
        total = pad(window, widths).cumsum(axis)  # of whole numbers, so exact
        window = total.narrow(axis, size, n) - total.narrow(axis, 0, n)
    window = (2 * window / size**3 - 1).clamp(min=0) * mask
    return torch.sin(0.5 * math.pi * window).square()
