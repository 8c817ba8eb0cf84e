"""Discriminator, history, noise estimate, settings, metrics."""

import dataclasses

import pytest
import torch
from small_training import brain

from qsm_pipeline.cycleqsm.model.discriminator import PatchDiscriminator
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.training.config import PRESETS, TrainConfig
from qsm_pipeline.cycleqsm.training.history import ImageHistory
from qsm_pipeline.cycleqsm.training.metrics import nrmse_percent, slope, xsim


@pytest.mark.parametrize("shape", [(32, 32, 32), (24, 40, 48)])
def test_discriminator_scores_patches(shape):
    chi, mask = torch.randn(2, 1, *shape), torch.ones(2, 1, *shape)
    network = PatchDiscriminator(width=4)
    score = network(chi, mask)
    assert score.shape == (2, 1, *(n // 8 for n in shape))
    # a patch is judged by its surroundings, and by the mask as well
    assert not torch.equal(network(chi, 0 * mask), score)


def test_history_returns_earlier_samples_and_keeps_its_size():
    history = ImageHistory(4)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for step in range(40):
        batch = torch.full((2, 1), float(step))
        out = history.exchange(batch, generator)
        assert out.shape == batch.shape
        assert set(out.flatten().tolist()) <= set(range(step + 1))
        seen += [value < step for value in out.flatten().tolist()]
        assert len(history.samples) <= 4
    assert 0.3 < sum(seen[8:]) / len(seen[8:]) < 0.7
    batch = torch.randn(2, 1)
    assert ImageHistory(0).exchange(batch, generator) is batch


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_trained(preset):
    config = TrainConfig.load(preset)
    Generator(config.generator)
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[optim]\nlearnig_rate = 1", "optim.learnig_rate"),
        ("[generater]\nstages = 1", "generater"),
        ("[loss]\nadversarial_kind = 'hinge'", "hinge"),
        ("[generator]\nstart = 'magic'", "magic"),
        ("seed = ", "custom.toml"),
    ],
)
def test_mistakes_in_settings_are_named(tmp_path, text, named):
    path = tmp_path / "custom.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"custom\.toml") as error:
        TrainConfig.load(path)
    assert named in str(error.value)


def test_settings_of_a_file_are_taken(tmp_path):
    path = tmp_path / "custom.toml"
    path.write_text("seed = 5\n[optim]\nsteps = 7\nbetas = [0.5, 0.9]\n")
    config = TrainConfig.load(path)
    assert (config.seed, config.optim.steps, config.optim.betas) == (5, 7, (0.5, 0.9))
    assert config.loss == TrainConfig().loss
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


def test_metrics_are_those_of_qsm_ci():
    qsm_eval = pytest.importorskip("qsm_ci.qsm_eval", reason="qsm-ci is not installed")
    truth = brain(2)
    chi = (0.8 * truth.chi_ppm + 0.01 * torch.randn(truth.mask.shape)) * truth.mask
    arrays = [x.double().numpy() for x in (chi, truth.chi_ppm)]
    scores, _ = qsm_eval.score_arrays(*arrays, truth.mask.numpy())
    assert nrmse_percent(chi, truth.chi_ppm, truth.mask) == pytest.approx(scores["nrmse"])
    assert xsim(chi, truth.chi_ppm, truth.mask) == pytest.approx(scores["xsim"], rel=1e-4)
    assert slope(chi, truth.chi_ppm, truth.mask) == pytest.approx(0.8, abs=0.02)
