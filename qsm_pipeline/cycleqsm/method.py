"""CycleQSM as one more method of dipole inversion."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import BACKGROUND_PER_MM, Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.field_error import FieldError, estimate_field_error
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.strong_sources import (
    StrongSources,
    strong_error_ppm,
    strong_sources,
)
from qsm_pipeline.numerics.inversion.wiener import wiener_error_ppm
from qsm_pipeline.numerics.params.inversion import TvParams

LEAST_COLOUR = 0.05
"""Of the field; below, an error counts as white."""
LITTLE = 0.25
"""Of the field's standard deviation; strong sources that make less leave its error as it is: such
as make 0.2 changed the map by 0.06 %, and such as make 0.29 by 0.12 to 0.15 %."""


def cycleqsm(problem: InversionProblem, params: CycleQsmParams | None = None) -> Reconstruction:
    """Invert a local field with a trained generator.

    Bleedings and calcifications, which are stronger than any tissue that it learnt from, are
    mapped by total variation; it maps the rest.

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
    generator = _generator(params.generator, str(device))
    config = generator.config
    strong = strong_sources(
        problem, config.strong_ppm, TvParams(max_iterations=config.strong_iterations)
    )
    strong_ppm, rest_ppm = strong.chi_ppm, problem.local_field_ppm - strong.field_ppm
    error = problem.field_error or _error_found(problem, strong, rest_ppm)
    del strong  # and its field
    further_ppm = None  # errors that the generator's own does not count; now, as this takes memory
    if params.uncertainty:
        shares = config.strong_error, config.strong_border_error
        further_ppm = _coloured_error_ppm(problem, config)
        further_ppm.hypot_(strong_error_ppm(strong_ppm, *shares))
    rest = reconstruct(
        generator,
        rest_ppm,
        problem.mask,
        problem.grid,
        problem.weights,
        problem.magnitude if params.magnitude else None,
        memory_gb=params.memory_gb if device.type != "cuda" else None,
        uncertainty=params.uncertainty,
        error=error,
        residual_background=problem.residual_background,
    )
    expected = rest.uncertainty_ppm
    if expected is not None and further_ppm is not None:
        expected = expected.hypot(further_ppm).mul_(problem.mask)
    return Reconstruction(rest.chi_ppm + strong_ppm, expected)


def _error_found(
    problem: InversionProblem, strong: StrongSources, rest_ppm: Tensor
) -> FieldError | None:
    """Return the error of the whole field, or of what strong sources leave if it is less coloured.

    Both hold the error and something else: what strong sources leak into the cone, or what is left
    of them after they were subtracted.
    """
    if problem.spectra is None:
        return None
    whole = problem.spectra.error
    made_ppm = float(strong.field_ppm[problem.mask].std(correction=0))
    if made_ppm <= LITTLE * problem.spread_ppm:
        return whole
    rest = estimate_field_error(rest_ppm, problem.mask, problem.grid, problem.weights) or whole
    at = torch.tensor(BACKGROUND_PER_MM)
    return min(whole, rest, key=lambda error: float(error.density(at)))


def _coloured_error_ppm(problem: InversionProblem, config: GeneratorConfig) -> Tensor:
    """Return the expected error of the closed form, as far as the field's error is coloured.

    The generator's own expected error was calibrated on white noise. Of the closed form's variance
    the share is a / (1 + a), for the coloured error at a frequency over the standard deviation of
    the field; background removal leaves such an error too.
    """
    error, spread_ppm = problem.error, problem.spread_ppm
    if problem.residual_background:
        error = error.at_least_coloured(config.background_error * spread_ppm, BACKGROUND_PER_MM)
    at = torch.tensor(config.coloured_per_mm)
    coloured = float(error.coloured_density(at).sqrt()) / max(spread_ppm, 1e-12)
    if coloured < LEAST_COLOUR:
        return torch.zeros_like(problem.local_field_ppm)
    return (coloured / (1 + coloured)) ** 0.5 * wiener_error_ppm(problem)


@cache
def _generator(path: str, device: str) -> Generator:
    """Load a generator once per process."""
    return load_generator(Path(path) if path else None, device)
