"""Raw scans of the validation head in ``../shared/data/head_phantom``, which does not ship."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, grid_sample

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.simulate.fields import field_of_dipoles

PHANTOM = Path(__file__).resolve().parents[2] / "shared" / "data" / "head_phantom"
AIR_PPM = 9.2
VEIN_PPM, VEIN_R2STAR_PER_S = 0.3, 45.0
TEXTURE_PPM = 0.006


@dataclass(frozen=True)
class Protocol:
    """How a scan is made.

    Parameters
    ----------
    shape, voxel_size_mm, tilt_deg
        Matrix, voxel size in mm and tilt of the slices about the left-right axis in degrees.
    split : tuple of int, length 3
        Subvoxels along each axis. The signal is averaged over them, so that it dephases where
        the field is steep; 1 has no dephasing.
    echo_times_s, b0_tesla
        Sequence.
    snr : float
        Mean brain signal at echo time zero over the noise of its real part.
    seed : int
        Of the veins, the texture, the phase offset and the noise.
    """

    shape: tuple[int, int, int]
    voxel_size_mm: tuple[float, float, float]
    tilt_deg: float = 0.0
    split: tuple[int, int, int] = (1, 1, 1)
    echo_times_s: tuple[float, ...] = (0.004, 0.010, 0.016, 0.022, 0.028)
    b0_tesla: float = 3.0
    snr: float = 80.0
    seed: int = 0


PROTOCOLS = {
    "axial": Protocol((160, 192, 150), (1.0, 1.0, 1.0)),
    "oblique": Protocol((172, 210, 88), (0.9, 0.9, 1.8), 22.0, (1, 1, 2)),
    "tilted": Protocol((156, 190, 160), (1.0, 1.0, 1.0), 22.0),
    "axial-fine": Protocol((160, 192, 150), (1.0, 1.0, 1.0), split=(2, 2, 2)),
    "oblique-other": Protocol((160, 190, 96), (1.0, 1.0, 1.6), -25.0, (1, 1, 2), seed=7),
}


@dataclass(frozen=True)
class AnatomyScan:
    """A raw scan and its truth.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, rounded to Siemens integers, and magnitude.
    chi_ppm, total_field_ppm, local_field_ppm, labels, brain : torch.Tensor, shape (X, Y, Z)
        True susceptibility of the brain, shimmed field of everything, field of the brain alone.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    grid : Grid
        Geometry.
    """

    phase_rad: Tensor
    magnitude: Tensor
    chi_ppm: Tensor
    total_field_ppm: Tensor
    local_field_ppm: Tensor
    labels: Tensor
    brain: Tensor
    affine: np.ndarray
    grid: Grid


def scan_anatomy(protocol: Protocol) -> AnatomyScan:
    """Scan the validation head with a protocol."""
    affine = tilted_affine(protocol.shape, protocol.voxel_size_mm, protocol.tilt_deg)
    grid = Grid.from_affine(protocol.shape, affine)
    split = protocol.split
    fine_voxel = tuple(v / s for v, s in zip(grid.voxel_size_mm, split, strict=True))
    # a whole number of voxels beyond the field of view, whose field comes from there too
    margin = tuple(math.ceil(30 / v) * s for v, s in zip(grid.voxel_size_mm, split, strict=True))
    wide = tuple(n * s + 2 * m for n, s, m in zip(protocol.shape, split, margin, strict=True))
    position = _positions(wide, margin, split, affine)
    inner, brain = _brain_edges(position)
    chi, m0, r1, r2star = (
        _sample(name, position, inner) for name in ("ChiModelMIX", "M0", "R1", "R2star")
    )
    generator = torch.Generator().manual_seed(protocol.seed)
    veins = _veins(position, generator) * (inner > 0.99)
    chi += brain * TEXTURE_PPM * _texture(position, generator)
    chi += veins * (VEIN_PPM - chi)
    r2star += veins * (VEIN_R2STAR_PER_S - r2star)
    inside = tuple(slice(m, n - m) for m, n in zip(margin, wide, strict=True))
    wide_grid = Grid(wide, fine_voxel, grid.b0_dir)
    outer = field_of_dipoles(chi * ~brain - AIR_PPM, wide_grid)[inside]
    chi *= brain
    local = DipoleOperator(wide_grid, margin_mm=40.0)(chi)[inside].contiguous()
    total = outer + local
    cut = [x[inside].contiguous() for x in (chi, m0, r1, r2star, brain)]
    position = position[(slice(None), *inside)].contiguous()
    total -= _shim(total, cut[4], position)
    coarse = [_average(x, split) for x in (cut[0], total, local, cut[4].float())]
    phase, magnitude = _signal(total, *cut[1:], position, protocol, generator)
    mask = coarse[3] > 0.5
    coarse_position = _positions(grid.shape, (0, 0, 0), (1, 1, 1), affine)
    labels = _interpolate(_volume("SegmentedModel"), coarse_position, "nearest")
    labels[_average(veins[inside].contiguous(), split) > 0.5] = 11
    return AnatomyScan(
        phase, magnitude, coarse[0] * mask, coarse[1], coarse[2], labels * mask, mask, affine, grid
    )


def _positions(shape, margin, split, affine) -> Tensor:
    """Return the scanner mm of the subvoxels' centres, shape (3, X, Y, Z)."""
    axes = [
        (torch.arange(n) - m + 0.5) / s - 0.5 for n, m, s in zip(shape, margin, split, strict=True)
    ]
    voxel = torch.stack(torch.meshgrid(*axes, indexing="ij")).float()
    matrix = torch.as_tensor(affine, dtype=torch.float32)
    return torch.einsum("rc,cxyz->rxyz", matrix[:3, :3], voxel) + matrix[:3, 3, None, None, None]


