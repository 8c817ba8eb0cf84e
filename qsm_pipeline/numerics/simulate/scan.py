"""The raw multi-echo scan of a simulated head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy, random_anatomy
from qsm_pipeline.numerics.simulate.fields import (
    around_head,
    field_of_head,
    scanner_position_mm,
    second_order_shim,
)
from qsm_pipeline.numerics.simulate.head import Head, simulate_head
from qsm_pipeline.numerics.simulate.waves import Waves
from qsm_pipeline.numerics.units import rad_per_s_per_ppm

_TABLE_TESLA = 3.0


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
        Mean brain signal of the first echo over the SD of the noise of its real part; infinite
        for none.
    repetition_time_s, flip_angle_deg : float
        For the T1 weighting.
    alternating_rad : float
        Odd/even phase difference of a bipolar readout across the field of view; 0 for monopolar.
    readout_axis : int
        Voxel axis that it runs along.
    subvoxels : int
        Voxels are cut into this many parts along each axis, and the signal is summed over them,
        so that it dephases as in a scanner. Thick voxels are always cut to about cubes first.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    echo_times_s: tuple[float, ...] = (0.005, 0.010, 0.015, 0.020, 0.025)
    b0_tesla: float = 3.0
    snr: float = 80.0
    repetition_time_s: float = 0.035
    flip_angle_deg: float = 15.0
    alternating_rad: float = 0.0
    readout_axis: int = 0
    subvoxels: int = 1

    def __post_init__(self) -> None:
        times = tuple(float(t) for t in self.echo_times_s)
        if not times or min(times) <= 0 or sorted(set(times)) != list(times):
            raise ValueError(f"Echo times must be positive and increase, got {times}")
        if self.repetition_time_s <= times[-1]:
            raise ValueError(
                f"The repetition time must be longer than the last echo time of {times[-1]:g} s, "
                f"got {self.repetition_time_s:g} s"
            )
        for name in ("b0_tesla", "snr", "flip_angle_deg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.readout_axis not in (0, 1, 2):
            raise ValueError(f"readout_axis must be 0, 1 or 2, got {self.readout_axis}")
        if self.subvoxels < 1:
            raise ValueError(f"subvoxels must be at least 1, got {self.subvoxels}")
        object.__setattr__(self, "echo_times_s", times)


@dataclass(frozen=True)
class Scan:
    """A raw scan with its truth.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, growing where the field is higher, and magnitude, with a mean of about 1 in
        the brain at the first echo.
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
    anatomy: Anatomy | None = None,
    device: torch.device | str = "cpu",
) -> Scan:
    """Scan a simulated head.

    Parameters
    ----------
    shape : tuple of int, length 3
        Matrix.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner RAS+ mm, with the brain's middle near the scanner's origin; may be oblique
        and anisotropic.
    params : ScanParams, optional
        Sequence.
    seed : int
        Of the receive phase and the noise, and of the head if ``anatomy`` is not given.
    anatomy : Anatomy, optional
        The person.
    device
        Where to compute.

    Returns
    -------
    Scan
        The same head in the same field for every affine.

    Raises
    ------
    ValueError
        If no brain lies in the field of view.
    """
    params = params or ScanParams()
    anatomy = anatomy or random_anatomy(seed)
    affine = np.asarray(affine, dtype=float)
    parts = _parts(affine, params.subvoxels)
    fine_shape = tuple(n * p for n, p in zip(shape, parts, strict=True))
    fine_affine = _subdivided(affine, parts)
    placement = around_head(fine_shape, fine_affine, anatomy)
    whole = simulate_head(placement.shape, placement.affine, anatomy, device=device)
    mask = _merge(whole.brain[placement.inside].float(), parts) > 0.5
    if not mask.any():
        raise ValueError(
            f"The field of view of {shape} voxels holds no brain; the affine must place it near "
            "the scanner's origin"
        )
    local_source = whole.brain.clone()
    local_source[placement.inside] = _repeat(mask, parts)
    total, local = field_of_head(whole.chi_ppm, local_source, placement)
    head = Head(*(getattr(whole, f)[placement.inside] for f in Head.__dataclass_fields__))
    position = scanner_position_mm(fine_shape, fine_affine, device)
    total = total + second_order_shim(total, head.brain, position)
    signal = _signal(total, head, position, params, parts, seed)
    signal = signal / signal[0].abs()[mask].mean()
    noise = torch.Generator().manual_seed(seed + 104729)
    deviation = 1 / params.snr
    for echo in signal:
        draw = torch.randn(2, *shape, generator=noise).to(device) * deviation
        echo += torch.complex(draw[0], draw[1])
    return Scan(
        phase_rad=signal.angle(),
        magnitude=signal.abs(),
        chi_ppm=_merge(head.chi_ppm, parts) * mask,
        total_field_ppm=_merge(total, parts),
        local_field_ppm=_merge(local, parts),
        brain=mask,
        labels=_most_frequent(head.labels, parts),
    )


