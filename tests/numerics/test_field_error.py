"""The error of a local field: what is estimated is what was put in."""

from functools import cache

import pytest
import store
import torch
from grids import position_mm, radius_mm
from scipy.optimize import minimize
from threadpoolctl import threadpool_info, threadpool_limits
from torch.nn.functional import avg_pool3d

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.cycleqsm.data.textures import tubes
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import (
    FieldError,
    SusceptibilitySpectrum,
    estimate_field_error,
    estimate_spectra,
)
from qsm_pipeline.numerics.simulate import simulate_head
from qsm_pipeline.numerics.simulate.field_errors import (
    anatomy_linked,
    coloured_error,
    harmonic_residue,
    nyquist_stripes,
    slice_steps,
    structured_error,
    white_error,
)

SCANS = {
    "cubic": ((104, 124, 96), (1.6, 1.6, 1.6), 0.0),
    "anisotropic": ((130, 160, 66), (1.25, 1.25, 2.4), 0.0),
    "oblique": ((110, 126, 86), (1.5, 1.6, 1.8), 20.0),
}
ERRORS = {
    "white": FieldError(0.004),
    "little noise": FieldError(0.001),
    "knee .1": FieldError(0.0037, 0.1, 2.5),
    "knee .25": FieldError(0.0037, 0.25, 3.2),
    "knee .4": FieldError(0.0037, 0.4, 3.5),
}
OCTAVES = ((0.06, 0.12), (0.12, 0.25))
scans = pytest.mark.parametrize("scan", SCANS)


@cache
def _brain(scan):
    """Return the susceptibility in the brain of a simulated head, its mask and the grid."""
    shape, voxel, tilt = SCANS[scan]
    affine = tilted_affine(shape, voxel, tilt)

    def simulate(folder):
        head = simulate_head(shape, affine, seed=3)
        chi = (head.chi_ppm - head.chi_ppm[head.brain].mean()) * head.brain
        torch.save((chi, head.brain), folder / "brain.pt")

    chi, mask = torch.load(store.once(f"brain, {scan}", simulate) / "brain.pt")
    return chi, mask, Grid.from_affine(shape, affine)


@cache
def _clean_field(scan):
    """Return the field of :func:`_brain` without an error."""
    chi, _, grid = _brain(scan)
    return DipoleOperator(grid)(chi)


def _spoilt(clean, mask, grid, error, weights=None):
    generator = torch.Generator().manual_seed(1)
    wrong = coloured_error(grid, error, generator) + white_error(grid, error, generator, weights)
    return (clean + wrong) * mask


def _field(scan, error, weights=None):
    """Return the field of :func:`_brain` with an error, its mask and the grid."""
    _, mask, grid = _brain(scan)
    return _spoilt(_clean_field(scan), mask, grid, error, weights), mask, grid


def _octave(error, low, high):
    k = torch.linspace(low, high, 60)
    return float((error.density(k) * k**2).sum() / (k**2).sum()) ** 0.5


def _check(found, error, n0, octave=0.25):
    assert found is not None
    assert found.n0_ppm == pytest.approx(error.n0_ppm, rel=n0)
    for ends in OCTAVES:
        assert _octave(found, *ends) == pytest.approx(_octave(error, *ends), rel=octave), ends


@scans
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_finds_white_and_coloured_errors(scan, error):
    # below a knee near the highest frequency of the grid the white part is hardly seen
    n0 = 0.1 if error.knee_per_mm > 0.3 else 0.05
    _check(estimate_field_error(*_field(scan, error)), error, n0)


@pytest.mark.parametrize("name", ["white", "knee .25"])
def test_holes_and_uneven_noise_do_not_matter(name):
    error = ERRORS[name]
    chi, mask, grid = _brain("oblique")
    generator = torch.Generator().manual_seed(5)
    weights = (0.8 + 0.1 * torch.sin(radius_mm(grid) / 6)).float() * mask
    weights = weights / weights.max()
    weights[chi > 0.2] = 0
    weights[40:44, 40:44, 40:44] = 0
    field, *_ = _field("oblique", error, weights)
    field = torch.where(weights > 0, field, torch.randn(grid.shape, generator=generator))
    _check(estimate_field_error(field * mask, mask, grid, weights), error, 0.05)


