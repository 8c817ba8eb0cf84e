"""Bleedings and calcifications: sources so strong that the signal around them is lost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.simulate.scan import Scan
from qsm_pipeline.numerics.simulate.signal import ScanParams

_SUBVOXEL_MM = 0.35
_NEAR = 3.0  # radii (and voxels) from a ball within which its field is averaged over subvoxels


@dataclass(frozen=True)
class StrongSource:
    """A ball in the brain.

    Parameters
    ----------
    centre_mm : tuple of float, length 3
        In scanner RAS+ mm.
    radius_mm : float
        Radius.
    chi_ppm : float
        Susceptibility relative to the tissue around it.
    signal : float
        Signal at echo time zero, relative to the tissue that it replaces.
    extra_r2star_per_s : float
        Decay besides that of the tissue that it replaces.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    chi_ppm: float
    signal: float = 0.8
    extra_r2star_per_s: float = 0.0


@dataclass(frozen=True)
class SourceMaps:
    """What balls add to a scan; each of shape (X, Y, Z), the signal with echoes before it.

    Parameters
    ----------
    chi_ppm, field_ppm : torch.Tensor
        Mean over each voxel.
    share : torch.Tensor
        Part of each voxel that lies in a ball.
    signal_factor : torch.Tensor, shape (E, X, Y, Z), complex64
        What the signal of each voxel is multiplied by, dephasing included.
    """

    chi_ppm: Tensor
    field_ppm: Tensor
    share: Tensor
    signal_factor: Tensor


def source_maps(
    sources: Sequence[StrongSource],
    shape: tuple[int, int, int],
    affine: np.ndarray,
    echo_times_s: Sequence[float],
    b0_tesla: float,
) -> SourceMaps:
    """Compute field and signal of balls from the exact field of each, summed over subvoxels.

    Parameters
    ----------
    sources : sequence of StrongSource
        They may touch, but not overlap.
    shape : tuple of int, length 3
        Matrix.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner RAS+ mm, without shear.
    echo_times_s : sequence of float
        Echo times.
    b0_tesla : float
        Field strength.

    Returns
    -------
    SourceMaps
        Valid where the field without the balls varies little over a voxel.
    """
    grid = Grid.from_affine(shape, affine)
    voxel = torch.tensor(grid.voxel_size_mm)
    inverse = np.linalg.inv(affine)
    sources = [
        replace(s, centre_mm=tuple((inverse[:3] @ (*s.centre_mm, 1) * voxel.numpy()).tolist()))
        for s in sources
    ]
    axes = [torch.arange(n) * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    centre = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    omega = rad_per_s_per_ppm(b0_tesla)
    times = torch.tensor(echo_times_s)[:, None]
    chi, field, share = (torch.zeros(len(centre)) for _ in range(3))
    near = torch.zeros(len(centre), dtype=torch.bool)
    for source in sources:
        gap = (centre - torch.tensor(source.centre_mm)).norm(dim=1)
        near |= gap < _NEAR * (source.radius_mm + max(grid.voxel_size_mm))
        field += _field(source, centre, grid.b0_dir)[0]
    factor = torch.polar(torch.ones(len(times), len(field)), omega * times * field)
    points = centre[near]
    sums = [torch.zeros(len(points)) for _ in range(3)]
    signal = torch.zeros(len(times), len(points), dtype=torch.complex64)
    offsets = _subvoxels(grid.voxel_size_mm)
    for offset in offsets:
        at = points + torch.tensor(offset)
        b, inside, source_chi = (torch.zeros(len(points)) for _ in range(3))
        amount, decay = torch.ones(len(points)), torch.zeros(len(points))
        for source in sources:
            own, within = _field(source, at, grid.b0_dir)
            b += own
            inside += within
            source_chi += source.chi_ppm * within
            amount = torch.where(within, source.signal, amount)
            decay = torch.where(within, source.extra_r2star_per_s, decay)
        for total, values in zip(sums, (source_chi, b, inside), strict=True):
            total += values / len(offsets)
        signal += torch.polar(amount * torch.exp(-times * decay), omega * times * b)
    for whole, part in zip((chi, field, share), sums, strict=True):
        whole[near] = part
    factor[:, near] = signal / len(offsets)
    chi, field, share = (x.reshape(grid.shape) for x in (chi, field, share))
    return SourceMaps(chi, field, share, factor.reshape(-1, *grid.shape))


def add_sources(
    scan: Scan,
    sources: Sequence[StrongSource],
    affine: np.ndarray,
    params: ScanParams,
    *,
    snr: float,
    seed: int = 0,
) -> Scan:
    """Put balls into the brain of a scan without noise, and noise on the result.

    Parameters
    ----------
    scan : Scan
        Simulated with an infinite signal-to-noise ratio.
    sources : sequence of StrongSource
        None for the same noise without balls.
    affine : numpy.ndarray, shape (4, 4)
        Of the scan.
    params : ScanParams
        The sequence that the scan was simulated with.
    snr : float
        As in `ScanParams`.
    seed : int
        Of the noise.

    Returns
    -------
    Scan
        With the balls in its truth.
    """
    shape = tuple(scan.brain.shape)
    maps = source_maps(sources, shape, affine, params.echo_times_s, params.b0_tesla)  # type: ignore[arg-type]
    signal = torch.polar(scan.magnitude, scan.phase_rad) * maps.signal_factor
    random = torch.Generator().manual_seed(seed + 104729)
    draw = torch.randn(2, *signal.shape, generator=random) / snr
    signal = signal + torch.complex(draw[0], draw[1])
    return replace(
        scan,
        phase_rad=signal.angle(),
        magnitude=signal.abs(),
        chi_ppm=scan.chi_ppm * (1 - maps.share) + maps.chi_ppm,
        total_field_ppm=scan.total_field_ppm + maps.field_ppm,
        local_field_ppm=scan.local_field_ppm + maps.field_ppm,
    )


def _field(
    source: StrongSource, points_mm: Tensor, b0_dir: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the field in ppm at points, shape (P, 3), and which of them lie in the ball."""
    gap = points_mm - torch.tensor(source.centre_mm)
    squared = gap.square().sum(1)
    within = squared <= source.radius_mm**2
    squared = squared.clamp(min=source.radius_mm**2)
    along = (gap @ torch.tensor(b0_dir, dtype=gap.dtype)).square()
    field = source.chi_ppm / 3 * source.radius_mm**3 * squared**-1.5 * (3 * along / squared - 1)
    return torch.where(within, 0.0, field), within


def _subvoxels(voxel_size_mm: Sequence[float]) -> list[tuple[float, ...]]:
    counts = [max(1, math.ceil(v / _SUBVOXEL_MM)) for v in voxel_size_mm]
    axes = [
        [((i + 0.5) / n - 0.5) * v for i in range(n)]
        for n, v in zip(counts, voxel_size_mm, strict=True)
    ]
    return list(itertools.product(*axes))
