"""The split gradient of total variation in ADMM."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import (
    cyclic_gradient,
    cyclic_gradient_adjoint,
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
        self._dual = torch.zeros(shape, dtype=chi_ppm.dtype, device=chi_ppm.device)
        self._gradient = torch.empty_like(self._dual)
        self._started = False

    def pull(self, chi_ppm: Tensor) -> Tensor:
        """Shorten the gradients (isotropically) and return what the next map needs of them.

        Returns
        -------
        torch.Tensor, shape (X, Y, Z)
            The gradient's adjoint of the shortened gradient less its dual.
        """
        gradient, dual = self._gradient, self._dual
        follow = self._relaxation if self._started else 1.0
        self._started = True
        if follow != 1:  # what was kept the last time is gradient + dual
            dual.mul_(2 - follow).add_(gradient, alpha=1 - follow)
        cyclic_gradient(chi_ppm, self._inverse_voxel, gradient)
        dual.add_(gradient, alpha=follow)
        # What is cut off is the new dual variable, and the target of the next map is the kept
        # part less that.
        length = vector_length(dual)
        cut = torch.div(self._threshold, length, out=length).clamp_(max=1)
        torch.mul(dual, cut, out=gradient)  # a gradient for a while is what is cut off
        torch.sub(dual, gradient, alpha=2, out=dual)
        self._gradient, self._dual = gradient, dual = dual, gradient
        return cyclic_gradient_adjoint(gradient, self._inverse_voxel)
