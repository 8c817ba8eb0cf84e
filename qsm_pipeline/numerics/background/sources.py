"""The field as that of sources inside and outside the mask: PDF and total field inversion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.background.lbv import dirichlet_residue, inner_voxels
from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.kernels import dipole_kernel
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.params.background import LbvParams, PdfParams


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
    if params.harmonic_start and inner.any():
        start = LbvParams(screening_mm=params.screening_mm or math.inf)
        field = dirichlet_residue(field, inner, grid.voxel_size_mm, start)
    shape = fast_shape(
        grid.shape, [math.ceil(2 * params.margin_mm / v) for v in grid.voxel_size_mm]
    )
    kernel = dipole_kernel(grid, shape, device=field.device, dtype=field.dtype)
    weights = mask.to(field) if problem.weights is None else box.cut(problem.weights) * mask
    precision = weights.square()
    scale = torch.where(pad_to(mask, shape), params.inner_to_outer, 1.0).to(field)

    def dipole(x: Tensor) -> Tensor:
        return irfft3(rfft3(x) * kernel, shape)

    def normal(x: Tensor) -> Tensor:
        inside = crop_to(dipole(scale * x), grid.shape)
        return scale * dipole(pad_to(inside * precision, shape))

    rhs = scale * dipole(pad_to(field * precision, shape))
    sources = scale * conjugate_gradient(
        normal, rhs, tolerance=params.tolerance, max_iterations=params.max_iterations
    )
    sources = torch.where(pad_to(mask, shape), 0.0, sources)
    local = (field - crop_to(dipole(sources), grid.shape)) * mask
    return LocalField(box.paste(local), problem.mask.clone())
