"""Bleedings and calcifications, which are stronger than tissue, found by total variation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TvParams


class StrongSources(NamedTuple):
    """Strong sources; each of shape (X, Y, Z), zero outside the mask.

    Parameters
    ----------
    chi_ppm : torch.Tensor
        Susceptibility beyond the threshold, on either side.
    field_ppm : torch.Tensor
        Its field.
    """

    chi_ppm: Tensor
    field_ppm: Tensor


def strong_sources(
    problem: InversionProblem, threshold_ppm: float, params: TvParams | None = None
) -> StrongSources:
    """Find the sources that exceed a threshold, so that the rest is a field of tissue alone.

    Parameters
    ----------
    problem : InversionProblem
        Local field.
    threshold_ppm : float
        Tissue and veins stay below.
    params : TvParams, optional
        Of the total variation.

    Returns
    -------
    StrongSources
        A field to be subtracted, and susceptibility to be added to the map of what is left.

    References
    ----------
    Bleedings mapped apart from the rest: Sun et al. 2018, doi:10.1002/mrm.26919.
    """
    params = params or TvParams()
    box = SpectralBox(problem, params.margin_mm)
    data = LinearMisfit(box.field_ppm, box.weights(problem))
    chi = TotalVariationAdmm(box, problem, params, data).run(params.max_iterations)
    inner = torch.where(box.mask, chi, 0.0)
    strong = inner - inner.clamp(-threshold_ppm, threshold_ppm)
    if not strong.any():
        return StrongSources(*[torch.zeros_like(problem.local_field_ppm) for _ in range(2)])
    return StrongSources(box.unpad(strong), box.unpad(box.field(strong)))
