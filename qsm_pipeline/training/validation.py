"""Fixed cases that no training sees, and how well a generator does on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from qsm_pipeline.cycleqsm.anatomy import RandomBrain
from qsm_pipeline.cycleqsm.generator import Generator
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.metrics import nrmse_percent, slope, xsim
from qsm_pipeline.cycleqsm.physics import BatchDipole
from qsm_pipeline.cycleqsm.uncertainty import calibrate
from qsm_pipeline.numerics.grid import Grid

CASES = {
    # brain, voxel in multiples of the validation's, B0 direction, noise in ppm
    "low noise": (0, (1, 1, 1), (0.0, 0.0, 1.0), 0.001),
    "high noise": (0, (1, 1, 1), (0.0, 0.0, 1.0), 0.004),
    "tilted": (1, (1, 1, 1), (0.3, 0.25, 0.92), 0.002),
    "anisotropic": (1, (1, 1, 2), (0.0, 0.3, 0.95), 0.002),
}


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
    """

    chi_ppm: Tensor
    field_ppm: Tensor
    mask: Tensor
    grid: Grid


def make_cases(brains: Sequence[RandomBrain], voxel_mm: float) -> dict[str, Case]:
    """Simulate the scans of the two validation brains."""
    cases = {}
    for number, (name, (brain, factors, b0_dir, noise_ppm)) in enumerate(CASES.items()):
        truth = brains[brain]
        voxel = tuple(factor * voxel_mm for factor in factors)
        size = [max(8, round(n / v)) for n, v in zip(truth.mask.shape, voxel, strict=True)]
        stack = torch.stack([truth.chi_ppm, truth.mask.float()])[None]
        chi, inside = interpolate(stack, size=size, mode="trilinear")[0]
        mask = inside > 0.5
        grid = Grid(tuple(size), voxel, b0_dir)
        chi = chi * mask
        generator = torch.Generator().manual_seed(number)
        field = BatchDipole([grid]).field(chi[None, None])[0, 0]
        field = field + noise_ppm * torch.randn(chi.shape, generator=generator)
        cases[name] = Case(chi, field * mask, mask, grid)
    return cases


def validate(generator: Generator, case: Case) -> tuple[Tensor, dict[str, float]]:
    """Return a generator's map of a case in ppm, shape (X, Y, Z), and its :func:`scores`."""
    device = next(generator.parameters()).device
    made = reconstruct(generator, case.field_ppm.to(device), case.mask.to(device), case.grid)
    chi = made.chi_ppm.cpu()
    return chi, scores(chi, case)


def scores(chi_ppm: Tensor, case: Case) -> dict[str, float]:
    """Return ``nrmse`` in percent, ``xsim``, and the ``slope`` of the strong sources of a map."""
    judges = {"nrmse": nrmse_percent, "xsim": xsim, "slope": slope}
    return {key: judge(chi_ppm, case.chi_ppm, case.mask) for key, judge in judges.items()}


def calibrate_errors(generator: Generator, cases: Iterable[Case]) -> None:
    """Set the gains of a generator's expected error so that they fit its errors in some cases."""
    device = next(generator.parameters()).device
    maps = []
    for case in cases:
        made = reconstruct(
            generator, case.field_ppm.to(device), case.mask.to(device), case.grid,
            uncertainty=True, keep_error_sources=True,
        )  # fmt: skip
        assert made.error_sources is not None
        error = (made.chi_ppm.cpu() - case.chi_ppm)[case.mask]
        maps.append((made.error_sources.cpu()[:, case.mask].T, error - error.mean()))
    generator.error_gains.copy_(calibrate(maps))
