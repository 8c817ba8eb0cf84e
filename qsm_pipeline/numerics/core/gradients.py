"""Finite differences and their adjoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gradient(x: Tensor, voxel_size_mm: Sequence[float]) -> Tensor:
    """Return forward differences in 1/mm, shape (3, ..., X, Y, Z); 0 at the far border."""
    out = torch.zeros((3, *x.shape), dtype=x.dtype, device=x.device)
    for axis, voxel in enumerate(voxel_size_mm):
        dim = axis - 3
        n = x.shape[dim]
        out[axis].narrow(dim, 0, n - 1).copy_(torch.diff(x, dim=dim) / voxel)
    return out


def gradient_adjoint(g: Tensor, voxel_size_mm: Sequence[float]) -> Tensor:
    """Return the adjoint of :func:`gradient` (minus the divergence), shape (..., X, Y, Z)."""
    out = torch.zeros_like(g[0])
    for axis, voxel in enumerate(voxel_size_mm):
        dim = axis - 3
        n = g.shape[dim]
        inner = g[axis].narrow(dim, 0, n - 1) / voxel
        out.narrow(dim, 1, n - 1).add_(inner)
        out.narrow(dim, 0, n - 1).sub_(inner)
    return out


def cyclic_difference(x: Tensor, axis: int, out: Tensor) -> Tensor:
    """Write periodic forward differences along an axis into ``out``, shape (X, Y, Z)."""
    n = x.shape[axis]
    head, tail = x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1)
    torch.sub(tail, head, out=out.narrow(axis, 0, n - 1))
    torch.sub(x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1), out=out.narrow(axis, n - 1, 1))
    return out


def add_difference_adjoint(out: Tensor, x: Tensor, axis: int, factor: float) -> Tensor:
    """Add a multiple of the adjoint of :func:`cyclic_difference` to ``out``."""
    n = x.shape[axis]
    out.narrow(axis, 1, n - 1).add_(x.narrow(axis, 0, n - 1), alpha=factor)
    out.narrow(axis, 0, 1).add_(x.narrow(axis, n - 1, 1), alpha=factor)
    return out.sub_(x, alpha=factor)


def cyclic_gradient(x: Tensor, inverse_voxel: tuple[float, ...], out: Tensor) -> Tensor:
    """Write periodic forward differences in 1/mm into ``out``, shape (3, X, Y, Z)."""
    for axis, inverse in enumerate(inverse_voxel):
        cyclic_difference(x, axis, out[axis]).mul_(inverse)
    return out


def cyclic_gradient_adjoint(g: Tensor, inverse_voxel: tuple[float, ...]) -> Tensor:
    """Return the adjoint of :func:`cyclic_gradient`, shape (X, Y, Z)."""
    total = torch.zeros_like(g[0])
    for axis, inverse in enumerate(inverse_voxel):
        add_difference_adjoint(total, g[axis], axis, inverse)
    return total


def vector_length(vectors: Tensor) -> Tensor:
    """Return the Euclidean length of vectors along the first axis, at least 1e-12."""
    squared = vectors[0].square()
    for component in vectors[1:]:
        squared.addcmul_(component, component)
    return squared.sqrt_().clamp_(min=1e-12)


def gradient_length(x: Tensor, inverse_voxel: tuple[float, ...]) -> Tensor:
    """Return the length of the periodic forward differences, shape (X, Y, Z)."""
    return vector_length(cyclic_gradient(x, inverse_voxel, x.new_empty((3, *x.shape))))
