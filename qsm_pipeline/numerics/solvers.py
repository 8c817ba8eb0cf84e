"""Iterative solvers for symmetric positive definite systems."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
    """
    x = torch.zeros_like(rhs) if start is None else start.clone()
    residual = rhs.clone() if start is None else rhs - operator(x)
    bound = tolerance * float(torch.linalg.vector_norm(rhs))
    direction = torch.zeros_like(rhs)
    previous = 1.0
    for _ in range(max_iterations):
        if float(torch.linalg.vector_norm(residual)) <= bound:
            break
        scaled = residual if preconditioner is None else preconditioner(residual)
        rho = float(torch.sum(residual * scaled))
        direction.mul_(rho / previous).add_(scaled)
        image = operator(direction)
        curvature = float(torch.sum(direction * image))
        if curvature <= 0:  # null space reached, to rounding
            break
        step = rho / curvature
        x.add_(direction, alpha=step)
        residual.sub_(image, alpha=step)
        previous = rho
    return x
