"""A rough map by total variation: what sources outside the mask explain, and the strong ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TvParams

STRONG_PPM = 0.3
"""Tissue and veins stay below; bleedings and calcifications do not."""


@dataclass(frozen=True)
class RoughSources:
    """What a rough map says; each of shape (X, Y, Z), zero outside the mask.

    Parameters
    ----------
    outer_field_ppm : torch.Tensor
        Field of the sources outside the mask; zero if background removal did not make the field.
    strong_ppm : torch.Tensor
        Susceptibility by which sources inside exceed :data:`STRONG_PPM` on either side.
    strong_field_ppm : torch.Tensor
        Field of these.
    """

    outer_field_ppm: Tensor
    strong_ppm: Tensor
    strong_field_ppm: Tensor


def rough_sources(
    problem: InversionProblem, params: TvParams | None = None, *, strong_ppm: float = STRONG_PPM
) -> RoughSources:
    """Share a field between sources outside the mask, strong ones inside, and the rest.

    A method that has to do with a field of tissue alone can be given the rest.

    Parameters
    ----------
    problem : InversionProblem
        Local field.
    params : TvParams, optional
        Of the total variation under which inner and outer sources share the field.
    strong_ppm : float
        What a source inside exceeds to be taken out.

    Returns
    -------
    RoughSources
        Fields to be subtracted, and susceptibility to be added to the map of what is left.

    References
    ----------
    Bleedings mapped apart from the rest: Sun et al. 2018, doi:10.1002/mrm.26919.
    """
    params = params or TvParams()
    box = SpectralBox(problem, params.margin_mm)
    data = LinearMisfit(box.field_ppm, box.weights(problem))
    chi = TotalVariationAdmm(box, problem, params, data).run(params.max_iterations)

    def field(sources: Tensor) -> Tensor:
        if not sources.any():
            return torch.zeros_like(problem.local_field_ppm)
        return box.unpad(box.field(sources))

    outer = torch.where(box.mask, 0.0, chi) * problem.residual_background
    inner = torch.where(box.mask, chi, 0.0)
    strong = inner - inner.clamp(-strong_ppm, strong_ppm)
    return RoughSources(field(outer), box.unpad(strong), field(strong))
