"""Faults of raw scans, as protocols, converters, scanners and people make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.depth import distance_mm
from qsm_pipeline.numerics.core.fourier import frequencies, irfft3, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.simulate.protocols import RawScan
from qsm_pipeline.numerics.simulate.waves import Waves

TURN = 2 * math.pi


def wrapped(phase_rad: Tensor) -> Tensor:
    """Return phase within half a turn of zero."""
    return phase_rad - TURN * torch.round(phase_rad / TURN)


def negated(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Give the phase the other sign."""
    return replace(scan, phase_rad=-scan.phase_rad)


def other_field_strength(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Say another field strength: higher or lower by this factor."""
    up = scan.b0_tesla * strength <= 12
    return replace(scan, b0_tesla=scan.b0_tesla * (strength if up else 1 / strength))


def other_echo_times(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Say echo times that are longer by this factor."""
    return replace(scan, echo_times_s=tuple(t * strength for t in scan.echo_times_s))


def scaled_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Take the scanner's numbers for so large a part of a turn as they are not."""
    return replace(scan, phase_rad=scan.phase_rad * strength)


def tilted_b0(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Lose an oblique orientation: the affine turns by so many degrees about an axis."""
    angle, axis = math.radians(strength), int(torch.randint(2, (1,), generator=g))
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = math.cos(angle)
    turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
    affine = scan.affine.copy()
    affine[:3] = turn @ affine[:3]
    return replace(scan, affine=affine)


def swapped_axes(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Store a sagittal or coronal volume with the affine of an axial one."""
    order = [(0, 2, 1), (2, 1, 0)][int(torch.randint(2, (1,), generator=g))]
    affine = scan.affine.copy()
    affine[:3, :3] = affine[:3, :3][list(order)]
    return replace(scan, affine=affine)


def other_voxel_size(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Say slices that are thicker by this factor."""
    affine = scan.affine.copy()
    affine[:3, 2] *= strength
    return replace(scan, affine=affine)


def flipped_phase(axis: int) -> Callable[[RawScan, float, torch.Generator], RawScan]:
    """Return the fault that turns the phase over along an axis, but not the magnitude."""

    def apply(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
        return replace(scan, phase_rad=scan.phase_rad.flip(axis + 1))

    return apply


def shifted_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Move the phase by so many mm against the magnitude."""
    axis = int(torch.randint(3, (1,), generator=g))
    steps = max(1, round(strength / scan.voxel_size_mm[axis]))
    return replace(scan, phase_rad=scan.phase_rad.roll(steps, axis + 1))


def swapped_echoes(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Store two echoes in the wrong order: the last and one before it."""
    order = list(range(len(scan.echo_times_s)))
    other = max(0, len(order) - 1 - round(strength))
    order[other], order[-1] = order[-1], order[other]
    return replace(scan, phase_rad=scan.phase_rad[order], magnitude=scan.magnitude[order])


def copied_echo(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Store the first echo's phase in place of so many others."""
    phase = scan.phase_rad.clone()
    phase[1 : 1 + round(strength)] = phase[0]
    return replace(scan, phase_rad=phase)


def moved_echoes(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Move the head by so many mm, in a random direction, before the later half of the echoes."""
    direction = torch.nn.functional.normalize(torch.randn(3, generator=g), dim=0) * strength
    signal = torch.polar(scan.magnitude, scan.phase_rad)
    axes = [
        torch.fft.fftfreq(n, v) for n, v in zip(signal.shape[1:], scan.voxel_size_mm, strict=True)
    ]
    ramp = sum(
        d * k.reshape([-1 if a == i else 1 for a in range(3)])
        for i, (d, k) in enumerate(zip(direction, axes, strict=True))
    )
    later = (len(signal) + 1) // 2
    moved = torch.fft.ifftn(
        torch.fft.fftn(signal[later:], dim=(1, 2, 3))
        * torch.exp(-1j * TURN * torch.as_tensor(ramp)),
        dim=(1, 2, 3),
    )
    signal = torch.cat([signal[:later], moved])
    return replace(scan, phase_rad=signal.angle(), magnitude=signal.abs())


def drifting_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Add to every echo after the first a smooth phase of its own, with this SD in rad."""
    phase = scan.phase_rad.clone()
    for echo in range(1, len(phase)):
        phase[echo] += strength * _smooth(scan, 90.0, g)
    return replace(scan, phase_rad=wrapped(phase))


def bipolar_readout(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Read even echoes in the other direction, with so many rad across the head."""
    phase = scan.phase_rad.clone()
    ramp = torch.linspace(-0.5, 0.5, phase.shape[1])[:, None, None]
    curve = ramp + 0.5 * _smooth(scan, 120.0, g)
    for echo in range(1, len(phase), 2):
        phase[echo] += strength * curve
    return replace(scan, phase_rad=wrapped(phase))


def noisy(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Add noise with this share of the brain's signal as SD."""
    level = strength * float(scan.magnitude[0][scan.brain].median())
    signal = torch.polar(scan.magnitude, scan.phase_rad)
    noise = torch.randn(2, *signal.shape, generator=g) * level
    signal = signal + torch.complex(noise[0], noise[1])
    return replace(scan, phase_rad=signal.angle(), magnitude=signal.abs())


def clipped_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Clip phase beyond this part of half a turn."""
    limit = strength * math.pi
    return replace(scan, phase_rad=scan.phase_rad.clamp(-limit, limit))


def overflown_magnitude(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Let magnitudes beyond this part of the brain's largest begin at zero again."""
    values = scan.magnitude[0][scan.brain]
    limit = strength * float(values.kthvalue(round(0.99 * values.numel())).values)
    return replace(scan, magnitude=scan.magnitude % limit)


def missing_slices(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Lose the phase of this share of the slices, in one block."""
    n = scan.phase_rad.shape[3]
    first = round(n * (0.35 + 0.2 * float(torch.rand(1, generator=g))))
    phase = scan.phase_rad.clone()
    phase[..., first : first + max(1, round(strength * n))] = 0
    return replace(scan, phase_rad=phase)


def missing_block(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Lose magnitude and phase in a ball of this radius (mm) in the brain."""
    ball = _ball(scan, strength, g)
    empty = {n: getattr(scan, n).masked_fill(ball, 0.0) for n in ("phase_rad", "magnitude")}
    return replace(scan, **empty)


def spike(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Add stripes: a spike in the k-space of every echo, with this share of the signal."""
    level = strength * float(scan.magnitude[0][scan.brain].median())
    k = (0.1 + 0.3 * torch.rand(3, generator=g)) * TURN
    stripe = sum(
        k[i] * torch.arange(n).reshape([-1 if a == i else 1 for a in range(3)])
        for i, n in enumerate(scan.brain.shape)
    )
    shifts = torch.rand(len(scan.phase_rad), generator=g) * TURN
    signal = torch.polar(scan.magnitude, scan.phase_rad)
    signal = signal + level * torch.exp(
        1j * (torch.as_tensor(stripe) + shifts[:, None, None, None])
    )
    return replace(scan, phase_rad=signal.angle(), magnitude=signal.abs())


def ghost(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Add the image moved by half the field of view along the second axis, this strong."""
    signal = torch.polar(scan.magnitude, scan.phase_rad)
    turns = torch.rand(len(signal), generator=g) * TURN
    half = signal.roll(signal.shape[2] // 2, 2) * torch.exp(1j * turns)[:, None, None, None]
    signal = signal + strength * half
    return replace(scan, phase_rad=signal.angle(), magnitude=signal.abs())


def interpolated_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Resample wrapped phase by so much of a voxel, which blurs every wrap."""
    phase = torch.lerp(scan.phase_rad, scan.phase_rad.roll(1, 1), strength)
    phase = torch.lerp(phase, phase.roll(1, 2), strength)
    return replace(scan, phase_rad=phase)


def offset_slices(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Give each slice of each echo a phase of its own, with this SD in rad."""
    steps = strength * torch.randn(len(scan.phase_rad), 1, 1, scan.phase_rad.shape[3], generator=g)
    return replace(scan, phase_rad=wrapped(scan.phase_rad + steps))


def filtered_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """High-pass the phase as for SWI: divide by the signal blurred with this SD in mm."""
    grid = Grid(tuple(scan.brain.shape), scan.voxel_size_mm)
    squared = sum(x.square() for x in frequencies(grid.shape, grid.voxel_size_mm))
    gain = torch.exp(-2 * (math.pi * strength) ** 2 * torch.as_tensor(squared)).float()
    out = []
    for phase, size in zip(scan.phase_rad, scan.magnitude, strict=True):
        real, imaginary = (
            irfft3(rfft3(size * part) * gain, grid.shape) for part in (phase.cos(), phase.sin())
        )
        out.append(wrapped(phase - torch.atan2(imaginary, real)))
    return replace(scan, phase_rad=torch.stack(out))


def open_fringes(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Combine coils badly: so many open fringe lines run through all echoes, each its own."""
    points = _points(scan)
    phase = scan.phase_rad.clone()
    inside = scan.brain.nonzero()
    voxel = torch.tensor(scan.voxel_size_mm)
    for _ in range(round(strength)):
        for echo in phase:
            place = inside[int(torch.randint(len(inside), (1,), generator=g))] * voxel
            i, j = torch.randperm(3, generator=g)[:2].tolist()
            echo += torch.atan2(points[i] - place[i], points[j] - place[j])
    return replace(scan, phase_rad=wrapped(phase))


def coarse_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Store the phase in so few levels."""
    step = TURN / strength
    return replace(scan, phase_rad=(scan.phase_rad / step).round() * step)


def signal_void(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Put metal into the front of the brain: no signal and steep phase within so many mm."""
    points, voxel = _points(scan), torch.tensor(scan.voxel_size_mm)
    inside = scan.brain.nonzero() * voxel
    place = inside[inside[:, 1].argmax()]
    gap = [p - float(c) for p, c in zip(points, place, strict=True)]
    squared = (gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2).clamp(min=float(voxel.max()) ** 2)
    along = gap[2] ** 2 / squared
    field_rad_per_s = 4e3 * (strength / 10) ** 3 * (squared / 100) ** -1.5 * (3 * along - 1)
    times = torch.tensor(scan.echo_times_s)[:, None, None, None]
    slope = torch.stack(torch.gradient(field_rad_per_s)).norm(dim=0) * times
    dark = torch.sinc(slope / TURN).abs() * (squared > strength**2)
    signal = torch.polar(scan.magnitude * dark, scan.phase_rad + times * field_rad_per_s)
    floor = 0.02 * float(scan.magnitude[0][scan.brain].median())
    noise = floor * torch.randn(2, *signal.shape, generator=g)
    signal = signal + torch.complex(noise[0], noise[1])
    return replace(scan, phase_rad=signal.angle(), magnitude=signal.abs())


def turned_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Turn the phase by so many degrees about the third axis against the magnitude."""
    turn = np.eye(3)
    angle = math.radians(strength)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    middle = (np.array(scan.brain.shape) - 1) / 2
    turned = [
        ndimage.affine_transform(echo.numpy(), turn, middle - turn @ middle, order=0)
        for echo in scan.phase_rad
    ]
    return replace(scan, phase_rad=torch.from_numpy(np.stack(turned)))


def smoothed_phase(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Average wrapped phase over cubes of so many voxels, wraps and all."""
    width = round(strength)
    mean = torch.nn.functional.avg_pool3d(scan.phase_rad[None], width, 1, width // 2)[0]
    return replace(scan, phase_rad=mean)


def lost_echo(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Bury the last echo in noise of this share of the first echo's signal."""
    last = replace(scan, phase_rad=scan.phase_rad[-1:], magnitude=scan.magnitude[-1:])
    level = strength * float(scan.magnitude[0][scan.brain].median())
    level /= float(scan.magnitude[-1][scan.brain].median())
    last = noisy(last, level, g)
    return replace(
        scan,
        phase_rad=torch.cat([scan.phase_rad[:-1], last.phase_rad]),
        magnitude=torch.cat([scan.magnitude[:-1], last.magnitude]),
    )


def slab_step(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Acquire two slabs with so many rad between them."""
    phase = scan.phase_rad.clone()
    phase[..., phase.shape[3] // 2 :] += strength
    return replace(scan, phase_rad=wrapped(phase))


def negated_echo(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Give the phase of so many echoes, from the second on, the other sign."""
    phase = scan.phase_rad.clone()
    phase[1 : 1 + round(strength)] *= -1
    return replace(scan, phase_rad=phase)


def moved_mask(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Take a mask that lies so many mm beside the brain."""
    axis = int(torch.randint(3, (1,), generator=g))
    steps = max(1, round(strength / scan.voxel_size_mm[axis]))
    return replace(scan, brain=scan.brain.roll(steps, axis))


def leaking_mask(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Let the mask reach so many mm beyond the brain."""
    beyond = distance_mm(~scan.brain.numpy(), scan.voxel_size_mm)
    return replace(scan, brain=torch.from_numpy(beyond <= strength))


def one_sided_leak(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Let the mask leak into eyes, neck or scalp: a ball of this radius (mm) at its surface."""
    inside = scan.brain.nonzero()
    place = inside[int(inside[:, 1].argmax())] if strength > 0 else inside[0]
    points = _points(scan)
    voxel = torch.tensor(scan.voxel_size_mm)
    near = sum((p - float(c * v)) ** 2 for p, c, v in zip(points, place, voxel, strict=True))
    return replace(scan, brain=scan.brain | (near < strength**2))


def missing_lobe(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Cut off this share of the mask's length, at an end of a random axis."""
    axis = int(torch.randint(3, (1,), generator=g))
    where = scan.brain.nonzero()[:, axis]
    low, high = int(where.min()), int(where.max())
    cut = round(strength * (high - low + 1))
    keep = torch.arange(scan.brain.shape[axis]) < high - cut
    brain = scan.brain & keep.reshape([-1 if a == axis else 1 for a in range(3)])
    return replace(scan, brain=torch.from_numpy(largest_parts(brain.numpy())))


def holes(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Make so many holes of 3 to 6 mm radius in the mask."""
    brain = scan.brain.clone()
    for _ in range(round(strength)):
        brain &= ~_ball(scan, 3 + 3 * float(torch.rand(1, generator=g)), g)
    return replace(scan, brain=torch.from_numpy(largest_parts(brain.numpy())))


def eroded_mask(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Lose so many mm of the mask all around."""
    brain = scan.brain.numpy()
    deep = distance_mm(brain, scan.voxel_size_mm) > strength
    return replace(scan, brain=torch.from_numpy(largest_parts(deep)))


def thin_slab(scan: RawScan, strength: float, g: torch.Generator) -> RawScan:
    """Keep a slab of so many mm along the third axis, from the middle of the brain."""
    n = scan.brain.shape[2]
    width = max(6, round(strength / scan.voxel_size_mm[2]))
    where = scan.brain.any(0).any(0).nonzero()[:, 0]
    first = min(max(0, int(where.float().mean()) - width // 2), max(0, n - width))
    return cropped(scan, first, first + width)


def cropped(scan: RawScan, first: int, last: int) -> RawScan:
    """Keep the slices from ``first`` to before ``last`` of the third axis."""
    affine = scan.affine.copy()
    affine[:3, 3] += first * affine[:3, 2]
    kept = {
        name: getattr(scan, name)[..., first:last].contiguous()
        for name in ("phase_rad", "magnitude", "brain", "chi_ppm")
    }
    return replace(scan, affine=affine, **kept)


def _smooth(scan: RawScan, wavelength_mm: float, g: torch.Generator) -> Tensor:
    points = torch.stack([p.expand(scan.brain.shape) for p in _points(scan)], -1).reshape(-1, 3)
    return Waves.random(wavelength_mm, 8, g)(points).reshape(scan.brain.shape)


def _points(scan: RawScan) -> Sequence[Tensor]:
    """Return the coordinates of voxels along each axis in mm, to be broadcast."""
    return [
        (torch.arange(n) * v).reshape([-1 if a == i else 1 for a in range(3)])
        for i, (n, v) in enumerate(zip(scan.brain.shape, scan.voxel_size_mm, strict=True))
    ]


def _ball(scan: RawScan, radius_mm: float, g: torch.Generator) -> Tensor:
    """Return a ball around a voxel of the brain that lies deeper than its radius, if any does."""
    depth = torch.from_numpy(distance_mm(scan.brain.numpy(), scan.voxel_size_mm))
    inside = (depth > min(1.2 * radius_mm, 0.8 * float(depth.max()))).nonzero()
    place = inside[int(torch.randint(len(inside), (1,), generator=g))]
    gaps = [
        p - float(c) * v for p, c, v in zip(_points(scan), place, scan.voxel_size_mm, strict=True)
    ]
    return gaps[0] ** 2 + gaps[1] ** 2 + gaps[2] ** 2 < radius_mm**2
