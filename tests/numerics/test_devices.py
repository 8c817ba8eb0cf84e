"""No step makes a tensor on a device of its own choice.

With ``meta`` as the default device a tensor that is made without a device has no values, and using
it together with those of the input fails, as a CPU tensor does with CUDA ones.
"""

import pytest
import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field.fit import nonlinear_field_fit, weighted_field_fit
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.numerics.field.reliability import reliability, rim_weight, steepness_weight
from qsm_pipeline.numerics.field.trust import find_trust
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.strong_sources import strong_sources
from qsm_pipeline.numerics.maps.predicted_field import predicted_field
from qsm_pipeline.numerics.maps.reference import subtract_reference
from qsm_pipeline.numerics.phase.offset import remove_phase_offset
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps.methods import methods

GRID = Grid((27, 24, 20), (0.9, 1.0, 1.5), (0.3, 0.0, 0.954))
TIMES_S = (0.004, 0.010, 0.016)
TESLA = 3.0


@pytest.fixture(scope="module")
def volumes():
    noise = torch.Generator().manual_seed(0)
    axes = (
        (torch.arange(n) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)
    )
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    mask = place.norm(dim=0) < 9.5
    field = 0.02 * torch.randn(GRID.shape, generator=noise) * mask
    magnitude = torch.stack([torch.full(GRID.shape, 1 / (1 + e)) for e in range(3)])
    phase = torch.stack([800 * t * field for t in TIMES_S])
    return mask, field, magnitude, phase


@pytest.fixture
def elsewhere():
    with torch.device("meta"):
        yield


def _has_values(x):
    return x.device.type == "cpu" and bool(x.isfinite().all())


def test_a_tensor_made_without_a_device_is_found(volumes, elsewhere):
    with pytest.raises(RuntimeError):
        (volumes[1] * torch.zeros(GRID.shape)).sum().item()


@pytest.mark.parametrize("name", methods("background"))
def test_background_removal(name, volumes, elsewhere):
    mask, field, *_ = volumes
    small = {"radius_mm": 4.0} if name in ("sharp", "resharp", "ismv") else {}
    params = methods("background")[name].params(**small)
    problem = BackgroundProblem(field, mask, GRID, mask.float())
    assert _has_values(methods("background")[name].function(problem, params).local_field_ppm)


@pytest.mark.parametrize("name", [n for n in methods("inversion") if n != "cycleqsm"])
def test_inversion(name, volumes, elsewhere):
    mask, field, magnitude, _ = volumes
    problem = InversionProblem(
        field, mask, GRID, mask.float(), magnitude[0], 0.001, 8.0, residual_background=True
    )
    method = methods("inversion")[name]
    found = method.function(problem, method.params())
    assert _has_values(found.chi_ppm if isinstance(found, Reconstruction) else found)
    assert strong_sources(problem, 0.1).chi_ppm.isfinite().all()


@pytest.mark.parametrize("name", methods("unwrap"))
def test_unwrapping(name, volumes, elsewhere):
    mask, _, magnitude, phase = volumes
    problem = UnwrapProblem(phase, mask, TIMES_S, GRID, magnitude)
    method = methods("unwrap")[name]
    found = method.function(problem, method.params())
    assert _has_values(found.chi_ppm if isinstance(found, Reconstruction) else found)


def test_field_and_its_weights(volumes, elsewhere):
    mask, field, magnitude, phase = volumes
    corrected, _ = remove_phase_offset(phase, magnitude, mask, TIMES_S, GRID)
    fit = weighted_field_fit(corrected, magnitude, mask, TIMES_S, TESLA)
    assert _has_values(fit.total_field_ppm)
    fit = nonlinear_field_fit(corrected, magnitude, mask, TIMES_S, TESLA, 800 * field)
    weights, _ = reliability(fit.field_noise_ppm, fit.relative_residual, mask)
    trusted = find_trust(fit.total_field_ppm, mask, TIMES_S, TESLA, weights).mask
    assert _has_values(weights * steepness_weight(fit.total_field_ppm, trusted))
    assert _has_values(rim_weight(trusted, GRID))


def test_maps_and_reference(volumes, elsewhere):
    mask, field, magnitude, _ = volumes
    relaxation = fit_relaxation(magnitude, mask, TIMES_S)
    assert _has_values(relaxation.r2star_per_s)
    assert _has_values(predicted_field(field, mask, GRID))
    for reference in set(methods("reference")) - {"csf"}:
        made = subtract_reference(field, mask, GRID, reference, None, region=mask)
        assert _has_values(made.chi_ppm)
