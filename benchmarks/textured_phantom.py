"""A head that no edge prior fits exactly, for comparing dipole inversions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.simulate import simulate_head

SHARED_HEAD = Path(__file__).resolve().parents[2] / "shared" / "data" / "head_phantom"
ECHO_TIME_S = 0.015
B0_TESLA = 3.0
TEXTURE_PPM = 0.008
STEP_PPM = 0.02
VEINS = 20
"""Label of the veins."""
OBLIQUE_VOXEL_MM = (0.9, 1.0, 1.6)
OBLIQUE_TILT_DEG = (18.0, -12.0, 8.0)


@dataclass(frozen=True)
class Phantom:
    """True susceptibility, and what a scan would show of it.

    Parameters
    ----------
    chi_ppm, magnitude : torch.Tensor, shape (X, Y, Z)
        Susceptibility, zero outside the mask, and magnitude without noise.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    labels : torch.Tensor, shape (X, Y, Z), uint8
        QSM-CI's scheme: 1 to 7 are the deep grey nuclei; and `VEINS`.
    grid : Grid
        Geometry.
    """

    chi_ppm: Tensor
    magnitude: Tensor
    mask: Tensor
    labels: Tensor
    grid: Grid


def textured_phantom(*, oblique: bool = False, step_mm: float = 1.0, seed: int = 0) -> Phantom:
    """Build the phantom; every wavelength and size is in mm, whatever the grid.

    Susceptibility varies inside the tissues and has steps that the magnitude does not show; the
    magnitude has edges that susceptibility does not have; thin veins of 0.2 to 0.3 ppm run
    through both.

    Parameters
    ----------
    oblique : bool
        Tilted slices of anisotropic voxels instead of an axial volume of 1 mm.
    step_mm : float
        Multiplies the voxel size: 2 makes everything eight times as fast.
    seed : int
        Of all that is random.
    """
    chi, m0, r2star, labels, brain = _anatomy(seed)
    grid = Grid(tuple(chi.shape))
    generator = torch.Generator().manual_seed(seed)

    def waves(sigma_mm: float) -> Tensor:
        noise = torch.randn(grid.shape, generator=generator)
        blur = GaussianBlur(grid, sigma_mm, noise)
        smooth = blur(noise) / blur(torch.ones(grid.shape))
        return smooth / smooth.std()

    soft = brain & (labels != 10)
    chi = chi + TEXTURE_PPM * (0.7 * waves(1.5) + 0.7 * waves(4.0)) * soft
    chi = chi + STEP_PPM * (waves(3.0) > 1) * soft  # steps that only susceptibility has
    veins = brain & (waves(6.0).square() + waves(6.0).square() < 0.006)
    chi = torch.where(veins, 0.25 + 0.05 * waves(8.0).clamp(-1, 1), chi)
    labels = torch.where(veins, VEINS, labels)
    m0 = m0 * (1 + 0.2 * waves(30.0).clamp(-1.5, 1.5))
    m0 = m0 * torch.where(waves(3.0) > 1, 0.85, 1.0)  # edges that only the magnitude has
    magnitude = m0 * torch.exp(-ECHO_TIME_S * torch.where(veins, 45.0, r2star))
    chi = (chi - chi[brain].mean()) * brain
    return _resample(chi, magnitude, brain, labels, oblique, step_mm)


def measured(
    phantom: Phantom, noise_ppm: float, seed: int = 0, *, uniform: bool = False
) -> InversionProblem:
    """Return the phantom's field with noise of this median standard deviation in the brain.

    The noise follows the inverse of the magnitude, or is the same everywhere if ``uniform``.
    """
    weights = phantom.magnitude / phantom.magnitude[phantom.mask].quantile(0.9)
    weights = weights.clamp(max=1) * phantom.mask
    if uniform:
        weights = phantom.mask.to(phantom.chi_ppm)
    best_ppm = noise_ppm * float(weights[phantom.mask].median())
    noise = torch.randn(phantom.grid.shape, generator=torch.Generator().manual_seed(seed + 1))
    field = DipoleOperator(phantom.grid)(phantom.chi_ppm)
    field = field + noise * best_ppm / weights.clamp(min=0.05)
    return InversionProblem(
        local_field_ppm=field * phantom.mask,
        mask=phantom.mask,
        grid=phantom.grid,
        weights=weights,
        magnitude=phantom.magnitude,
        noise_ppm=best_ppm,
        rad_per_ppm=rad_per_s_per_ppm(B0_TESLA) * ECHO_TIME_S,
    )


def _anatomy(seed: int) -> tuple[Tensor, ...]:
    """Return chi, M0, R2*, labels and brain at 1 mm, of the shared head or a simulated one."""
    if SHARED_HEAD.is_dir():
        names = ("ChiModelMIX", "M0", "R2star", "SegmentedModel", "BrainMask")
        chi, m0, r2star, labels, brain = (
            torch.from_numpy(nib.load(SHARED_HEAD / f"{n}.nii.gz").get_fdata(dtype=np.float32))
            for n in names
        )
        return chi, m0, r2star, labels.to(torch.uint8), brain > 0
    shape, affine = (160, 192, 160), np.eye(4)
    affine[:3, 3] = [-n / 2 for n in shape]
    head = simulate_head(shape, affine, seed)
    return head.chi_ppm, head.m0, head.r2star_per_s, head.labels, head.brain


def _resample(
    chi: Tensor, magnitude: Tensor, brain: Tensor, labels: Tensor, oblique: bool, step_mm: float
) -> Phantom:
    """Average the 1 mm volumes over the voxels of another grid about the same centre."""
    voxel = np.array(OBLIQUE_VOXEL_MM if oblique else (1.0, 1.0, 1.0)) * step_mm
    rotation = _rotation(OBLIQUE_TILT_DEG if oblique else (0.0, 0.0, 0.0))
    shape = tuple(math.ceil(n / v) for n, v in zip(chi.shape, voxel, strict=True))
    grid = Grid(shape, tuple(voxel), tuple(rotation[2]))
    parts = 2 if (voxel > 1.2).any() else 1
    stacked = torch.stack([chi, magnitude, brain.float()])
    total = torch.zeros((3, *shape))
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    shifts = [(a, b, c) for a in offsets for b in offsets for c in offsets]
    for shift in shifts:
        total += _sample(stacked, grid, rotation, shift, "bilinear") / len(shifts)
    nearest = _sample(labels[None].float(), grid, rotation, (0, 0, 0), "nearest")[0]
    mask = total[2] > 0.5
    return Phantom(total[0] * mask, total[1], mask, nearest.to(torch.uint8), grid)


def _sample(volumes: Tensor, grid: Grid, rotation: np.ndarray, shift: tuple, mode: str) -> Tensor:
    axes = [
        (torch.arange(n) + s - (n - 1) / 2) * v
        for n, s, v in zip(grid.shape, shift, grid.voxel_size_mm, strict=True)
    ]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()
    position = position @ torch.as_tensor(rotation.T, dtype=torch.float32)
    half = torch.tensor([(n - 1) / 2 for n in volumes.shape[1:]])
    points = (position / half).flip(-1)  # grid_sample wants the last axis first
    return torch.nn.functional.grid_sample(volumes[None], points[None], mode, align_corners=True)[
        0
    ]


def _rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Return the product of rotations about the three axes."""
    out = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        out = out @ turn
    return out