@scans
def test_sharp_edges_are_not_taken_for_a_coloured_error(scan):
    """What they leak into the cone is 30 times the noise."""
    chi, mask, grid = _brain(scan)
    x, y, z = position_mm(grid)
    blobs = torch.sin(x / 9 + 1) * torch.sin(y / 8) * torch.sin(z / 10 + 2)
    chi = (chi + 0.03 * blobs.sign()) * mask
    chi = (chi - chi[mask].mean()) * mask
    error = ERRORS["little noise"]
    field = _spoilt(DipoleOperator(grid)(chi), mask, grid, error)
    _check(estimate_field_error(field, mask, grid), error, 0.1)


def test_slices_thicker_than_veins_are_not_taken_for_a_coloured_error():
    """A voxel measures the mean of a field, so that what is beyond Nyquist is folded back."""
    shape, voxel = (98, 128, 56), (1.4, 1.4, 2.8)  # just holds the brain
    fine = ((*shape[:2], 2 * shape[2]), (*voxel[:2], voxel[2] / 2))
    affine, fine_affine = (tilted_affine(*args, 20.0) for args in ((shape, voxel), fine))
    head = simulate_head(fine[0], fine_affine, seed=3)
    veins = tubes(fine[0], 30.0, 0.6, torch.Generator().manual_seed(1))
    field = DipoleOperator(Grid.from_affine(fine[0], fine_affine))(
        (head.chi_ppm + 0.3 * veins) * head.brain
    )
    field, inside = avg_pool3d(torch.stack([field, head.brain.float()])[:, None], (1, 1, 2))[:, 0]
    grid, mask = Grid.from_affine(shape, affine), inside > 0.5
    white, coloured = FieldError(0.0015), FieldError(0.0015, 0.25, 3.0)
    generator = torch.Generator().manual_seed(1)
    field = field + white_error(grid, white, generator)
    found = estimate_field_error(field * mask, mask, grid)
    at = torch.tensor(0.12)
    assert float(found.coloured_density(at)) < 0.3 * float(coloured.coloured_density(at))
    field = field + coloured_error(grid, coloured, generator)
    found = estimate_field_error(field * mask, mask, grid)
    for ends in OCTAVES:
        assert _octave(found, *ends) == pytest.approx(_octave(coloured, *ends), rel=0.25), ends


def test_veins_of_little_weight_are_no_holes():
    """What would fill them is less exact than their own noisy field."""
    error = FieldError(0.0005)
    chi, mask, grid = _brain("cubic")
    weights = torch.where(chi > 0.05, 0.2, 1.0) * mask
    field, *_ = _field("cubic", error, weights)
    _check(estimate_field_error(field, mask, grid, weights), error, 0.06)


def test_scales_with_the_field_and_leaves_it_alone():
    field, mask, grid = _field("cubic", ERRORS["knee .25"])
    before = field.clone()
    one, many = (estimate_field_error(s * field, mask, grid) for s in (1, 100))
    assert torch.equal(field, before)
    assert many.n0_ppm == pytest.approx(100 * one.n0_ppm, rel=0.01)
    assert many.knee_per_mm == pytest.approx(one.knee_per_mm, rel=0.02)


