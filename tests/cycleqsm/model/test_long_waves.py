"""Long wavelengths of a map follow from its field."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import FieldBatch, Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.model.long_waves import long_wave_correction
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.operators import DipoleOperator

GEOMETRIES = {  # of the size of a brain
    name: Grid((60, 71, 54), tuple(2.2 * v for v in grid.voxel_size_mm), grid.b0_dir)
    for name, grid in GRIDS.items()
}


def _case(grid):
    """Return a smooth map, whose mean is not zero, its mask, and the generator's view of it."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    mask = sum(a**4 for a in axes) < 0.2  # the field in an ellipsoid hardly tells the mean
    chi = (0.03 + 0.05 * torch.sin(3 * axes[0]) * torch.cos(4 * axes[1] + axes[2])) * mask
    field = DipoleOperator(grid)(chi) * mask
    batch = FieldBatch(field[None, None], mask[None, None], mask[None, None].float(), (grid,))
    generator = Generator(GeneratorConfig(start="tikhonov", stages=1, widths=(4,)))
    return chi, mask, generator.prepare(batch)


@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_a_smooth_error_is_found(grid):
    chi, mask, prepared = _case(grid)
    scale = prepared.scale_ppm
    wrong = (chi * torch.linspace(0.6, 1.1, grid.shape[2]) - 0.02 * mask)[None, None] / scale
    mended = (wrong + long_wave_correction(prepared, wrong, grid)) * scale
    before, after = (x[0, 0] * mask - chi for x in (wrong * scale, mended))
    assert after.norm() < 0.3 * before.norm()
    assert abs(after[mask].mean()) < 0.1 * abs(before[mask].mean())
    assert (mended[0, 0][~mask] == 0).all()


@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_a_map_that_explains_its_field_stays(grid):
    chi, _, prepared = _case(grid)
    right = chi[None, None] / prepared.scale_ppm
    assert long_wave_correction(prepared, right, grid).norm() < 0.01 * right.norm()


def test_fields_with_a_residue_of_background_and_the_paper_are_left_alone():
    grid = GEOMETRIES["oblique"]
    chi, mask, prepared = _case(grid)
    field = (prepared.field * prepared.scale_ppm)[0, 0]
    torch.manual_seed(0)
    maps = {}
    for start in ("none", "tikhonov"):
        generator = Generator(GeneratorConfig(start=start, stages=1, widths=(4, 8))).eval()
        for residue in (False, True):
            made = reconstruct(generator, field, mask, grid, residual_background=residue)
            maps[start, residue] = made.chi_ppm
    assert maps["none", False].equal(maps["none", True])
    error = {
        residue: (maps["tikhonov", residue] - chi).norm() / chi.norm() for residue in (False, True)
    }
    assert error[False] < 0.5 * error[True]
