"""The field that a map predicts."""

import pytest
import torch
from grids import GRIDS, radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.maps.predicted_field import predicted_field

grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


@grids
def test_is_the_field_of_the_whole_volume_within_the_mask(grid):
    mask = radius_mm(grid, (1.5, -2.0, 1.0)) < 6.5
    blobs = [torch.exp(-((radius_mm(grid, c) / 3) ** 2)) for c in ((2, -3, 1), (-4, 0, 0))]
    chi = (blobs[0] - 0.5 * blobs[1]).double()
    field = predicted_field(chi, mask, grid)
    whole = DipoleOperator(grid, dtype=torch.float64)(chi * mask)
    # nearly a constant: the mean over the padded box is set to zero, and the boxes differ
    assert (field - whole)[mask].norm() < 0.03 * whole[mask].norm()
    assert not field[~mask].any()


@grids
def test_what_lies_outside_the_mask_does_not_count(grid):
    mask = radius_mm(grid) < 6.5
    chi = torch.randn(grid.shape)
    torch.testing.assert_close(
        predicted_field(chi, mask, grid), predicted_field(chi * mask, mask, grid)
    )


def test_an_empty_mask_is_refused():
    grid = GRIDS["oblique"]
    with pytest.raises(ValueError, match="empty"):
        predicted_field(torch.zeros(grid.shape), torch.zeros(grid.shape, dtype=torch.bool), grid)
