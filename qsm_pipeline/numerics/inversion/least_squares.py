"""Weighted least squares by conjugate gradients, stopped early."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.inversion.spectral import SpectralBox


def least_squares(
    box: SpectralBox,
    weights: Tensor,
    kernel: Tensor,
    tolerance: float,
    max_iterations: int,
    preconditioner: Tensor | None = None,
    penalty: float = 0.0,
) -> Tensor:
    r"""Minimise :math:`\|W(D\chi-f)\|^2`; few iterations leave out what is hardly measured.

    Parameters
    ----------
    box : SpectralBox
        The padded problem.
    weights : torch.Tensor, padded shape
        Data weights.
    kernel : torch.Tensor, half spectrum
        That of the dipole, zero where the map is to be zero.
    tolerance : float
        Relative residual of the normal equations at which to stop.
    max_iterations : int
        Largest number of iterations.
    preconditioner : torch.Tensor, half spectrum, optional
        Approximate inverse of the normal equations, not negative.
    penalty : float
        Weight of the squared susceptibility.

    Returns
    -------
    torch.Tensor, padded shape
        Susceptibility in ppm.
    """
    precision = weights.square()
    forward, back = box.dipole.spectrum, box.dipole.back

    def normal(x: Tensor) -> Tensor:
        spectrum = forward(x)
        field = back(spectrum * kernel)
        return back(forward(field.mul_(precision)).mul_(kernel).add_(spectrum * penalty))

    def precondition(x: Tensor) -> Tensor:
        assert preconditioner is not None
        return back(forward(x).mul_(preconditioner))

    return conjugate_gradient(
        normal,
        back(forward(box.field_ppm * precision).mul_(kernel)),
        tolerance=tolerance,
        max_iterations=max_iterations,
        preconditioner=None if preconditioner is None else precondition,
    )
