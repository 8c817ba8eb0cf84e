"""A part of the brain that a mask leaves out is seen, however large the voxels are."""

import math

import nibabel as nib
import numpy as np
import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.quality.coverage import tissue_beside_percent
from qsm_pipeline.numerics.quality.pairing import coherence

LIMIT_PERCENT = 2.5


@pytest.mark.parametrize(
    "voxel_size_mm",
    [(1.5, 1.5, 1.5), (2.8, 2.8, 2.8), (3.5, 3.5, 3.5), (1.5, 1.5, 4.0), (5, 2, 2)],
)
@pytest.mark.parametrize("axis", range(3))
def test_a_flat_cut_is_seen_and_a_whole_brain_is_not_blamed(voxel_size_mm, axis):
    shape = tuple(round(160 / size) for size in voxel_size_mm)
    grid = Grid.from_affine(shape, np.diag([*voxel_size_mm, 1.0]))
    brain = radius_mm(grid) < 55
    magnitude = brain + 0.1 * torch.ones(shape)
    quality = torch.ones(shape)
    assert tissue_beside_percent(magnitude, quality, brain, grid) < 0.1
    cut = brain.clone()
    cut.movedim(axis, 0)[: shape[axis] // 3] = False
    assert tissue_beside_percent(magnitude, quality, cut, grid) > 2 * LIMIT_PERCENT


@pytest.mark.parametrize(("axis", "end"), [(0, 0), (1, 0), (1, 1)], ids=["side", "back", "front"])
def test_the_surroundings_of_a_real_head_are_no_brain(shared_data, axis, end):
    """Fluid, bone and scalp as in a person: bright, dark, bright."""
    chi, m0, r1, r2star, inside = (
        torch.from_numpy(
            nib.load(shared_data / "head_phantom" / f"{name}.nii.gz").get_fdata(dtype=np.float32)
        )[1::2, 1::2, 1::2]
        for name in ("ChiModelMIX", "M0", "R1", "R2star", "BrainMask")
    )
    grid = Grid.from_affine(tuple(chi.shape), np.diag([2.0, 2.0, 2.0, 1.0]))
    saturated = torch.exp(-0.035 * r1)
    proton = m0 * (1 - saturated) / (1 - math.cos(math.radians(15)) * saturated)
    brain = inside > 0.5
    turned = rad_per_s_per_ppm(3.0) * 0.005 * DipoleOperator(grid)(chi)
    signal = torch.polar(proton / proton[brain].mean() * torch.exp(-0.005 * r2star), turned)
    signal += torch.randn_like(signal) / 50
    magnitude, quality = signal.abs(), coherence(signal.angle())
    assert tissue_beside_percent(magnitude, quality, brain, grid) < LIMIT_PERCENT
    along = brain.movedim(axis, 0).flatten(1).any(1).nonzero()
    first, length = int(along.min()), int(along.max() - along.min()) + 1
    cut = brain.clone()
    gone = slice(first, first + length // 4) if end == 0 else slice(first + length * 3 // 4, None)
    cut.movedim(axis, 0)[gone] = False
    assert tissue_beside_percent(magnitude, quality, cut, grid) > LIMIT_PERCENT
