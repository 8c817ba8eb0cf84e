"""Closed-form Tikhonov inversion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import tikhonov_weight
from qsm_pipeline.numerics.inversion.spectral import SpectralBox


@dataclass(frozen=True)
class TikhonovParams:
    """Parameters of the Tikhonov inversion.

    Parameters
    ----------
    regularisation : float, optional
        Weight of the penalty, the same at all frequencies; by default it follows the field's
        error at each.
    penalty : str
        ``identity`` for the norm of the susceptibility, ``gradient`` for that of its gradient.
    margin_mm : float
        Zero padding around the mask.
    """

    regularisation: float | None = None
    penalty: str = "identity"
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        if self.regularisation is not None and not self.regularisation > 0:
            raise ValueError(f"Expected regularisation > 0, got {self.regularisation}")
        if self.penalty not in ("identity", "gradient"):
            raise ValueError(f"Expected penalty identity or gradient, got {self.penalty!r}")


def tikhonov(problem: InversionProblem, params: TikhonovParams | None = None) -> Tensor:
    """Minimise the squared misfit plus a squared penalty, in k-space.

    Parameters
    ----------
    problem : InversionProblem
        Local field.
    params : TikhonovParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Bilgic et al. 2014, doi:10.1002/mrm.25029.
    """
    params = params or TikhonovParams()
    box = SpectralBox(problem, params.margin_mm)
    penalty = box.laplacian() if params.penalty == "gradient" else 1.0
    weight = params.regularisation or tikhonov_weight(box, problem)
    denominator = box.dipole.square() + weight * penalty
    denominator[0, 0, 0] = 1  # the mean is not measured
    inverse = box.dipole / denominator
    return box.unpad(box.back(box.forward(box.field_ppm) * inverse))
