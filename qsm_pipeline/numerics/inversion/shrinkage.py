"""The split gradient of total variation in ADMM."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import (
    add_difference_adjoint,
    cyclic_difference,
    vector_length,
)


class SplitGradient:
    """The gradient of a map as its own unknown, with its scaled dual variable.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        First map.
    inverse_voxel : tuple of float
        Inverse voxel size in 1/mm.
    threshold : torch.Tensor, broadcast to shape (X, Y, Z)
        Gradients in ppm/mm are shortened by this: the weight of the total variation over the
        penalty of the splitting.
    relaxation : float
        How far the split gradient follows that of the map: 1 in plain ADMM, up to 2.
    """

    def __init__(
        self,
        chi_ppm: Tensor,
        inverse_voxel: tuple[float, ...],
        threshold: Tensor,
        relaxation: float = 1.0,
    ) -> None:
        self._inverse_voxel = inverse_voxel
        self._threshold = threshold
        self._relaxation = relaxation
        shape = (3, *chi_ppm.shape)
        self._total = torch.zeros(shape, dtype=chi_ppm.dtype, device=chi_ppm.device)
        self._next: Tensor | None = None

    def pull(self, chi_ppm: Tensor) -> Tensor:
        """Shorten the gradients (isotropically) and return what the next map needs of them.

        Returns
        -------
        torch.Tensor, shape (X, Y, Z)
            The gradient's adjoint of the shortened gradient less its dual.
        """
        total, follow = self._total, self._relaxation
        if self._next is None:
            follow = 1.0
        else:
            total.mul_(self._next)
        one = torch.empty_like(chi_ppm)
        for axis, inverse in enumerate(self._inverse_voxel):
            total[axis].add_(cyclic_difference(chi_ppm, axis, one), alpha=follow * inverse)
        # Of this sum of gradient and dual variable, what is cut off is the new dual variable, and
        # the target of the next map is the kept part less that.
        length = vector_length(total)
        cut = torch.div(self._threshold, length, out=length).clamp_(max=1)
        target = 1 - 2 * cut
        pulled = torch.zeros_like(chi_ppm)
        for axis, inverse in enumerate(self._inverse_voxel):
            torch.mul(total[axis], target, out=one)
            add_difference_adjoint(pulled, one, axis, inverse)
        # the next sum begins with the dual variable and, over-relaxed, less of what was kept
        self._next = cut.mul_(self._relaxation).add_(1 - self._relaxation)
        return pulled
