"""Small brains and settings, so that trainings last seconds."""

from dataclasses import replace

import torch

from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain
from qsm_pipeline.cycleqsm.data.textures import smooth_noise
from qsm_pipeline.cycleqsm.training.config import TrainConfig
from qsm_pipeline.training import loop
from qsm_pipeline.training.pool import VALIDATION, save_brain

SETTINGS = {
    "seed": 3,
    "generator": {"widths": [4, 8], "stages": 1, "tv_iterations": 2},
    "sample": {"size": 24},
    "optim": {
        "steps": 6,
        "warmup_steps": 2,
        "learning_rate": 2e-3,
        "history": 3,
        "maps": 1,
        "fields": 1,
        "precision": "fp32",
        "ema": 0.9,
    },
    "loss": {"adversarial": 0.1},
    "validation": {"every": 1000, "voxel_mm": 2.0},
}
"""Of a training that takes about a second."""


ALL_CASES = loop._cases


def config(**optim):
    small = TrainConfig.from_dict(SETTINGS)
    return replace(small, optim=replace(small.optim, **optim))


def quick(**optim):
    """Return settings whose fields come with their errors, as finding these takes longest."""
    small = config(**optim)
    return replace(small, sample=replace(small.sample, known_error=1.0))


def first_case(*given):
    """Return what stands for the cases of a validation if one is enough: the first of them."""
    return dict([*ALL_CASES(*given).items()][:1])


def brain(seed, shape=(48, 56, 40)):
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    mask = sum(a.square() for a in axes) < 0.85
    chi = 0.05 * torch.sigmoid(8 * (smooth_noise(shape, 12.0, generator) - 0.7))
    chi = chi + 0.02 * smooth_noise(shape, 6.0, generator)
    signal = 1 - 6 * (chi - 0.025) + 0.05 * smooth_noise(shape, 6.0, generator)
    return RandomBrain(chi * mask, mask, signal * mask)


def write_pool(folder):
    for number in (*range(4), *VALIDATION):
        save_brain(folder, number, 0, brain(number))
