"""Bleedings and calcifications, which are stronger than tissue, found by total variation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.bounding_box import box_slices
from qsm_pipeline.numerics.core.connected import parts_with
from qsm_pipeline.numerics.core.voxels import any_of
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
        Susceptibility where it is beyond the threshold, and around as far as half of it reaches.
    field_ppm : torch.Tensor
        Its field.
    """

    chi_ppm: Tensor
    field_ppm: Tensor


def strong_sources(
    problem: InversionProblem, threshold_ppm: float, params: TvParams | None = None
) -> StrongSources:
    """Find whole sources that exceed a threshold, so that the rest is a field of tissue alone.

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
    data = LinearMisfit(box.field_ppm, box.weights(problem), params.data_step)
    chi = TotalVariationAdmm(box, problem, params, data).run(params.max_iterations)
    strong = whole_sources_beyond(threshold_ppm, torch.where(box.mask, chi, 0.0))
    if strong is None:
        return StrongSources(*[torch.zeros_like(problem.local_field_ppm) for _ in range(2)])
    return StrongSources(box.unpad(strong), box.unpad(box.field(strong)))


def whole_sources_beyond(threshold_ppm: float, chi_ppm: Tensor) -> Tensor | None:
    """Return a map where it is beyond a threshold and around, as far as half of it reaches.

    It is zero elsewhere; None where nothing is beyond.
    """
    whole = _around(chi_ppm, threshold_ppm) | _around(-chi_ppm, threshold_ppm)
    return torch.where(whole, chi_ppm, 0.0) if any_of(whole) else None


def strong_error_ppm(strong_ppm: Tensor, share: float = 0.15, border_share: float = 0.4) -> Tensor:
    """Return the standard deviation of the error of strong sources, shape (X, Y, Z).

    Parameters
    ----------
    strong_ppm : torch.Tensor, shape (X, Y, Z)
        From :func:`strong_sources`.
    share, border_share : float
        Of the source, and of how it varies, since its borders are what is known least. These
        shares cover the errors of simulated bleedings and calcifications.
    """
    around = box_slices(strong_ppm != 0, 1)
    if around is None:
        return torch.zeros_like(strong_ppm)
    inside = strong_ppm[around]
    mean, square = (_cubes(x) for x in (inside, inside.square()))
    varies = (square - mean.square()).clamp(min=0)
    error = torch.zeros_like(strong_ppm)
    error[around] = (share**2 * square + border_share**2 * varies).sqrt()
    return error


def _around(chi_ppm: Tensor, threshold_ppm: float) -> Tensor:
    return parts_with(chi_ppm > threshold_ppm / 2, chi_ppm > threshold_ppm)


def _cubes(x: Tensor) -> Tensor:
    """Return the means of cubes of three voxels, zeros outside."""
    return avg_pool3d(x[None, None], 3, 1, 1)[0, 0]