def test_the_spectrum_of_susceptibility_is_found_with_it():
    chi, mask, grid = _brain("cubic")
    spectra = estimate_spectra(*_field("cubic", FieldError(0.001)))
    power = torch.fft.rfftn(chi).abs().square() / mask.sum()
    axes = [torch.fft.fftfreq(n, v) for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    axes[2] = torch.fft.rfftfreq(grid.shape[2], grid.voxel_size_mm[2])
    k = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    for low, high in OCTAVES:
        ring = (k > low) & (k < high)
        found = spectra.susceptibility.density(k[ring]).mean()
        assert float(found / power[ring].mean()) == pytest.approx(1, abs=0.3)


def test_says_nothing_where_nothing_can_be_told():
    field, mask, grid = _field("cubic", ERRORS["white"])
    assert estimate_field_error(torch.zeros(grid.shape), mask, grid) is None
    assert estimate_field_error(field, torch.zeros_like(mask), grid) is None
    speck = torch.zeros_like(mask)
    speck[40:43, 40:43, 40:43] = True
    assert estimate_field_error(field, speck, grid) is None
    assert estimate_field_error(field, mask, grid, torch.zeros(grid.shape)) is None


def test_density_is_what_the_formula_says():
    error = FieldError(0.002, 0.2, 3.0)
    k = torch.tensor([0.1, 0.2, 0.4, 0.0])
    expected = 0.002**2 * (1 + (0.2 / torch.tensor([0.1, 0.2, 0.4, 0.01])) ** 3)
    torch.testing.assert_close(error.density(k), expected)
    raised = error.at_least(0.004)
    assert raised.n0_ppm == 0.004
    torch.testing.assert_close(raised.coloured_density(k), error.coloured_density(k))
    assert error.at_least(0.001) == error
    for wrong in ({"n0_ppm": 0.0}, {"n0_ppm": 1.0, "knee_per_mm": -1.0}, {"n0_ppm": float("nan")}):
        with pytest.raises(ValueError, match="Expected n0_ppm"):
            FieldError(**wrong)


def test_susceptibility_spectrum_is_a_power_law_between_its_nodes():
    spectrum = SusceptibilitySpectrum((0.01, 0.1), (1.0, 1e-3))
    k = torch.tensor([0.001, 0.01, 0.0316228, 0.1, 1.0])
    expected = torch.tensor([1.0, 1.0, 0.0316228, 1e-3, 1e-3])
    torch.testing.assert_close(spectrum.density(k), expected)


@scans
def test_simulated_errors_are_what_they_are_called(scan):
    chi, mask, grid = _brain(scan)
    generator = torch.Generator().manual_seed(2)
    harmonic = harmonic_residue(mask, grid, 0.002, generator)
    assert float(harmonic[mask].std()) == pytest.approx(0.002, rel=0.01)
    deep = radius_mm(grid) < 35
    assert harmonic[mask & deep].std() < 0.9 * harmonic[mask & ~deep].std()
    linked = anatomy_linked(chi, mask, grid, 0.002, generator)
    assert float(linked[mask].std()) == pytest.approx(0.002, rel=0.01)
    error = ERRORS["knee .25"]
    random = coloured_error(grid, error, generator)[mask]
    structured = structured_error(chi, mask, grid, error, generator)[mask]

    def tails(x):
        return float(((x - x.mean()) / x.std()).pow(4).mean())

    assert tails(random) < 3.5 < 5 < tails(structured)
    assert float(structured.std()) == pytest.approx(float(random.std()), rel=0.35)
    stripes = nyquist_stripes(grid, 0.003, 1, generator)
    assert float((stripes[:, 1:] * stripes[:, :-1] < 0).float().mean()) > 0.9
    steps = slice_steps(grid, 0.003, 2, generator)
    assert torch.equal(steps[0, 0].expand(grid.shape), steps)


def test_the_fit_uses_one_thread_of_linear_algebra(monkeypatch):
    """On some twenty numbers more threads take 15 times as long."""
    used = []

    def spy(*args, **options):
        used.extend(x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas")
        return minimize(*args, **options)

    monkeypatch.setattr("qsm_pipeline.numerics.field_error.estimate.minimize", spy)
    grid = Grid((24, 24, 20), (3.0, 3.0, 3.5))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    field = 0.01 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    with threadpool_limits(2, "blas"):
        assert estimate_field_error(field, mask, grid)
    assert set(used) == {1}
