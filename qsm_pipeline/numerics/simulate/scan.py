"""The raw multi-echo scan of a simulated head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.operators import DipoleOperator
from qsm_pipeline.numerics.simulate.head import TISSUES, simulate_head
from qsm_pipeline.numerics.units import rad_per_s_per_ppm

_MARGIN_MM = 48.0
"""The head goes on beyond the field of view; its field comes from there too."""


@dataclass(frozen=True)
class ScanParams:
    """How a scan is made.

    Parameters
    ----------
    echo_times_s : tuple of float
        Increasing.
    b0_tesla : float
        Field strength.
    snr : float
        Mean brain signal at echo time zero over the noise of its real part.
    repetition_time_s, flip_angle_deg : float
        For the T1 weighting.
    alternating_rad : float
        Odd/even phase difference of a bipolar readout across the field of view; 0 for monopolar.
    """

    echo_times_s: tuple[float, ...] = (0.005, 0.010, 0.015, 0.020, 0.025)
    b0_tesla: float = 3.0
    snr: float = 80.0
    repetition_time_s: float = 0.035
    flip_angle_deg: float = 15.0
    alternating_rad: float = 0.0


@dataclass(frozen=True)
class Scan:
    """A raw scan with its truth.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, growing where the field is higher, and magnitude with a mean of about 1.
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility in the brain, zero outside.
    total_field_ppm, local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Shimmed field of everything, and of the brain alone.
    brain : torch.Tensor, shape (X, Y, Z), bool
        Brain with its CSF.
    labels : torch.Tensor, shape (X, Y, Z), uint8
        Tissues.
    """

    phase_rad: Tensor
    magnitude: Tensor
    chi_ppm: Tensor
    total_field_ppm: Tensor
    local_field_ppm: Tensor
    brain: Tensor
    labels: Tensor


def simulate_scan(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    params: ScanParams | None = None,
    *,
    seed: int = 0,
) -> Scan:
    """Scan the head of :func:`simulate_head`.

    Parameters
    ----------
    shape : tuple of int, length 3
        Matrix.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner RAS+ mm, with the brain's centre at the scanner's origin; may be oblique
        and anisotropic.
    params : ScanParams, optional
        Sequence.
    seed : int
        Of the head, the offset and the noise.

    Returns
    -------
    Scan
        The same head in the same field for every affine.
    """
    params = params or ScanParams()
    grid = Grid.from_affine(shape, affine)
    margin = [math.ceil(_MARGIN_MM / v) for v in grid.voxel_size_mm]
    wide_shape = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    inside = tuple(slice(m, m + n) for n, m in zip(shape, margin, strict=True))
    axes = [torch.arange(n) - m for n, m in zip(wide_shape, margin, strict=True)]
    voxel = torch.stack(torch.meshgrid(*axes, indexing="ij")).float()
    matrix = torch.as_tensor(np.asarray(affine), dtype=torch.float32)
    position = (
        torch.einsum("rc,cxyz->rxyz", matrix[:3, :3], voxel) + matrix[:3, 3, None, None, None]
    )
    head = simulate_head(position, seed)
    wide = Grid(wide_shape, grid.voxel_size_mm, grid.b0_dir)
    dipole = DipoleOperator(wide, pad_mm=60.0)
    total = dipole(head.chi_ppm - TISSUES["air"][0])[inside]
    chi = torch.where(head.brain, head.chi_ppm, 0.0)
    local = dipole(chi)[inside]
    brain = head.brain[inside].contiguous()
    position = position[(slice(None), *inside)]
    total = total - _shim(total, brain, position)
    generator = torch.Generator().manual_seed(seed + 1)
    phase, magnitude = _signal(
        total, head.m0[inside], head.r1_per_s[inside], head.r2star_per_s[inside], brain, position,
        params, generator,
    )  # fmt: skip
    labels = head.labels[inside].contiguous()
    return Scan(phase, magnitude, chi[inside].contiguous(), total, local, brain, labels)


def _shim(field: Tensor, brain: Tensor, position_mm: Tensor) -> Tensor:
    """Return the best combination of the harmonic shims up to second order."""
    x, y, z = position_mm / 100
    one = torch.ones_like(x)
    shims = (one, x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y)
    # in double precision, so that the rounding of threaded sums does not reach the result
    columns = torch.stack([s[brain] for s in shims], dim=1).double()
    solution = torch.linalg.lstsq(columns, field[brain][:, None].double()).solution
    weights = solution[:, 0].to(field.dtype)
    return sum(w * s for w, s in zip(weights, shims, strict=True))


def _signal(
    field_ppm: Tensor,
    m0: Tensor,
    r1: Tensor,
    r2star: Tensor,
    brain: Tensor,
    position_mm: Tensor,
    params: ScanParams,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    flip = math.radians(params.flip_angle_deg)
    e1 = torch.exp(-params.repetition_time_s * r1)
    steady = m0 * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1)
    steady = steady / steady[brain].mean()
    x, y, z = position_mm / 100
    a = torch.randn(6, generator=generator)
    offset = 2 * (a[0] * x + a[1] * y + a[2] * z) + a[3] * x * y + a[4] * y * z + 2 * z * z + a[5]
    omega = rad_per_s_per_ppm(params.b0_tesla) * field_ppm
    phases, magnitudes = [], []
    for echo, time in enumerate(params.echo_times_s):
        alternating = (1 if echo % 2 else -1) * params.alternating_rad * (x + 0.3) / 2
        signal = torch.polar(
            steady * torch.exp(-time * r2star), omega * time + offset + alternating
        )
        noise = torch.randn(2, *signal.shape, generator=generator) / params.snr
        signal = signal + torch.complex(noise[0], noise[1])
        phases.append(torch.angle(signal))
        magnitudes.append(signal.abs())
    return torch.stack(phases), torch.stack(magnitudes)
