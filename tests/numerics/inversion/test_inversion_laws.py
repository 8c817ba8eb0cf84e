"""Laws of every inversion, and the reference."""

import sys
from functools import cache

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.inversion.tv import tv
from qsm_pipeline.numerics.maps.reference import subtract_reference
from qsm_pipeline.numerics.params.inversion import TvParams
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = {n: m for n, m in methods_of("inversion").items() if n != "cycleqsm"}

GRIDS = {
    "non-cubic": Grid((36, 44, 40)),
    "anisotropic": Grid((40, 40, 26), (0.9, 1.0, 1.5)),
    "oblique": Grid((39, 40, 28), (1.0, 1.0, 1.4), (0.3, -0.2, 0.93)),
}
MEASURED = {
    "tv": 0.0322,
    "nltv": 0.0322,
    "medi": 0.0163,
    "rts": 0.151,
    "ilsqr": 0.432,
    "tkd": 0.233,
    "tikhonov": 0.255,
    "wiener": 0.236,
}
"""Relative error of each method, on the worst of the grids."""
OWN_SCALE = {"tv", "nltv", "medi"}  # their weight does not follow the field's scale
STRONG = {"wiener"}  # what exceeds 0.3 ppm is mapped in another way
FEW = 40
"""Iterations of MEDI, which takes most, where the whole inversion is not wanted."""
methods = pytest.mark.parametrize("name", METHODS)
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def _truth(grid):
    mask = radius_mm(grid) < 15
    chi = 0.2 * torch.sigmoid(4 - radius_mm(grid, (3.0, 2.0, 0.0)))
    chi = chi - 0.1 * torch.sigmoid(3 - radius_mm(grid, (-5.0, -4.0, 2.0)))
    return chi * mask, mask


def _invert(name, field, mask, grid, *, whole=False, **kwargs):
    """Invert with what every method needs: a featureless magnitude and small phases."""
    error = FieldError(kwargs.pop("noise_ppm", 1e-3))
    given = {"magnitude": torch.ones_like(field), "rad_per_ppm": 10.0, "field_error": error}
    problem = given | kwargs
    few = {"max_iterations": FEW} if name == "medi" and not whole else {}
    params = METHODS[name].params(**few)
    found = METHODS[name].function(InversionProblem(field, mask, grid, **problem), params)
    return found.chi_ppm if isinstance(found, Reconstruction) else found


@cache
def _clean(name):
    """Return the map of the oblique grid's field without an error; it may not be changed."""
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    return _invert(name, DipoleOperator(grid)(chi) * mask, mask, grid)


@methods
@grids
def test_recovers_a_known_susceptibility(name, grid):
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    out = _invert(name, field, mask, grid, noise_ppm=5e-4, whole=True)
    error = (out - chi)[mask]
    norm = (chi[mask] - chi[mask].mean()).norm()
    assert (error - error.mean()).norm() < 1.1 * MEASURED[name] * norm
    assert out[radius_mm(grid, (3.0, 2.0, 0.0)) < 2].mean() > 0.1  # paramagnetic is positive
    assert (out[~mask] == 0).all()


@methods
def test_zero_scaling_and_input_untouched(name):
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    field = (DipoleOperator(grid)(chi) * mask).double()
    before = field.clone()
    assert (_invert(name, torch.zeros_like(field), mask, grid) == 0).all()
    out = _invert(name, field, mask, grid, field_error=None)
    assert out.dtype == torch.float64
    assert torch.equal(field, before)
    if name not in OWN_SCALE:
        factor = 0.5 if name in STRONG else 2.0
        scaled = _invert(name, factor * field, mask, grid, field_error=None)
        torch.testing.assert_close(scaled, factor * out, rtol=1e-3, atol=1e-4)


