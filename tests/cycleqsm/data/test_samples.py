"""Samples: seeded, whole objects, and blocks of measured fields that become such."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from small_training import brain

from qsm_pipeline.cycleqsm.data import measured, samples
from qsm_pipeline.cycleqsm.data.measured import MeasuredVolume, draw_measured, measured_subject
from qsm_pipeline.cycleqsm.data.measurements import measure
from qsm_pipeline.cycleqsm.data.samples import (
    SampleConfig,
    Subject,
    draw_block,
    has_blocks,
)
from qsm_pipeline.cycleqsm.data.textures import smooth_noise
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid

CLEAN = SampleConfig(size=24, noise_ppm=(1e-9, 1e-9), white=1.0)


@cache
def _subjects():
    return [Subject.of(brain(0)), Subject.of(brain(1))]


def _sample(seed, config):
    generator = torch.Generator().manual_seed(seed)
    block = draw_block(_subjects(), config, generator)
    return block, measure(block, config, generator)


def test_the_seed_decides_everything():
    config = SampleConfig(size=24)
    (block, field), (again, same), (other, _) = (_sample(s, config) for s in (4, 4, 5))
    assert torch.equal(block.chi_ppm, again.chi_ppm)
    assert torch.equal(field.field_ppm, same.field_ppm)
    assert torch.equal(field.weights, same.weights)
    assert block.grid == again.grid
    assert not torch.equal(block.chi_ppm, other.chi_ppm)


def test_blocks_stay_within_the_settings_and_their_field_is_their_own():
    config = SampleConfig(**{**CLEAN.__dict__, "tilt_deg": 20.0, "voxel_mm": (0.8, 2.0)})
    for seed in range(8):
        block, scan = _sample(seed, config)
        assert block.grid.shape == (24, 24, 24)
        assert all(0.8 <= v <= 2.0 for v in block.grid.voxel_size_mm)
        assert block.grid.b0_dir[2] >= 0.93  # cosine of 20 degrees
        assert (block.chi_ppm[~block.mask] == 0).all()
        known = scan.weights > 0
        expected = DipoleOperator(block.grid)(block.chi_ppm)
        assert (scan.field_ppm - expected)[known].norm() < 1e-4 * expected[known].norm()
        assert (scan.field_ppm[~known] == 0).all()
        assert not (known & ~block.mask).any()
        assert 0 <= scan.weights.min() <= scan.weights.max() <= 1


def test_texture_is_added_where_asked():
    def roughness(texture_ppm):
        config = SampleConfig(**{**CLEAN.__dict__, "texture_ppm": texture_ppm})
        blocks = [_sample(seed, config)[0] for seed in range(6)]
        return sum(float(b.chi_ppm.diff(dim=2)[b.mask[..., 1:]].std()) for b in blocks) / 6

    assert roughness(0.05) > 1.5 * roughness(0.0)


def test_strong_sources_are_measured_less_well():
    ratios = []
    for seed in range(20):
        block, scan = _sample(seed, SampleConfig(size=24))
        known = scan.weights > 0
        strong = known & (block.chi_ppm.abs() > block.chi_ppm[block.mask].abs().quantile(0.95))
        ratios.append(float(scan.weights[strong].mean() / scan.weights[known].mean()))
    assert sum(ratio < 0.97 for ratio in ratios) >= 5
    assert max(ratios) < 1.15


def test_the_magnitude_is_known_as_often_as_asked_and_shows_the_tissues():
    def drawn(probability):
        config = SampleConfig(size=24, lesions=0, vessels=0, texture_ppm=0, magnitude=probability)
        return [_sample(seed, config) for seed in range(8)]

    assert all(scan.magnitude is None for _, scan in drawn(0.0))
    assert 0 < sum(scan.magnitude is None for _, scan in drawn(0.5)) < 8
    correlations = []
    for block, scan in drawn(1.0):
        inside = block.mask
        both = torch.stack([scan.magnitude[inside], block.chi_ppm[inside]])
        correlations.append(float(torch.corrcoef(both)[0, 1]))
    assert sum(correlations) / 8 < -0.4  # the brains' signal falls with susceptibility


def test_noise_and_further_errors_are_added_where_asked():
    noisy = SampleConfig(size=24, noise_ppm=(0.004, 0.004), white=1.0)
    block, scan = _sample(0, noisy)
    residual = scan.field_ppm - DipoleOperator(block.grid)(block.chi_ppm)
    certain = scan.weights > 0
    white = (residual * scan.weights)[certain]
    assert 0.0035 < float(white.std()) < 0.0045
    further = []
    for seed in range(8):
        block, scan = _sample(seed, replace(CLEAN, white=0.0, noise_ppm=(0.003, 0.003)))
        residual = scan.field_ppm - DipoleOperator(block.grid)(block.chi_ppm)
        further.append(float((residual * scan.weights)[scan.weights > 0].std()))
    assert sum(further) / 8 > 0.004


def test_a_field_with_outer_sources_is_one_that_background_removal_made():
    config = replace(CLEAN, white=0.0, background_removed=0.0, noise_ppm=(0.003, 0.003))
    flags = [_sample(seed, config)[1].residual_background for seed in range(16)]
    assert 0 < sum(flags) < 16
    always = replace(config, white=1.0, background_removed=1.0)
    assert _sample(0, always)[1].residual_background


def test_a_block_of_a_measured_field_has_the_field_of_its_own_sources(monkeypatch):
    """In a plain patch the field of what lies outside is a large error; most of it has to go."""
    grid = Grid((72, 76, 64), (1.0, 1.0, 1.2), (0.1, 0.2, 0.97))
    mask = brain(3, grid.shape).mask
    chi = 0.05 * smooth_noise(grid.shape, 12.0, torch.Generator().manual_seed(1)) * mask
    field = DipoleOperator(grid)(chi) * mask
    own = MeasuredVolume.of(field, mask, grid)
    nothing, chi = 0 * own.field_ppm, BoundingBox.of(mask, grid).cut(chi)
    drawn = {}
    for name, volume in {
        "own": own,
        "raw": replace(own, chi_ppm=nothing, unexplained_ppm=own.field_ppm),
        "map": replace(own, chi_ppm=nothing, unexplained_ppm=chi),
    }.items():
        with monkeypatch.context() as patch:
            if name == "map":  # all of which is needed to make the field
                patch.setattr(measured, "BORDER", 0)
            generators = [torch.Generator().manual_seed(seed) for seed in range(6)]
            drawn[name] = [draw_measured([volume], CLEAN, g) for g in generators]
    errors = dict.fromkeys(("raw", "own"), 0.0)
    for number, (block, sources) in enumerate(drawn["map"]):
        expected = DipoleOperator(block.grid)(sources.field_ppm)
        for name in errors:
            found = drawn[name][number][1]
            inside = found.weights > 0
            difference = (found.field_ppm - expected)[inside]
            errors[name] += float(difference.std() / expected[inside].std()) / 6
    assert errors["raw"] > 0.25
    assert errors["own"] < 0.5 * errors["raw"]


def test_two_voxels_inside_a_face_that_was_cut_do_not_count():
    """The estimate of what lies beyond is worst there."""
    grid = Grid((60, 60, 60))
    field = 0.01 * smooth_noise(grid.shape, 12.0, torch.Generator().manual_seed(1))
    volume = MeasuredVolume.of(field, torch.ones(grid.shape, dtype=torch.bool), grid)
    expected = torch.zeros(24, 24, 24)
    expected[2:-2, 2:-2, 2:-2] = 1
    middle = replace(volume, inside=torch.full((1, 3), 30))
    block, scan = draw_measured([middle], CLEAN, torch.Generator().manual_seed(0))
    assert block.mask.all()
    assert torch.equal(scan.weights, expected)
    corner = replace(volume, inside=torch.zeros(1, 3, dtype=torch.long))
    _, scan = draw_measured([corner], CLEAN, torch.Generator().manual_seed(0))
    assert int(scan.weights.sum()) == 22**3  # three of its faces are those of the volume


def test_a_small_volume_is_padded_and_every_orientation_is_turned():
    truth = brain(4, (20, 40, 18))
    grid = Grid((20, 40, 18), (1.0, 0.9, 2.0), (0.0, 0.97, 0.2))  # coronal slices
    field = DipoleOperator(grid)(truth.chi_ppm) * truth.mask
    volume = MeasuredVolume.of(field, truth.mask, grid)
    box = BoundingBox.of(truth.mask, grid)
    assert volume.grid.shape == tuple(box.inner.shape[axis] for axis in (0, 2, 1))
    assert volume.grid.voxel_size_mm == (1.0, 2.0, 0.9)
    again = DipoleOperator(volume.grid)(box.cut(truth.chi_ppm).permute(0, 2, 1)) * volume.mask
    assert (again - volume.field_ppm).norm() < 0.02 * again.norm()  # the paddings differ
    block, scan = draw_measured([volume], CLEAN, torch.Generator().manual_seed(0))
    assert block.mask.shape == scan.field_ppm.shape == (24, 24, 24)
    assert abs(block.grid.b0_dir[2]) > 0.9


def test_measured_maps_become_subjects_at_one_millimetre():
    truth = brain(5, (30, 24, 40))
    grid = Grid((30, 24, 40), (1.0, 2.0, 0.5), (0.0, 0.0, 1.0))
    subject = measured_subject(truth.chi_ppm, truth.mask, grid)
    x, y, z = BoundingBox.of(truth.mask, grid).inner.shape
    assert subject.volumes.shape == (1, 2, x, 2 * y, z / 2)
    block = draw_block([subject], CLEAN, torch.Generator().manual_seed(0))
    assert block.signal is None
    always = replace(CLEAN, magnitude=1.0)
    assert measure(block, always, torch.Generator().manual_seed(0)).magnitude is None


@pytest.mark.parametrize("shape", [(60, 56, 7), (7, 60, 56), (200, 220, 40)])
def test_any_measured_volume_gives_blocks_with_brain(shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    middle = tuple(slice(n // 2 - min(n // 2, 20), n // 2 + min(n // 2, 20)) for n in shape)
    mask[middle] = True
    field = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    volume = MeasuredVolume.of(field, mask, Grid(shape))
    assert volume.mask.numel() <= 40 * 40 * 40  # nothing around the mask is kept
    largest = min(int(mask.sum()), 48**3)
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        block, scan = draw_measured([volume], SampleConfig(size=48), generator)
        assert block.mask.sum() > 0.1 * largest
        assert (scan.weights > 0).any()


def test_a_map_of_any_orientation_has_b0_near_its_last_axis():
    truth = brain(0)
    grid = Grid(tuple(truth.mask.shape), (1.0, 1.0, 1.0), (0.1, 0.0, 0.995))
    upright = measured_subject(truth.chi_ppm, truth.mask, grid)
    turned = Grid(tuple(truth.mask.permute(2, 0, 1).shape), (1.0, 1.0, 1.0), (0.995, 0.1, 0.0))
    sideways = measured_subject(
        truth.chi_ppm.permute(2, 0, 1), truth.mask.permute(2, 0, 1), turned
    )
    assert torch.equal(sideways.volumes, upright.volumes)


def test_a_map_may_lie_anywhere_but_must_not_be_hollow():
    grid = Grid((160, 160, 160))
    small, hollow, sheet = (torch.zeros(grid.shape, dtype=torch.bool) for _ in range(3))
    small[:36, 124:, :36] = True
    hollow[::40, ::40, ::40] = True
    sheet[torch.arange(160), :, torch.arange(160)] = True
    chi = 0.05 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    subjects = [measured_subject(chi, mask, grid) for mask in (small, hollow, sheet)]
    usable = [has_blocks(subject, SampleConfig()) for subject in subjects]
    assert usable == [True, False, False]


def test_a_map_that_few_blocks_hold_enough_of_ends_no_training(monkeypatch):
    """With 20 tries a draw of a cube of 30 mm failed once in 40,000 times."""
    draws = iter([False] * 150 + [True])
    monkeypatch.setattr(samples, "_is_enough", lambda block: next(draws))
    monkeypatch.setattr(samples, "_try_block", lambda *arguments: "block")
    assert draw_block([], CLEAN, torch.Generator()) == "block"