def _signal(
    field_ppm: Tensor,
    head: Head,
    position_mm: Tensor,
    params: ScanParams,
    parts: tuple[int, int, int],
    seed: int,
) -> Tensor:
    """Return the complex signal without noise, shape (E, X, Y, Z)."""
    r1 = head.r1_per_s * (params.b0_tesla / _TABLE_TESLA) ** -0.35
    r2star = head.r2_per_s + head.r2prime_per_s * (params.b0_tesla / _TABLE_TESLA)
    flip = math.radians(params.flip_angle_deg)
    e1 = torch.exp(-params.repetition_time_s * r1)
    steady = head.m0 * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1)
    sensitivity, offset = _receiver(position_mm, seed)
    steady = steady * sensitivity
    omega = rad_per_s_per_ppm(params.b0_tesla) * (field_ppm + head.shift_ppm)
    n = field_ppm.shape[params.readout_axis]
    readout = (torch.arange(n, device=field_ppm.device) + 0.5) / n - 0.4
    readout = readout.reshape([-1 if a == params.readout_axis else 1 for a in range(3)])
    echoes = []
    for number, time in enumerate(params.echo_times_s):
        polarity = 0.5 if number % 2 else -0.5
        phase = omega * time + offset + polarity * params.alternating_rad * readout
        size = steady * torch.exp(-time * r2star)
        real, imaginary = (_merge(size * part, parts) for part in (phase.cos(), phase.sin()))
        echoes.append(torch.complex(real, imaginary))
    return torch.stack(echoes)


def _receiver(position_mm: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sensitivity and phase (rad) of the combined receive coils.

    The phase spans several turns over a head and has no part that a constant and a slope explain.
    """
    g = torch.Generator().manual_seed(seed + 15485863)
    points = position_mm.reshape(3, -1).T
    shape = position_mm.shape[1:]
    far = (points / 100).square().sum(1)
    sensitivity = (1 + 0.35 * far) * (1 + 0.08 * Waves.random(220.0, 8, g)(points))
    slope = torch.randn(3, generator=g)
    slope = 4.0 * slope / slope.norm()
    curves = torch.randn(2, generator=g)
    x, y, z = (points / 100).unbind(1)
    offset = (points / 100) @ slope.to(points) + 2.0 * far
    offset = offset + float(curves[0]) * x * y + float(curves[1]) * y * z
    offset = offset + 0.6 * Waves.random(150.0, 8, g)(points)
    return sensitivity.reshape(shape), offset.reshape(shape)


def _parts(affine: np.ndarray, subvoxels: int) -> tuple[int, int, int]:
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(int(p) for p in subvoxels * np.maximum(np.round(voxel / voxel.min()), 1))  # type: ignore[return-value]


def _subdivided(affine: np.ndarray, parts: tuple[int, int, int]) -> np.ndarray:
    finer = affine.copy()
    finer[:3, :3] = affine[:3, :3] / np.asarray(parts)
    first = (1 / np.asarray(parts) - 1) / 2  # centre of the first part, in voxels
    finer[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return finer


def _merge(x: Tensor, parts: tuple[int, int, int]) -> Tensor:
    if parts == (1, 1, 1):
        return x
    return torch.nn.functional.avg_pool3d(x[None], parts)[0]


def _repeat(x: Tensor, parts: tuple[int, int, int]) -> Tensor:
    for axis, count in enumerate(parts):
        x = x.repeat_interleave(count, dim=axis)
    return x


def _most_frequent(labels: Tensor, parts: tuple[int, int, int]) -> Tensor:
    for axis, count in enumerate(parts):
        labels = labels.unfold(axis, count, count)
    return labels.reshape(*labels.shape[:3], -1).mode(dim=-1).values