@methods
@pytest.mark.parametrize("known", [True, False], ids=["known error", "estimated"])
def test_only_the_ratios_of_weights_matter(name, known):
    """All weights a fifth and a noise at weight 1 of a fifth are the same field."""
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    weights = torch.where(radius_mm(grid) < 8, 1.0, 0.6) * mask
    field = DipoleOperator(grid)(chi) * mask
    errors = (
        (FieldError(1e-3, 0.1), FieldError(2e-4, 0.1 * 5 ** (2 / 3))) if known else (None,) * 2
    )
    one, other = (
        _invert(name, field, mask, grid, weights=share * weights, field_error=error)
        for share, error in zip((1.0, 0.2), errors, strict=True)
    )
    torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


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
    out = _clean(name)
    other = _invert(name, field.permute(order).contiguous(), mask.permute(order), turned)
    torch.testing.assert_close(other, out.permute(order), atol=5e-3 * float(out.max()), rtol=0.05)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.fills_gaps])
def test_fills_what_is_not_known(name):
    grid = GRIDS["non-cubic"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    weights = mask.float()
    spoilt = field.clone()
    spoilt[18:21, 20:23, 18:21], weights[18:21, 20:23, 18:21] = 5.0, 0.0
    out = _invert(name, spoilt, mask, grid, weights=weights)
    clean = _invert(name, field, mask, grid, weights=mask.float())
    assert (out - clean)[mask].norm() < 0.15 * clean[mask].norm()


@pytest.mark.parametrize("name", ["nltv", "medi"])
def test_whole_turns_of_phase_do_not_matter_where_the_signal_is_fitted(name):
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    wrong = field.clone()
    wrong[15:18, 22:25, 12:15] += 2 * torch.pi / 10.0
    fitted, linear = (_invert(n, wrong, mask, grid) - _clean(n) for n in (name, "tv"))
    assert fitted[mask].norm() < 0.2 * linear[mask].norm()


@grids
def test_over_relaxation_comes_sooner_to_the_same_map(grid):
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    problem = InversionProblem(field, mask, grid, field_error=FieldError(1e-3))

    def found(iterations, relaxation):
        params = TvParams(max_iterations=iterations, relaxation=relaxation, tolerance=1e-9)
        return tv(problem, params)

    end = found(400, 1.0)
    plain, relaxed = ((found(20, r) - end).norm() for r in (1.0, 1.6))
    assert relaxed < 0.85 * plain
    assert (found(400, 1.6) - end).norm() < 0.002 * end.norm()


@grids
def test_edges_of_the_magnitude_cost_less_and_everything_on_average_the_same(grid, monkeypatch):
    chi, mask = _truth(grid)
    costs = []

    class Recorded(TotalVariationAdmm):
        def __init__(self, box, problem, params, data, edges):
            costs.append(edges[box.mask])
            super().__init__(box, problem, params, data, edges)

    monkeypatch.setattr(sys.modules[tv.__module__], "TotalVariationAdmm", Recorded)
    problem = InversionProblem(DipoleOperator(grid)(chi) * mask, mask, grid, magnitude=1 - chi)
    tv(problem, TvParams(edge_fraction=0.2, edge_weight=0.4, max_iterations=1))
    assert costs[0].mean() == pytest.approx(1, abs=1e-5)
    assert costs[0].min() == pytest.approx(0.4 * float(costs[0].max()))
    assert (costs[0] < 1).float().mean() == pytest.approx(0.2, abs=0.02)


def test_medi_keeps_the_edges_that_the_magnitude_shows():
    grid = GRIDS["anisotropic"]
    mask = radius_mm(grid) < 15
    chi = 0.2 * (radius_mm(grid, (3.0, 2.0, 0.0)) < 5)
    field = DipoleOperator(grid)(chi) * mask
    params = METHODS["medi"].params(
        regularisation=1e-3, edge_fraction=0.15, edge_weight=0.0, max_iterations=FEW
    )
    errors = []
    for magnitude in (1 + chi, torch.ones_like(chi)):
        problem = InversionProblem(field, mask, grid, magnitude=magnitude * mask)
        error = (METHODS["medi"].function(problem, params) - chi)[mask]
        errors.append((error - error.mean()).norm())
    assert errors[0] < 0.8 * errors[1]


def test_medi_gives_outliers_less_weight():
    grid = GRIDS["non-cubic"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    field[18, 22, 20] += 0.2
    params = METHODS["medi"].params
    problem = InversionProblem(field, mask, grid, magnitude=torch.ones_like(field))
    off, on = (
        METHODS["medi"].function(problem, params(outlier_sd=sd, max_iterations=FEW))
        for sd in (float("inf"), 6.0)
    )
    near = mask & (radius_mm(grid, (0.0, 0.0, 0.0)) < 4)
    assert (on - chi)[near].norm() < 0.8 * (off - chi)[near].norm()


def test_methods_say_what_they_miss():
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    with pytest.raises(ValueError, match="rad_per_ppm"):
        METHODS["nltv"].function(InversionProblem(chi, mask, grid))
    with pytest.raises(ValueError, match="magnitude"):
        METHODS["medi"].function(InversionProblem(chi, mask, grid))


def test_sources_outside_cost_less_only_where_background_removal_left_some():
    grid = GRIDS["oblique"]
    _, mask = _truth(grid)
    for left, expected in ((True, 0.01), (False, 1.0)):
        box = SpectralBox(
            InversionProblem(mask.float(), mask, grid, residual_background=left), 16.0
        )
        cost = box.discount(
            InversionProblem(mask.float(), mask, grid, residual_background=left), 0.01
        )
        assert (cost[box.mask] == 1).all()
        assert cost[~box.mask].unique().tolist() == pytest.approx([expected])


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_checked(name):
    keys = {
        "wiener": "refinements",
        "tkd": "threshold",
        "rts": "threshold",
        "ilsqr": "cone_threshold",
    }
    key = keys.get(name, "regularisation")
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
    with pytest.raises(ValueError, match="brain, csf, region, none"):
        subtract_reference(chi, mask, grid, "moon")


def test_a_region_of_ones_own_is_the_zero_where_it_lies_in_the_brain():
    grid = Grid((12, 10, 8), (1.0, 1.2, 2.0))
    chi = torch.randn(grid.shape)
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[2:10, 2:8, 1:7] = True
    region = torch.zeros_like(mask)
    region[:6, 4:6, 2:4] = True  # a part of it lies outside
    out = subtract_reference(chi, mask, grid, "region", region=region)
    assert abs(float(out.chi_ppm[region & mask].mean())) < 1e-6
    assert out.voxels == int((region & mask).sum())
    assert not out.chi_ppm[~mask].any()
    with pytest.raises(ValueError, match="needs a mask"):
        subtract_reference(chi, mask, grid, "region")
    with pytest.raises(ValueError, match="inside the brain"):
        subtract_reference(chi, mask, grid, "region", region=~mask)


def test_a_field_almost_without_noise_is_still_regularised():
    grid = GRIDS["oblique"]
    chi, mask = _truth(grid)
    field = DipoleOperator(grid)(chi) * mask
    assert InversionProblem(field, mask, grid).error.n0_ppm >= 0.029 * field[mask].std()
    for name in OWN_SCALE:
        tiny, little = (_invert(name, field, mask, grid, noise_ppm=n) for n in (1e-7, 5e-4))
        assert torch.allclose(tiny, little), name


@pytest.mark.parametrize(
    "grid", [GRIDS["anisotropic"], GRIDS["oblique"]], ids=["thick", "oblique"]
)
def test_wiener_takes_a_residue_of_background_for_no_susceptibility(grid):
    chi, mask = _truth(grid)
    dipole = DipoleOperator(grid)
    outside = (radius_mm(grid, (17.0, 3.0, 2.0)) < 3).float() * ~mask
    residue = dipole(outside)
    field = dipole(chi)
    field = (field + residue * (0.8 * field[mask].std() / residue[mask].std())) * mask
    errors, expected = [], []
    for left in (False, True):
        problem = InversionProblem(field, mask, grid, residual_background=left)
        found = METHODS["wiener"].function(problem, METHODS["wiener"].params())
        error = (found.chi_ppm - chi)[mask]
        errors.append(float((error - error.mean()).norm()))
        expected.append(float(found.uncertainty_ppm[mask].mean()))
    assert errors[1] < 0.9 * errors[0]
    assert expected[1] > 1.1 * expected[0]
