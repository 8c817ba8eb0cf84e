"""The expected error: where it comes from, and that calibration finds the truth."""

from dataclasses import replace

import pytest
import torch

from qsm_pipeline.cycleqsm.model.generator import (
    ERROR_SOURCES,
    FieldBatch,
    Generator,
    GeneratorConfig,
)
from qsm_pipeline.cycleqsm.model.uncertainty import calibrate, error_sources, expected_error_ppm
from qsm_pipeline.numerics.core.grid import Grid

GRID = Grid((20, 16, 12), (1.0, 1.2, 2.0), (0.2, 0.1, 0.97))


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # ppm or ppb: the gains have no unit
def test_calibration_finds_the_gains_that_made_the_errors(scale):
    random = torch.Generator().manual_seed(0)
    truth = torch.tensor([9.0, 4.0, 0.05])
    maps = []
    for level in (1e-6, 9e-6):
        sources = level * torch.rand((30_000, 3), generator=random) * torch.tensor([1, 1, 40.0])
        sources = sources * scale**2
        error = torch.randn(30_000, generator=random) * (sources * truth).sum(1).sqrt()
        maps.append((sources, error))
    assert calibrate(maps) == pytest.approx(truth.tolist(), rel=0.15)


def _parts(shift_ppm=0.0):
    """Return the sources of error where the last pass shifted half of the volume."""
    field = torch.randn((1, 1, *GRID.shape), generator=torch.Generator().manual_seed(1)) * 0.01
    mask = torch.ones_like(field) > 0
    generator = Generator(GeneratorConfig(start="tikhonov", widths=(4, 8)))
    prepared = generator.prepare(FieldBatch(field, mask, mask.float(), (GRID,)))
    chi = prepared.start * prepared.scale_ppm
    half = torch.zeros_like(chi)
    half[:, :, :10] = shift_ppm
    return generator, prepared, error_sources(generator, prepared, chi, half)


def test_a_change_is_counted_where_it_is():
    _, _, sources = _parts(0.02)
    changed = sources[0, 0]
    assert changed[:8].mean() == pytest.approx(0.02**2, rel=1e-4)
    assert changed[12:].abs().max() == 0


def test_what_a_field_does_not_support_is_expected_to_be_wrong():
    generator, prepared, right = _parts()
    wrong = replace(prepared, field=prepared.field.roll(5, dims=2))
    chi = prepared.start * prepared.scale_ppm
    sources = error_sources(generator, wrong, chi, 0 * chi)
    assert sources[:, 1].mean() > 2 * right[:, 1].mean()
    generator.error_gains[:] = torch.tensor([0.0, 4.0, 0.0])
    expected = expected_error_ppm(generator, sources)
    assert expected[0, 0] == pytest.approx(2 * sources[0, 1].sqrt())


def test_a_map_without_error_tells_nothing():
    sources, error = torch.rand(100, ERROR_SOURCES), torch.rand(100)
    gains = calibrate([(sources, error), (sources, 0 * error)])
    assert torch.equal(gains, calibrate([(sources, error)]))
