"""Iterative solvers for symmetric positive definite systems."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import widest_float


def conjugate_gradient(
    operator: Callable[[Tensor], Tensor],
    rhs: Tensor,
    *,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve ``operator(x) = rhs`` for a symmetric positive (semi)definite operator.

    Parameters
    ----------
    operator : callable
        Symmetric positive semidefinite map of tensors of the shape of ``rhs``.
    rhs : torch.Tensor
        Right-hand side; the whole tensor is one system.
    start : torch.Tensor, optional
        First guess, zero by default.
    tolerance : float
        Stop when the residual's norm falls under this fraction of that of ``rhs``.
    max_iterations : int
        Largest number of iterations.
    preconditioner : callable, optional
        Approximate inverse of ``operator``, symmetric positive definite.

    Returns
    -------
    torch.Tensor
        The solution; zero when ``rhs`` is zero.

    Notes
    -----
    The iterates are held in double precision and only the operator works in that of ``rhs``:
    rounded to single, the directions lose their conjugacy and the result depends on the scale of
    the data and on the number of threads.
    """
    single, wide = rhs.dtype, widest_float(rhs.device)

    def apply(function: Callable[[Tensor], Tensor], vector: Tensor) -> Tensor:
        return function(vector.to(single)).to(wide)

    x = torch.zeros_like(rhs, dtype=wide) if start is None else start.to(wide)
    residual = rhs.to(wide) if start is None else rhs - apply(operator, x)
    bound = tolerance * float(torch.linalg.vector_norm(rhs))
    direction = torch.zeros_like(residual)
    previous = 1.0
    for _ in range(max_iterations):
        if float(torch.linalg.vector_norm(residual)) <= bound:
            break
        scaled = residual if preconditioner is None else apply(preconditioner, residual)
        rho = float(torch.sum(residual * scaled))
        direction = direction.mul_(rho / previous).add_(scaled)
        image = apply(operator, direction)
        curvature = float(torch.sum(direction * image))
        if curvature <= 0:  # null space reached, to rounding
            break
        step = rho / curvature
        x = x.add(direction, alpha=step)
        residual = residual.sub(image, alpha=step)
        previous = rho
    return x.to(single)
