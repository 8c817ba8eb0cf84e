"""The signal of a spoiled multi-echo gradient-echo sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.units import hz_per_ppm
from qsm_pipeline.numerics.simulate.head import Head
from qsm_pipeline.numerics.simulate.subvoxels import Parts, merge
from qsm_pipeline.numerics.simulate.waves import Waves

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
        Mean brain signal at echo time zero over the SD of the noise of its real part; infinite
        for none.
    repetition_time_s, flip_angle_deg : float
        For the T1 weighting.
    alternating_rad : float
        Odd/even phase difference of a bipolar readout, along the first voxel axis, across the
        field of view; 0 for monopolar.

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

    def __post_init__(self) -> None:
        times = self.echo_times_s
        if not times or times[0] <= 0 or sorted(set(times)) != list(times):
            raise ValueError(f"Echo times must be positive and increase, got {times}")
        if self.repetition_time_s <= times[-1]:
            raise ValueError(
                f"The repetition time must be longer than the last echo time of {times[-1]:g} s, "
                f"got {self.repetition_time_s:g} s"
            )
        for name in ("b0_tesla", "snr", "flip_angle_deg"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def complex_signal(
    field_ppm: Tensor,
    head: Head,
    position_mm: Tensor,
    params: ScanParams,
    parts: Parts,
    seed: int,
) -> Tensor:
    """Return the signal of a head without noise.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X * p, Y * q, Z * r)
        Field at the parts of voxels.
    head : Head
        Tissues there.
    position_mm : torch.Tensor, shape (3, X * p, Y * q, Z * r)
        Scanner coordinates.
    params : ScanParams
        Sequence.
    parts : tuple of int, length 3
        ``p``, ``q`` and ``r``.
    seed : int
        Of the coils.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z), complex64
    """
    sensitivity, offset = _receiver(position_mm, seed)
    size = sensitivity * _steady_state(head, params)
    size = size / size[head.brain].mean()
    # R2* of brain tissue from 3 to 7 T grows about like this
    r2star = head.r2star_per_s * (params.b0_tesla / _TABLE_TESLA) ** 0.7
    field_hz = hz_per_ppm(params.b0_tesla) * field_ppm
    frequency = field_hz + hz_per_ppm(params.b0_tesla) * head.shift_ppm
    n = field_ppm.shape[0]
    readout = ((torch.arange(n, device=field_ppm.device) + 0.5) / n - 0.4)[:, None, None]
    echoes = []
    for number, time in enumerate(params.echo_times_s):
        polarity = 0.5 if number % 2 else -0.5
        turn = 2 * math.pi * time
        phase = turn * frequency + offset + polarity * params.alternating_rad * readout
        amplitude = size * torch.exp(-time * r2star) * dephasing(field_hz, time)
        real, imaginary = (merge(amplitude * part, parts) for part in (phase.cos(), phase.sin()))
        echoes.append(torch.complex(real, imaginary))
    return torch.stack(echoes)


def dephasing(field_hz: Tensor, time_s: float) -> Tensor:
    """Return what the field's variation across each voxel leaves of the signal.

    The mean of the phase factor over a voxel across which the field is linear, which is a sinc
    for each axis: beyond a turn per voxel it changes sign, as the signal of a scanner does.
    """
    left = torch.ones_like(field_hz)
    for step in torch.gradient(field_hz):
        left *= torch.sinc(time_s * step)
    return left


def _steady_state(head: Head, params: ScanParams) -> Tensor:
    """Return the spoiled gradient-echo signal at echo time zero."""
    flip = math.radians(params.flip_angle_deg)
    r1 = head.r1_per_s * (params.b0_tesla / _TABLE_TESLA) ** -0.35
    e1 = torch.exp(-params.repetition_time_s * r1)
    return head.m0 * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1)


def _receiver(position_mm: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sensitivity and phase (rad) of the combined receive coils.

    The phase spans several turns over a head and has no part that a constant and a slope explain.
    """
    g = torch.Generator().manual_seed(seed + 15485863)
    shape = position_mm.shape[1:]
    points = position_mm.reshape(3, -1).T
    x, y, z = position_mm / 100
    far = x * x + y * y + z * z
    ripple, swirl = Waves.random(220.0, 8, g), Waves.random(150.0, 8, g)
    sensitivity = (1 + 0.35 * far) * (1 + 0.08 * ripple(points).reshape(shape))
    slope = 4.0 * torch.nn.functional.normalize(torch.randn(3, generator=g), dim=0)
    curves = torch.randn(2, generator=g)
    offset = float(slope[0]) * x + float(slope[1]) * y + float(slope[2]) * z + 2.0 * far
    offset = offset + float(curves[0]) * x * y + float(curves[1]) * y * z
    return sensitivity, offset + 0.6 * swirl(points).reshape(shape)
