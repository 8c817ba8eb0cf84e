"""The dipole of a batch: every sample has its own, and it obeys the operator's laws."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid

MIXED = tuple(
    Grid((20, 26, 18), voxel, b0)
    for voxel, b0 in (
        ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
        ((0.7, 1.0, 2.1), (0.3, -0.2, 0.9)),
        ((1.5, 0.8, 0.8), (0.0, 0.4, 0.9)),
    )
)


def test_each_sample_has_the_field_of_its_own_geometry():
    chi = torch.randn(len(MIXED), 1, 20, 26, 18)
    fields = DipoleOperator(MIXED)(chi)
    for sample, field, grid in zip(chi, fields, MIXED, strict=True):
        expected = DipoleOperator(grid)(sample[0])
        assert (field[0] - expected).norm() < 1e-5 * expected.norm()
    assert (fields[0] - DipoleOperator(MIXED[:1] * 3)(chi)[0]).abs().max() < 1e-6


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_is_its_own_adjoint(grid):
    dipole = DipoleOperator([grid])
    x, y = torch.randn(2, 1, 1, *grid.shape)
    left, right = (dipole(x) * y).sum(), (x * dipole(y)).sum()
    assert abs(float(left - right)) < 1e-4 * float(x.norm() * y.norm())


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_source_inside_has_the_dipole_field(grid):
    chi = torch.zeros(1, 1, *grid.shape)
    centre = [n // 2 for n in grid.shape]
    chi[(0, 0, *centre)] = 1.0
    field = DipoleOperator([grid])(chi)[0, 0]
    steps = torch.tensor([4, 3, 4]) * torch.tensor(grid.voxel_size_mm)
    distance = float(steps.norm())
    cosine = float(steps @ torch.tensor(grid.b0_dir)) / distance
    expected = grid.voxel_volume_mm3 * (3 * cosine**2 - 1) / (4 * torch.pi * distance**3)
    found = float(field[centre[0] + 4, centre[1] + 3, centre[2] + 4])
    largest = grid.voxel_volume_mm3 * 2 / (4 * torch.pi * distance**3)
    assert abs(found - expected) < 0.25 * largest


def test_closed_form_inverse_undoes_the_field_outside_the_cone():
    grid = MIXED[1]
    dipole = DipoleOperator([grid])
    chi = torch.zeros(1, 1, *grid.shape)
    chi[..., 8:12, 10:16, 7:11] = 0.1
    found = dipole.tikhonov(dipole(chi), 1e-3)
    assert (found - chi).norm() < 0.5 * chi.norm()


def test_samples_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        DipoleOperator([GRIDS["non-cubic"], GRIDS["oblique"]])
