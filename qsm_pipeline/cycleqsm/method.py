"""CycleQSM as one more method of dipole inversion."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.cycleqsm.model.uncertainty import strong_error_ppm
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.rough_sources import rough_sources
from qsm_pipeline.numerics.params.inversion import TvParams


def cycleqsm(problem: InversionProblem, params: CycleQsmParams | None = None) -> Reconstruction:
    """Invert a local field with a trained generator.

    Weights are brought nearer to 1: the generator does worse with very uneven ones. Bleedings and
    calcifications, which are stronger than any tissue that it learnt from, are mapped by total
    variation; it maps the rest.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights and magnitude.
    params : CycleQsmParams, optional
        Parameters.

    Returns
    -------
    Reconstruction
        Susceptibility in ppm, zero outside the mask, and its expected error.

    References
    ----------
    Oh et al. 2020, arXiv 2012.03842; this is an independent implementation.
    """
    params = params or CycleQsmParams()
    device = problem.local_field_ppm.device
    rough = rough_sources(problem, TvParams(max_iterations=10))
    rest = reconstruct(
        _generator(params.generator, str(device)),
        problem.local_field_ppm - rough.strong_field_ppm,
        problem.mask,
        problem.grid,
        None if problem.weights is None else problem.weights.sqrt(),
        problem.magnitude if params.magnitude else None,
        memory_gb=params.memory_gb if device.type != "cuda" else None,
        uncertainty=params.uncertainty,
        error=problem.field_error,
        residual_background=problem.residual_background,
    )
    if not rough.strong_ppm.any():
        return rest
    expected = rest.uncertainty_ppm
    if expected is not None:
        expected = torch.hypot(expected, strong_error_ppm(rough.strong_ppm)) * problem.mask
    return Reconstruction(rest.chi_ppm + rough.strong_ppm, expected)


@cache
def _generator(path: str, device: str) -> Generator:
    """Load a generator once per process."""
    return load_generator(Path(path) if path else None, device)
