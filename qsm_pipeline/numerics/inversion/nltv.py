"""Total variation with the nonlinear data term of the complex signal."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import SignalMisfit
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import NltvParams


def nltv(problem: InversionProblem, params: NltvParams | None = None) -> Tensor:
    r"""Minimise :math:`\frac1{2s^2}\|W(e^{isD\chi}-e^{isf})\|^2+\lambda\|\nabla\chi\|_1`.

    Wrong numbers of turns in the unwrapped phase do not matter to it.

    Parameters
    ----------
    problem : InversionProblem
        Local field with ``rad_per_ppm`` (:math:`s`), optionally with weights and noise.
    params : NltvParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    Raises
    ------
    ValueError
        If ``rad_per_ppm`` is not known.

    References
    ----------
    Milovic et al. 2018 (FANSI), doi:10.1002/mrm.27073.
    """
    params = params or NltvParams()
    if problem.rad_per_ppm is None:
        raise ValueError(
            "Nonlinear TV fits the complex signal and needs rad_per_ppm, the phase of a field of "
            "1 ppm; use tv where it is not known"
        )
    box = SpectralBox(problem, params.margin_mm)
    data = SignalMisfit(box.field_ppm, box.weights(problem), problem.rad_per_ppm, params.data_step)
    return box.unpad(TotalVariationAdmm(box, problem, params, data).run(params.max_iterations))
