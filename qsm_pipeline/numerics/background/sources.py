"""The field as that of sources inside and outside the mask: PDF and total field inversion."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from qsm_pipeline.numerics.background.lbv import dirichlet_residue, inner_voxels
from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, pad_to
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.core.voxels import any_of
from qsm_pipeline.numerics.params.background import LbvParams, PdfParams

START_TOLERANCE = 1e-2
"""Of the harmonic start, whose rest the sources fit: with a tenth of it the error of the local
field was the same within 0.2 % on three simulated scans."""


def pdf(problem: BackgroundProblem, params: PdfParams | None = None) -> LocalField:
    """Project the field onto the fields of dipoles outside the mask.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field, optionally with weights.
    params : PdfParams, optional
        Parameters.

    Returns
    -------
    LocalField
        On the whole mask.

    References
    ----------
    Liu et al. 2011, doi:10.1002/nbm.1670; for the inner sources Liu et al. 2017,
    doi:10.1002/mrm.26331.
    """
    params = params or PdfParams()
    box = BoundingBox.of(problem.mask, problem.grid)
    grid = box.inner
    mask = box.cut(problem.mask)
    field = box.cut(problem.total_field_ppm) * mask
    inner = inner_voxels(mask)
    if params.harmonic_start and any_of(inner):
        screening_mm = params.screening_mm or math.inf
        start = LbvParams(screening_mm=screening_mm, tolerance=START_TOLERANCE)
        field = dirichlet_residue(field, inner, grid.voxel_size_mm, start)
    weights = mask.to(field) if problem.weights is None else box.cut(problem.weights) * mask
    local = (field - _field_of_outer_sources(field, mask, weights.square(), grid, params)) * mask
    return LocalField(box.paste(local), problem.mask.clone())


def _field_of_outer_sources(
    field: Tensor, mask: Tensor, precision: Tensor, grid: Grid, params: PdfParams
) -> Tensor:
    """Fit inner and outer sources to a field and return that of the outer ones, in its voxels."""
    factors = [2 if 2 * voxel <= params.block_mm else 1 for voxel in grid.voxel_size_mm]
    blocks = replace(
        grid,
        shape=tuple(math.ceil(n / f) for n, f in zip(grid.shape, factors, strict=True)),
        voxel_size_mm=tuple(v * f for v, f in zip(grid.voxel_size_mm, factors, strict=True)),
    )
    margin = [math.ceil(2 * params.margin_mm / v) for v in blocks.voxel_size_mm]
    coarse = fast_shape(blocks.shape, margin)
    x, y, z = (n * f for n, f in zip(coarse, factors, strict=True))
    fine = (x, y, z)

    def block_means(x: Tensor) -> Tensor:
        if max(factors) == 1:
            return pad_to(x, fine)
        return avg_pool3d(pad_to(x, fine)[None, None], factors)[0, 0]

    inside = block_means(mask.to(field)) > 0.5
    scale = torch.where(inside, params.inner_to_outer, 1.0).to(field)
    known = block_means(precision)

    def periodic(grid: Grid, shape: tuple[int, int, int]) -> DipoleOperator:
        padded = replace(grid, shape=shape)
        return DipoleOperator(padded, fft_shape=shape, device=field.device, dtype=field.dtype)

    dipole = periodic(blocks, coarse)

    sources = scale * conjugate_gradient(
        lambda x: scale * dipole(known * dipole(scale * x)),
        scale * dipole(block_means(field * precision)),
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
    )
    if max(factors) > 1:
        sizes = [float(f) for f in factors]
        sources = interpolate(sources[None, None], scale_factor=sizes, mode="trilinear")[0, 0]
        inside = interpolate(inside.to(field)[None, None], scale_factor=sizes)[0, 0] > 0
        dipole = periodic(grid, fine)
    return crop_to(dipole(torch.where(inside, 0.0, sources)), grid.shape)
