"""Long wavelengths of a map follow from its field."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import FieldBatch, Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.model.long_waves import long_wave_correction
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError

CONFIG = GeneratorConfig()
NO_ERROR = (FieldError(1e-9),)
GEOMETRIES = {  # of the size of a brain
    name: Grid((60, 71, 54), tuple(2.2 * v for v in grid.voxel_size_mm), grid.b0_dir)
    for name, grid in GRIDS.items()
}


@cache
def _case(grid):
    """Return a smooth map, whose mean is not zero, its mask, and the generator's view of it."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    mask = sum(a**4 for a in axes) < 0.2  # the field in an ellipsoid hardly tells the mean
    chi = (0.03 + 0.05 * torch.sin(3 * axes[0]) * torch.cos(4 * axes[1] + axes[2])) * mask
    field = DipoleOperator(grid)(chi) * mask
    shown = (field[None, None], mask[None, None], mask[None, None].float())
    batch = FieldBatch(*shown, (grid,), errors=NO_ERROR)  # given, as finding it takes longest
    generator = Generator(GeneratorConfig(start="tikhonov", stages=1, widths=(4,)))
    return chi, mask, replace(generator.prepare(batch), errors=(FieldError(0.02),))


@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_a_smooth_error_is_found(grid):
    chi, mask, prepared = _case(grid)
    scale = prepared.scale_ppm
    wrong = (chi * torch.linspace(0.6, 1.1, grid.shape[2]) - 0.02 * mask)[None, None] / scale
    mended = (wrong + long_wave_correction(prepared, wrong, grid, CONFIG)) * scale
    before, after = (x[0, 0] * mask - chi for x in (wrong * scale, mended))
    assert after.norm() < 0.3 * before.norm()
    assert abs(after[mask].mean()) < 0.1 * abs(before[mask].mean())
    assert (mended[0, 0][~mask] == 0).all()


@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_a_map_that_explains_its_field_stays(grid):
    chi, _, prepared = _case(grid)
    right = chi[None, None] / prepared.scale_ppm
    assert long_wave_correction(prepared, right, grid, CONFIG).norm() < 0.01 * right.norm()


@pytest.mark.parametrize("grid", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_long_waves_that_may_be_an_error_of_the_field_stay(grid):
    chi, _, prepared = _case(grid)
    wrong = (0.8 * chi)[None, None] / prepared.scale_ppm
    corrections = []
    for knee in (0.0, 0.1, 0.4):
        told = replace(prepared, errors=(FieldError(0.05, knee, 3.0),))
        corrections.append(float(long_wave_correction(told, wrong, grid, CONFIG).norm()))
    assert corrections[0] > corrections[1] > corrections[2]
    assert corrections[2] < 0.5 * corrections[0]


def test_the_paper_is_left_alone():
    grid = GEOMETRIES["oblique"]
    _, mask, prepared = _case(grid)
    field = (prepared.field * prepared.scale_ppm)[0, 0]
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(start="none", stages=1, widths=(4, 8))).eval()
    maps = []
    for edge in (0.0, 4.0):
        generator.config = replace(generator.config, long_wave_mm=edge)
        maps.append(reconstruct(generator, field, mask, grid, error=NO_ERROR[0]).chi_ppm)
    assert maps[0].equal(maps[1])