def _volume(name: str) -> Tensor:
    image = nib.load(PHANTOM / f"{name}.nii.gz")
    return torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))


def _unit_position(volume: Tensor, position_mm: Tensor) -> Tensor:
    """Return the place in the phantom, -1 to 1 from its first to its last voxel on each axis."""
    centre = torch.tensor([79.5, 96.5, 72.5])  # the brain's middle is the scanner's origin
    last = torch.tensor(volume.shape) - 1
    return 2 * (position_mm + centre[:, None, None, None]) / last[:, None, None, None] - 1


def _interpolate(volume: Tensor, position_mm: Tensor, mode: str = "bilinear") -> Tensor:
    """Interpolate a map of the phantom, which goes on beyond its borders as it ends there."""
    unit = _unit_position(volume, position_mm)
    return grid_sample(
        volume[None, None],
        unit.flip(0).movedim(0, -1)[None],
        align_corners=True,
        mode=mode,
        padding_mode="border",
    )[0, 0]


def _brain_edges(position_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Return the interpolated brain mask and the brain, which ends where the phantom does."""
    volume = _volume("BrainMask")
    fraction = _interpolate(volume, position_mm)
    inside = (_unit_position(volume, position_mm).abs() <= 1).all(dim=0)
    return fraction, (fraction > 0.5) & inside


def _sample(name: str, position_mm: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate the brain and its surroundings apart, so that neither bleeds into the other."""
    volume, mask = _volume(name), _volume("BrainMask")
    within = _interpolate(volume * mask, position_mm) / fraction.clamp(min=1e-3)
    beyond = _interpolate(volume * (1 - mask), position_mm) / (1 - fraction).clamp(min=1e-3)
    return torch.where(fraction > 0.5, within, beyond)


def _waves(position_mm: Tensor, wavelength_mm: float, count: int, g: torch.Generator) -> Tensor:
    """Return a smooth random function of place with unit variance."""
    total = torch.zeros(position_mm.shape[1:])
    for _ in range(count):
        direction = torch.randn(3, generator=g)
        k = 2 * torch.pi / wavelength_mm * direction / direction.norm()
        k = k / (0.75 + 0.5 * float(torch.rand(1, generator=g)))
        phase = 2 * torch.pi * float(torch.rand(1, generator=g))
        total += torch.sin(torch.einsum("c,cxyz->xyz", k, position_mm) + phase)
    return total * (2 / count) ** 0.5


def _texture(position_mm: Tensor, g: torch.Generator) -> Tensor:
    return (_waves(position_mm, 8.0, 16, g) + _waves(position_mm, 25.0, 8, g)) / 2**0.5


def _veins(position_mm: Tensor, g: torch.Generator) -> Tensor:
    """Return thin tubes, with soft edges, where two random functions are both near zero."""
    squared = _waves(position_mm, 30.0, 8, g).square() + _waves(position_mm, 30.0, 8, g).square()
    return (2 - squared / 0.02).clamp(0, 1)


def _average(x: Tensor, split: tuple[int, int, int]) -> Tensor:
    return avg_pool3d(x[None, None], split)[0, 0]


def _shim(field: Tensor, brain: Tensor, position_mm: Tensor) -> Tensor:
    x, y, z = position_mm / 100
    one = torch.ones_like(x)
    shims = (one, x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y)
    columns = torch.stack([s[brain][::7] for s in shims], dim=1).double()
    solution = torch.linalg.lstsq(columns, field[brain][::7, None].double()).solution[:, 0]
    return sum(float(w) * s for w, s in zip(solution, shims, strict=True))


def _signal(field_ppm, m0, r1, r2star, brain, position_mm, protocol, g) -> tuple[Tensor, Tensor]:
    flip, repetition_s = math.radians(15), 0.035
    e1 = torch.exp(-repetition_s * r1)
    steady = m0 * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1)
    steady /= steady[brain].mean()
    x, y, z = position_mm / 100
    steady *= 1 + 0.4 * (x * x + y * y) - 0.3 * z  # receive profile
    a = torch.randn(6, generator=g)
    offset = 2 * (a[0] * x + a[1] * y + a[2] * z) + a[3] * x * y + a[4] * y * z + 2 * z * z + a[5]
    omega = rad_per_s_per_ppm(protocol.b0_tesla) * field_ppm
    phases, magnitudes = [], []
    for time in protocol.echo_times_s:
        size, angle = steady * torch.exp(-time * r2star), omega * time + offset
        real = _average(size * torch.cos(angle), protocol.split)
        imaginary = _average(size * torch.sin(angle), protocol.split)
        noise = torch.randn(2, *real.shape, generator=g) / protocol.snr
        signal = torch.complex(real + noise[0], imaginary + noise[1])
        step = torch.pi / 4096
        phases.append((torch.angle(signal) / step).round().clamp(-4096, 4094) * step)
        magnitudes.append(signal.abs())
    return torch.stack(phases), torch.stack(magnitudes)
