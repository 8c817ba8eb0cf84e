"""CycleQSM as one more method of dipole inversion."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import Sample, map_sample, prepare_sample
from qsm_pipeline.cycleqsm.model.generator import BACKGROUND_PER_MM, Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.field_error import FieldError, estimate_field_error
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.strong_sources import strong_error_ppm, whole_sources_beyond
from qsm_pipeline.numerics.inversion.wiener import wiener_error_ppm

LEAST_COLOUR = 0.05
"""Of the field; below, an error counts as white."""
LITTLE = 0.25
"""Of the field's standard deviation; strong sources that make less leave its error as it is: such
as make 0.2 changed the map by 0.06 %, and such as make 0.29 by 0.12 to 0.15 %."""


def cycleqsm(problem: InversionProblem, params: CycleQsmParams | None = None) -> Reconstruction:
    """Invert a local field with a trained generator.

    Bleedings and calcifications, which are stronger than any tissue that it learnt from, are
    mapped by its start, total variation; its networks map the rest.

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
    # errors that the generator's own does not count; first, as this takes memory
    further_ppm = _coloured_error_ppm(problem, config) if params.uncertainty else None
    sample, strong_ppm = _without_strong_sources(problem, generator, params)
    rest = map_sample(
        generator,
        sample,
        memory_gb=params.memory_gb if device.type != "cuda" else None,
        uncertainty=params.uncertainty,
    )
    chi_ppm, expected_ppm = rest.chi_ppm, rest.uncertainty_ppm
    if strong_ppm is not None:
        chi_ppm = chi_ppm + strong_ppm
    if expected_ppm is not None and further_ppm is not None:
        if strong_ppm is not None:
            shares = config.strong_error, config.strong_border_error
            further_ppm.hypot_(strong_error_ppm(strong_ppm, *shares))
        expected_ppm = expected_ppm.hypot(further_ppm).mul_(problem.mask)
    return Reconstruction(chi_ppm, expected_ppm)


def _without_strong_sources(
    problem: InversionProblem, generator: Generator, params: CycleQsmParams
) -> tuple[Sample, Tensor | None]:
    """Return the field without strong sources, prepared, and these sources if there are any.

    The generator's start maps them, and without them it is the start of the rest. Where they make
    much of the field, the error of the rest is another, and the rest is prepared anew.
    """

    def prepared(field_ppm: Tensor, error: FieldError | None) -> Sample:
        return prepare_sample(
            generator,
            field_ppm,
            problem.mask,
            problem.grid,
            problem.weights,
            problem.magnitude if params.magnitude else None,
            error=error,
            residual_background=problem.residual_background,
        )

    error = problem.field_error or (problem.spectra.error if problem.spectra else None)
    sample = prepared(problem.local_field_ppm, error)
    p = sample.prepared
    start_ppm = (p.start * p.scale_ppm * p.mask)[0, 0]
    strong_ppm = whole_sources_beyond(generator.config.strong_ppm, start_ppm)
    if strong_ppm is None:
        return sample, None
    strong = strong_ppm[None, None] / p.scale_ppm
    made = p.dipole(strong)
    restored_ppm = sample.restore(strong_ppm[None, None])
    if float(made[p.mask > 0].std()) <= LITTLE or problem.field_error or error is None:
        field = torch.where(p.weights > 0, p.field - made, 0.0)
        rest = replace(p, field=field, start=p.start - strong)
        return sample._replace(prepared=rest), restored_ppm
    rest_ppm = problem.local_field_ppm - sample.restore(made * p.scale_ppm * p.mask)
    del sample, p, strong, made  # preparing takes the most memory
    return prepared(rest_ppm, _less_coloured(error, rest_ppm, problem)), restored_ppm


def _less_coloured(error: FieldError, rest_ppm: Tensor, problem: InversionProblem) -> FieldError:
    """Return the error of the whole field, or of what strong sources leave if it is less coloured.

    Both hold the error and something else: what strong sources leak into the cone, or what is left
    of them after they were subtracted.
    """
    rest = estimate_field_error(rest_ppm, problem.mask, problem.grid, problem.weights)
    at = torch.tensor(BACKGROUND_PER_MM)
    return min(error, rest or error, key=lambda error: float(error.density(at)))


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
