"""Veins darken in any direction, calcium does not; the projection is a minimum."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.maps.swi import (
    chi_weighted,
    minimum_projection,
    phase_weighted,
    weighting_echo,
)
from qsm_pipeline.numerics.params.maps import WeightingParams

PARAMS = WeightingParams()
GRID = Grid((48, 48, 48), (0.7, 0.7, 0.7))
TIME, B0 = 0.02, 3.0


def _cylinder(axis, chi_ppm, radius_mm=1.5):
    """Return the susceptibility of a cylinder along a voxel axis and where its core is."""
    x = [(torch.arange(48) - 24) * 0.7 for _ in range(3)]
    x = torch.meshgrid(*x, indexing="ij")
    distance = sum(x[a] ** 2 for a in range(3) if a != axis).sqrt()
    inner = (distance < 0.8) & (torch.stack([c.abs() for c in x]).amax(0) < 8)
    return torch.where(distance < radius_mm, chi_ppm, 0.0), inner


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_true_swi_darkens_a_vein_in_every_direction_by_the_known_factor(axis):
    chi, inner = _cylinder(axis, 0.3)
    image = chi_weighted(torch.full(GRID.shape, 500.0), chi, PARAMS)
    expected = 500 * (1 - 0.3 / 0.45) ** 2
    torch.testing.assert_close(image[inner], torch.full_like(image[inner], expected))
    assert (image[chi == 0] == 500).all()


def test_true_swi_leaves_a_calcification_and_makes_strong_iron_black():
    chi = torch.tensor([[[-3.3, -0.02, 0.0, 0.2, 0.45, 2.0]]])
    image = chi_weighted(torch.full_like(chi, 10.0), chi, PARAMS)
    torch.testing.assert_close(image[0, 0, :3], torch.full((3,), 10.0))
    assert 0 < image[0, 0, 3] < 10
    assert (image[0, 0, 4:] == 0).all()


def test_swi_darkens_a_vein_along_b0_by_the_phase_of_a_long_cylinder():
    chi, inner = _cylinder(2, 0.3)
    field = DipoleOperator(GRID)(chi)
    image = phase_weighted(torch.full(GRID.shape, 500.0), field, TIME, B0, PARAMS)
    turns = 42.577478461 * B0 * 0.3 / 3 * TIME  # the field in a long cylinder is a third of chi
    expected = 500 * (1 - 2 * turns) ** 4
    assert float(image[inner].mean()) == pytest.approx(expected, rel=0.15)
    assert expected < 250


def test_swi_does_not_darken_a_vein_across_b0_but_beside_it():
    chi, inner = _cylinder(0, 0.3)
    field = DipoleOperator(GRID)(chi)
    image = phase_weighted(torch.full(GRID.shape, 500.0), field, TIME, B0, PARAMS)
    assert (image[inner] == 500).all()
    assert image[chi == 0].min() < 450


def test_swi_darkens_calcium_beside_itself_where_true_swi_does_not():
    chi, _ = _cylinder(2, -2.0)
    ball = chi * (torch.arange(48) - 24).abs().lt(3)
    flat = torch.full(GRID.shape, 500.0)
    swi = phase_weighted(flat, DipoleOperator(GRID)(ball), TIME, B0, PARAMS)
    assert swi.min() < 250
    assert (chi_weighted(flat, ball, PARAMS) == 500).all()


def test_weighting_never_brightens_and_keeps_zero_field():
    field, chi = 0.2 * torch.randn(2, 9, 8, 7)
    magnitude = torch.rand(9, 8, 7)
    for image in (
        phase_weighted(magnitude, field, TIME, B0, PARAMS),
        chi_weighted(magnitude, chi, PARAMS),
    ):
        assert (image >= 0).all()
        assert (image <= magnitude).all()
    assert torch.equal(phase_weighted(magnitude, 0 * field, TIME, B0, PARAMS), magnitude)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_projection_is_the_minimum_over_the_slab_inside_the_mask(grid):
    image = torch.rand(grid.shape) + 0.1
    mask = torch.rand(grid.shape) > 0.3
    result = minimum_projection(image, mask, grid, 5.0)
    half = int(5.0 / grid.voxel_size_mm[2] / 2)
    assert half > 0
    for z in (0, half, grid.shape[2] // 2, grid.shape[2] - 1):
        part = slice(max(0, z - half), z + half + 1)
        lowest = torch.where(mask, image, torch.inf)[:, :, part].amin(2)
        torch.testing.assert_close(result[:, :, z], torch.where(mask[:, :, z], lowest, 0.0))


def test_projection_follows_b0_not_the_voxel_axes():
    grid = Grid((9, 8, 7), b0_dir=(0.9, 0.1, 0.3))
    image = torch.ones(grid.shape)
    image[4, 3, 3] = 0.2
    result = minimum_projection(image, torch.ones(grid.shape, dtype=torch.bool), grid, 3.0)
    assert (result < 1).nonzero().tolist() == [[3, 3, 3], [4, 3, 3], [5, 3, 3]]


def test_the_echo_nearest_to_20_ms_at_3_tesla_is_taken():
    times = (0.004, 0.012, 0.019, 0.027)
    assert weighting_echo(times, 3.0) == 2
    assert weighting_echo(times, 7.0) == 1
    assert weighting_echo(times, 1.5) == 3
    assert weighting_echo((0.04,), 3.0) == 0


@pytest.mark.parametrize("wrong", [{"phase_power": 0}, {"slab_mm": 0.0}, {"chi_full_ppm": -1.0}])
def test_impossible_strengths_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        WeightingParams(**wrong)
