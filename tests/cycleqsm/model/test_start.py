"""What the generator is told of a field's error, and a start that knows it."""

from dataclasses import replace

import pytest
import torch
from grids import GRIDS
from small_training import brain

from qsm_pipeline.cycleqsm.data.errors import coloured_noise
from qsm_pipeline.cycleqsm.model.generator import (
    BACKGROUND_PER_MM,
    FieldBatch,
    Generator,
    GeneratorConfig,
    describe_errors,
)
from qsm_pipeline.cycleqsm.training.metrics import nrmse_percent
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError

CONFIG = GeneratorConfig(tv_iterations=6, tv_weight=0.15, tv_exponent=1.5, widths=(4, 8))
WHITE, COLOURED = FieldError(0.003), FieldError(0.003, 0.25, 3.2)


def _batch(error, told, **options):
    truth = brain(2, (64, 72, 60))
    grid = Grid((64, 72, 60), (1.5, 1.5, 1.5), (0.2, 0.1, 0.95))
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(grid.shape, generator=random)
    if error.knee_per_mm:
        noise += coloured_noise(grid, error.knee_per_mm, error.power, random)
    field = (DipoleOperator(grid)(truth.chi_ppm) + error.n0_ppm * noise) * truth.mask
    mask = truth.mask[None, None]
    batch = FieldBatch(field[None, None], mask, mask.float(), (grid,), errors=(told,), **options)
    return truth, batch


def _start_nrmse(error, told):
    truth, batch = _batch(error, told)
    prepared = Generator(CONFIG).prepare(batch)
    chi = (prepared.start * prepared.scale_ppm)[0, 0]
    return nrmse_percent(chi, truth.chi_ppm, truth.mask)


def test_one_rule_starts_white_and_coloured_fields():
    blind, knowing = (_start_nrmse(COLOURED, told) for told in (WHITE, COLOURED))
    assert knowing < 0.9 * blind
    found = _start_nrmse(COLOURED, None)
    assert found < 0.95 * blind
    white = [_start_nrmse(WHITE, told) for told in (WHITE, None)]
    assert white[1] < 1.1 * white[0]


def test_what_networks_are_told_is_nothing_for_white_noise_and_bounded():
    told = describe_errors([WHITE, COLOURED, FieldError(5.0, 0.6, 4.5)])
    assert (told[0] == 0).all()
    assert (told[1] > 0).all()
    assert (told[1].diff() < 0).all()
    assert (told[2] < 1).all()


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_what_is_told_does_not_depend_on_the_unit(scale):
    _, batch = _batch(COLOURED, COLOURED)
    other = replace(
        batch,
        field_ppm=scale * batch.field_ppm,
        errors=(replace(COLOURED, n0_ppm=scale * COLOURED.n0_ppm),),
    )
    first, second = (Generator(CONFIG).prepare(b) for b in (batch, other))
    assert torch.allclose(first.condition, second.condition, atol=1e-5)
    assert torch.allclose(first.start, second.start, atol=1e-4)


def test_errors_are_bounded_by_what_training_has_shown():
    _, batch = _batch(WHITE, FieldError(1e-9, 3.0, 9.0))
    (error,) = Generator(CONFIG).prepare(batch).errors
    assert error.n0_ppm == CONFIG.least_noise
    assert error.knee_per_mm == CONFIG.knees_per_mm[1]
    assert error.power == CONFIG.powers[1]
    _, batch = _batch(WHITE, FieldError(0.003, 0.01, 3.0))
    assert Generator(CONFIG).prepare(batch).errors[0].knee_per_mm == 0


def test_fields_that_background_removal_made_are_coloured_and_lose_what_outer_sources_explain():
    _, plain = _batch(WHITE, WHITE)
    _, made = _batch(WHITE, WHITE, residual_background=(True,))
    exact, residue = (Generator(CONFIG).prepare(batch) for batch in (plain, made))
    assert exact.errors[0].knee_per_mm == 0
    at = torch.tensor(BACKGROUND_PER_MM)
    found = float(residue.errors[0].coloured_density(at).sqrt())
    assert found == pytest.approx(CONFIG.background_error, rel=1e-4)
    assert not torch.equal(exact.field, residue.field)
    assert (residue.field[~made.mask] == 0).all()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_generator_says_less_the_more_of_the_error_is_coloured(grid):
    torch.manual_seed(0)
    generator = Generator(replace(CONFIG, stages=1))
    (network,) = generator.networks
    torch.nn.init.normal_(network.head.weight, std=0.1)
    x = torch.randn((1, 5, *grid.shape))
    said = []
    for error in (WHITE, FieldError(0.1, 0.1, 3.0), FieldError(0.1, 0.5, 3.0)):
        condition = torch.cat([torch.zeros(1, 9), describe_errors([error])], 1)
        said.append(float(network(x, condition).detach().norm()))
    assert said[0] > said[1] > said[2] > 0
