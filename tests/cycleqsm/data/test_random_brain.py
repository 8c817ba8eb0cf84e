"""Random brains: seeded, masked, and with a magnitude whose contrasts are its own."""

import pytest
import torch

from qsm_pipeline.cycleqsm.data.random_brain import Templates, random_brain

SHAPE = (64, 80, 56)


@pytest.fixture(scope="module")
def brains():
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = sum(a.square() for a in axes).sqrt()
    white = torch.sigmoid((0.6 - radius) * 40)
    grey = torch.sigmoid((0.85 - radius) * 40) - white
    templates = Templates(0.9 * white + 0.5 * grey, grey, white, tuple(n / 2 for n in SHAPE))

    def make(seed):
        return random_brain(templates, torch.Generator().manual_seed(seed))

    return [make(seed) for seed in (0, 0, *range(1, 8))]


def test_the_seed_decides(brains):
    first, again, other, *_ = brains
    for name in ("chi_ppm", "mask", "signal"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.chi_ppm, other.chi_ppm)


def test_brains_are_masked_and_plausible(brains):
    for brain in brains:
        assert 0.15 < brain.mask.float().mean() < 0.5
        assert not brain.chi_ppm[~brain.mask].any()
        assert not brain.signal[~brain.mask].any()
        assert 0.02 < brain.chi_ppm[brain.mask].std() < 0.15
        assert brain.chi_ppm.abs().max() < 1
        assert brain.signal[brain.mask].min() > 0
        assert 0.5 < brain.signal[brain.mask].median() < 1.5


def test_the_magnitude_shows_tissues_in_either_order(brains):
    def contrast(brain):
        inner = tuple(slice(n // 2 - 6, n // 2 + 6) for n in SHAPE)
        return float(brain.signal[inner].median() / brain.signal[brain.mask].median() - 1)

    contrasts = [contrast(brain) for brain in brains]
    assert min(contrasts) < -0.02
    assert max(contrasts) > 0.02
