"""Fixed cases that no training sees, and how well a generator does on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain
from qsm_pipeline.cycleqsm.infer import Reconstruction, reconstruct
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.model.physics import BatchDipole
from qsm_pipeline.cycleqsm.model.uncertainty import calibrate
from qsm_pipeline.cycleqsm.training.metrics import nrmse_percent, slope, xsim
from qsm_pipeline.numerics.core.grid import Grid

CASES = {
    # brain, voxel in multiples of the validation's, B0 direction, noise in ppm, magnitude
    "low noise": (0, (1, 1, 1), (0.0, 0.0, 1.0), 0.001, False),
    "high noise": (0, (1, 1, 1), (0.0, 0.0, 1.0), 0.004, False),
    "tilted": (1, (1, 1, 1), (0.3, 0.25, 0.92), 0.002, False),
    "anisotropic": (1, (1, 1, 2), (0.0, 0.3, 0.95), 0.002, False),
    "high noise with magnitude": (0, (1, 1, 1), (0.0, 0.0, 1.0), 0.004, True),
    "anisotropic with magnitude": (1, (1, 1, 2), (0.0, 0.3, 0.95), 0.002, True),
}
DECAY_PER_PPM = 3.0
"""In 1/ppm: how fast the logarithm of the magnitude falls with the size of the susceptibility."""


@dataclass(frozen=True)
class Case:
    """A simulated scan whose map is known.

    Parameters
    ----------
    chi_ppm, field_ppm : torch.Tensor, shape (X, Y, Z)
        Truth, and its field with noise in the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    grid : Grid
        Geometry.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        In any unit.
    """

    chi_ppm: Tensor
    field_ppm: Tensor
    mask: Tensor
    grid: Grid
    magnitude: Tensor | None = None


def make_cases(brains: Sequence[RandomBrain], voxel_mm: float) -> dict[str, Case]:
    """Simulate the scans of the two validation brains."""
    cases = {}
    scans = list(dict.fromkeys(case[:-1] for case in CASES.values()))
    for name, (*scan, known) in CASES.items():
        brain, factors, b0_dir, noise_ppm = scan
        truth = brains[brain]
        voxel = tuple(factor * voxel_mm for factor in factors)
        size = [max(8, round(n / v)) for n, v in zip(truth.mask.shape, voxel, strict=True)]
        assert truth.signal is not None
        stack = torch.stack([truth.chi_ppm, truth.mask.float(), truth.signal])[None]
        chi, inside, signal = interpolate(stack, size=size, mode="trilinear")[0]
        mask = inside > 0.5
        grid = Grid(tuple(size), voxel, b0_dir)
        chi = chi * mask
        generator = torch.Generator().manual_seed(scans.index(tuple(scan)))
        field = BatchDipole([grid]).field(chi[None, None])[0, 0]
        field = field + noise_ppm * torch.randn(chi.shape, generator=generator)
        magnitude = signal * torch.exp(-DECAY_PER_PPM * chi.abs()) if known else None
        cases[name] = Case(chi, field * mask, mask, grid, magnitude)
    return cases


def validate(generator: Generator, case: Case) -> tuple[Tensor, dict[str, float]]:
    """Return a generator's map of a case in ppm, shape (X, Y, Z), and its :func:`scores`."""
    chi = _reconstruct(generator, case).chi_ppm.cpu()
    return chi, scores(chi, case)


def _reconstruct(generator: Generator, case: Case, **options: bool) -> Reconstruction:
    device = next(generator.parameters()).device
    magnitude = None if case.magnitude is None else case.magnitude.to(device)
    field, mask = case.field_ppm.to(device), case.mask.to(device)
    return reconstruct(generator, field, mask, case.grid, magnitude=magnitude, **options)


def scores(chi_ppm: Tensor, case: Case) -> dict[str, float]:
    """Return ``nrmse`` in percent, ``xsim``, and the ``slope`` of the strong sources of a map."""
    judges = {"nrmse": nrmse_percent, "xsim": xsim, "slope": slope}
    return {key: judge(chi_ppm, case.chi_ppm, case.mask) for key, judge in judges.items()}


def calibrate_errors(generator: Generator, cases: Iterable[Case]) -> None:
    """Set the gains of a generator's expected error so that they fit its errors in some cases."""
    maps = []
    for case in cases:
        made = _reconstruct(generator, case, uncertainty=True, keep_error_sources=True)
        assert made.error_sources is not None
        error = (made.chi_ppm.cpu() - case.chi_ppm)[case.mask]
        maps.append((made.error_sources.cpu()[:, case.mask].T, error - error.mean()))
    generator.error_gains.copy_(calibrate(maps))
