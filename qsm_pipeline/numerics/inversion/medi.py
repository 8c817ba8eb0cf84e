"""MEDI: total variation where the magnitude has no edge."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import DataTerm, LinearMisfit, SignalMisfit
from qsm_pipeline.numerics.inversion.edges import edge_weights
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import MediParams


def medi(problem: InversionProblem, params: MediParams | None = None) -> Tensor:
    r"""Minimise the misfit plus :math:`\lambda\|M\nabla\chi\|_1`, M small on magnitude edges.

    The misfit is that of the complex signal where ``rad_per_ppm`` is known, else that of the
    field.

    Parameters
    ----------
    problem : InversionProblem
        Local field with the magnitude, optionally with weights, noise and ``rad_per_ppm``.
    params : MediParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    Raises
    ------
    ValueError
        If there is no magnitude.

    References
    ----------
    Liu et al. 2012, doi:10.1016/j.neuroimage.2011.08.082; for the nonlinear misfit and MERIT
    Liu et al. 2013, doi:10.1002/mrm.24272.
    """
    params = params or MediParams()
    if problem.magnitude is None:
        raise ValueError("MEDI takes edges from the magnitude, and there is none; use tv instead")
    box = SpectralBox(problem, params.margin_mm)
    weights = box.weights(problem)
    solver = TotalVariationAdmm(
        box,
        problem,
        params,
        _misfit(box, weights, problem, params.data_step),
        edge_weights(box, problem.magnitude, params.edge_fraction, params.edge_weight),
    )
    first = params.max_iterations // 2
    solver.run(first)
    weights = _without_outliers(weights, solver.data.residual(solver.field_ppm), params.outlier_sd)
    solver.data = _misfit(box, weights, problem, params.data_step)
    return box.unpad(solver.run(params.max_iterations - first))


def _misfit(box: SpectralBox, weights: Tensor, problem: InversionProblem, step: float) -> DataTerm:
    if problem.rad_per_ppm is None:
        return LinearMisfit(box.field_ppm, weights, step)
    return SignalMisfit(box.field_ppm, weights, problem.rad_per_ppm, step)


def _without_outliers(weights: Tensor, residual_ppm: Tensor, outlier_sd: float) -> Tensor:
    """Divide the weights by the residual in units of ``outlier_sd`` where it is larger."""
    relative = residual_ppm.abs() * weights
    used = relative[weights > 0]
    scale = outlier_sd * used.square().mean().sqrt().clamp(min=1e-12) if len(used) else 1.0
    return weights / (relative / scale).clamp(min=1)
