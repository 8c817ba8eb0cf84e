"""LBV: the background as the harmonic function with the field's values on the mask's surface."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate, pad

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.core.voxels import any_of
from qsm_pipeline.numerics.params.background import LbvParams


def lbv(problem: BackgroundProblem, params: LbvParams | None = None) -> LocalField:
    r"""Subtract the harmonic function that equals the field on the surface of the mask.

    What is left of the total field :math:`f` is the solution of
    :math:`(-\Delta+1/s^2)\,l=-\Delta f` that vanishes there, with the screening length :math:`s`.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field.
    params : LbvParams, optional
        Parameters.

    Returns
    -------
    LocalField
        On the voxels of the mask whose six neighbours are in it; the others hold the boundary.

    Raises
    ------
    ValueError
        If the mask has no inner voxel.

    References
    ----------
    Zhou et al. 2014, doi:10.1002/nbm.3064.
    """
    params = params or LbvParams()
    box = BoundingBox.of(problem.mask, problem.grid)
    mask = box.cut(problem.mask)
    inner = inner_voxels(mask)
    if not any_of(inner):
        raise ValueError("The mask has no voxel whose six neighbours lie in it too")
    field = box.cut(problem.total_field_ppm) * mask
    local = dirichlet_residue(field, inner, problem.grid.voxel_size_mm, params)
    return LocalField(box.paste(local), box.paste(inner))


def inner_voxels(mask: Tensor) -> Tensor:
    """Return the voxels whose six neighbours are in the mask; none on the volume's border."""
    inner = mask.clone()
    for axis in range(3):
        n = mask.shape[axis]
        for here, there in (((0, n - 1), (1, n)), ((1, n), (0, n - 1))):
            inner.narrow(axis, here[0], here[1] - here[0]).logical_and_(
                mask.narrow(axis, there[0], there[1] - there[0])
            )
        inner.narrow(axis, 0, 1).zero_()
        inner.narrow(axis, n - 1, 1).zero_()
    return inner


def dirichlet_residue(
    field: Tensor, inner: Tensor, voxel_size_mm: Sequence[float], params: LbvParams
) -> Tensor:
    """Return the field less its harmonic extension from the voxels around ``inner``, screened."""
    screening = params.screening_mm**-2
    level = _Level(inner.to(field), tuple(voxel_size_mm), screening)
    return conjugate_gradient(
        level.apply,
        level.apply(field) - screening * field * level.inner,
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
        preconditioner=level.cycle,
    )


class _Level:
    """The screened negative Laplacian with zero values outside ``inner``; its multigrid cycle."""

    def __init__(
        self,
        inner: Tensor,
        voxel_size_mm: tuple[float, ...],
        screening: float = 0.0,
        depth: int = 0,
    ) -> None:
        self.inner = inner
        self.inverse_square = [1 / v**2 for v in voxel_size_mm]
        self.diagonal = 2 * sum(self.inverse_square) + screening
        self.coarse = None
        self.factors = [
            2 if n >= 8 and v < 1.5 * min(voxel_size_mm) else 1
            for n, v in zip(inner.shape, voxel_size_mm, strict=True)
        ]
        if depth < 6 and min(inner.shape) >= 8:
            coarse_inner = (self._share(inner) > 0.5).to(inner)
            if coarse_inner.any():
                voxel = tuple(v * f for v, f in zip(voxel_size_mm, self.factors, strict=True))
                self.coarse = _Level(coarse_inner, voxel, screening, depth + 1)

    def _share(self, inner: Tensor) -> Tensor:
        """Return the share of each coarse voxel that is inside."""
        widths = [
            w
            for n, f in zip(reversed(inner.shape), reversed(self.factors), strict=True)
            for w in (0, -n % f)
        ]
        return avg_pool3d(pad(inner, widths)[None, None], self.factors)[0, 0]

    def apply(self, x: Tensor) -> Tensor:
        out = x * self.diagonal
        for axis, weight in enumerate(self.inverse_square):
            n = x.shape[axis]
            out.narrow(axis, 0, n - 1).sub_(x.narrow(axis, 1, n - 1), alpha=weight)
            out.narrow(axis, 1, n - 1).sub_(x.narrow(axis, 0, n - 1), alpha=weight)
        return out.mul_(self.inner)

    def cycle(self, rhs: Tensor) -> Tensor:
        """Approximate the inverse by a symmetric V-cycle with damped Jacobi smoothing."""
        damping = 0.8 / self.diagonal
        x = rhs * damping  # which is zero outside, as what apply returns
        if self.coarse is None:
            for _ in range(8):
                x = x.add(rhs - self.apply(x), alpha=damping)
            return x
        residual = rhs - self.apply(x)
        children = self.factors[0] * self.factors[1] * self.factors[2]
        coarse = self.coarse.cycle(self.restrict(residual) * self.coarse.inner / children)
        x = x.addcmul_(self.prolong(coarse, x.shape), self.inner)
        return x.add_(rhs - self.apply(x), alpha=damping)

    def restrict(self, x: Tensor) -> Tensor:
        """Return the adjoint of :meth:`prolong`."""
        for axis, factor in enumerate(self.factors):
            if factor == 1:
                continue
            if x.shape[axis] % 2:
                x = pad(x, [int(i == 5 - 2 * axis) for i in range(6)])
            even, odd = x.unfold(axis, 2, 2).unbind(-1)
            x = (even + odd).mul_(0.75)
            n = x.shape[axis] - 1
            for here, there, child in ((1, 0, odd), (0, 1, even)):
                x.narrow(axis, here, n).add_(child.narrow(axis, there, n), alpha=0.25)
            for end, child in ((0, even), (n, odd)):  # constant beyond the last centres
                x.narrow(axis, end, 1).add_(child.narrow(axis, end, 1), alpha=0.25)
        return x

    def prolong(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Interpolate linearly between the centres of coarse voxels."""
        scales = [float(factor) for factor in self.factors]
        fine = interpolate(x[None, None], scale_factor=scales, mode="trilinear")[0, 0]
        return fine[: shape[0], : shape[1], : shape[2]]
