"""Laws of every inversion, and the reference."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.inversion import METHODS, InversionProblem
from qsm_pipeline.numerics.operators import DipoleOperator
from qsm_pipeline.numerics.reference import subtract_reference

GRIDS = {
    "non-cubic": Grid((36, 44, 40)),
    "anisotropic": Grid((40, 40, 26), (0.9, 1.0, 1.5)),
    "oblique": Grid((39, 40, 28), (1.0, 1.0, 1.4), (0.3, -0.2, 0.93)),
}
methods = pytest.mark.parametrize("name", METHODS)
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def _truth(grid):
    mask = radius_mm(grid) < 15
    chi = 0.2 * torch.sigmoid(4 - radius_mm(grid, (3.0, 2.0, 0.0)))
    chi = chi - 0.1 * torch.sigmoid(3 - radius_mm(grid, (-5.0, -4.0, 2.0)))
    return chi * mask, mask


def _invert(name, field, mask, grid, **kwargs):
    return METHODS[name].function(InversionProblem(field, mask, grid, **kwargs))


@methods
@grids
def test_recovers_a_known_susceptibility(name, grid):
    chi, mask = _truth(grid)
    out = _invert(name, DipoleOperator(grid)(chi) * mask, mask, grid, noise_ppm=5e-4)
    error = (out - chi)[mask]
    bound = {"tv": 0.2, "tkd": 0.45, "tikhonov": 0.45}[name]
    assert (error - error.mean()).norm() < bound * (chi[mask] - chi[mask].mean()).norm()
    assert out[radius_mm(grid, (3.0, 2.0, 0.0)) < 2].mean() > 0.1  # paramagnetic is positive
    assert (out[~mask] == 0).all()


@methods
def test_zero_scaling_and_input_untouched(name):
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    field = (DipoleOperator(grid)(chi) * mask).double()
    before = field.clone()
    assert (_invert(name, torch.zeros_like(field), mask, grid) == 0).all()
    out = _invert(name, field, mask, grid)
    assert out.dtype == torch.float64
    assert torch.equal(field, before)
    if name != "tv":  # its weight does not follow the field's scale
        torch.testing.assert_close(_invert(name, 2 * field, mask, grid), 2 * out)


@methods
def test_axes_may_be_swapped(name):
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    order = (2, 0, 1)
    turned = Grid(
        tuple(grid.shape[a] for a in order),
        tuple(grid.voxel_size_mm[a] for a in order),
        tuple(grid.b0_dir[a] for a in order),
    )
    out = _invert(name, field, mask, grid)
    other = _invert(name, field.permute(order).contiguous(), mask.permute(order), turned)
    torch.testing.assert_close(other, out.permute(order), atol=5e-3 * float(out.max()), rtol=0.05)


def test_tv_fills_what_is_not_known():
    grid = GRIDS["non-cubic"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    weights = mask.float()
    spoilt = field.clone()
    spoilt[18:21, 20:23, 18:21], weights[18:21, 20:23, 18:21] = 5.0, 0.0
    out = _invert("tv", spoilt, mask, grid, weights=weights)
    clean = _invert("tv", field, mask, grid, weights=mask.float())
    assert (out - clean)[mask].norm() < 0.15 * clean[mask].norm()


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_checked(name):
    key = "threshold" if name == "tkd" else "regularisation"
    with pytest.raises(ValueError, match="xpected"):
        METHODS[name].params(**{key: -1.0})


def test_reference():
    grid = GRIDS["non-cubic"]
    chi, mask = _truth(grid)
    out = subtract_reference(chi + 1, mask, grid, "brain")
    assert out.chi_ppm[mask].mean().abs() < 1e-6
    assert out.mean_ppm == pytest.approx(float((chi + 1)[mask].mean()))
    r2star = torch.where(radius_mm(grid) < 5, 2.0, 30.0)
    csf = subtract_reference(chi, mask, grid, "csf", r2star)
    assert csf.chi_ppm[mask & (radius_mm(grid) < 5)].mean().abs() < 1e-6
    assert torch.equal(subtract_reference(chi, mask, grid, "none").chi_ppm, chi)
    with pytest.raises(ValueError, match="No CSF"):
        subtract_reference(chi, mask, grid, "csf", torch.full(grid.shape, 30.0))
    with pytest.raises(ValueError, match="brain, csf, none"):
        subtract_reference(chi, mask, grid, "moon")
