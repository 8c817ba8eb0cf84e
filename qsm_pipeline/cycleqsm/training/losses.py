"""The losses of CycleQSM, each on volumes of shape (B, 1, X, Y, Z)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

SPATIAL = (-3, -2, -1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the mask, shape (B, 1, 1, 1, 1)."""
    return (x * mask).sum(SPATIAL, keepdim=True) / mask.sum(SPATIAL, keepdim=True).clamp(min=1)


def masked_std(x: Tensor, mask: Tensor) -> Tensor:
    """Return the standard deviation over the mask, shape (B, 1, 1, 1, 1), at least 1e-12."""
    centred = x - masked_mean(x, mask)
    return masked_mean(centred.square(), mask).sqrt().clamp(min=1e-12)


def map_cycle(chi: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    r""":math:`|x - G(Hx)|_1` in standard deviations of x, less the mean, which no field holds."""
    error = chi - truth
    error = (error - masked_mean(error, mask)) * mask
    return masked_mean(error.abs() / masked_std(truth, mask), mask).mean()


def squared_error(chi: Tensor, truth: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """Return the squared error over that of a first estimate, without means, over all samples."""

    def squared(x: Tensor) -> Tensor:
        error = x - truth
        return masked_mean(((error - masked_mean(error, mask)) * mask).square(), mask)

    return (squared(chi) / squared(estimate).clamp(min=1e-12)).mean()


def gradient_difference(chi: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the L1 difference of finite differences, in standard deviations of the truth."""
    error = (chi - truth) / masked_std(truth, mask) * mask
    total = chi.new_zeros(())
    for axis in SPATIAL:
        both = mask.narrow(axis, 1, mask.shape[axis] - 1) * mask.narrow(
            axis, 0, mask.shape[axis] - 1
        )
        total = total + masked_mean(error.diff(dim=axis).abs(), both).mean()
    return total / 3


def contrast(chi: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the squared underestimation of fine, strong sources such as veins and small nuclei.

    Both maps lose their means over 9 x 9 x 9 voxels; where what is left of the truth exceeds two
    standard deviations, the slope of the map against it should be 1.
    """
    share = _box_mean(mask).clamp(min=1e-3)

    def fine(x: Tensor) -> Tensor:
        return (x - _box_mean(x * mask) / share) * mask

    truth, chi = fine(truth), fine(chi)
    strong = (truth.abs() > 2 * masked_std(truth, mask)) * mask
    slope = masked_mean(chi * truth, strong) / masked_mean(truth.square(), strong).clamp(min=1e-12)
    return (1 - slope).square().mean()


def _box_mean(x: Tensor) -> Tensor:
    """Return the mean over 9 x 9 x 9 voxels, zeros outside; an axis at a time, 27 sums not 729."""
    for size in ((9, 1, 1), (1, 9, 1), (1, 1, 9)):
        x = avg_pool3d(x, size, stride=1, padding=tuple(n // 2 for n in size))
    return x


def field_cycle(field: Tensor, predicted: Tensor, weights: Tensor) -> Tensor:
    r""":math:`|y - HG(y)|_1` in standard deviations of y.

    The residual is averaged over 3 x 3 x 3 voxels first: the map need not explain the noise.
    """
    inside = (weights > 0).to(field)
    residual = avg_pool3d(weights.square() * (field - predicted), 3, stride=1, padding=1)
    return masked_mean((residual / masked_std(field, inside)).abs(), inside).mean()


def least_squares(score: Tensor, real: bool) -> Tensor:
    """Return the LSGAN loss of scores that should be 1 (real) or 0."""
    return (score - float(real)).square().mean()


def wasserstein(score: Tensor, real: bool) -> Tensor:
    """Return the critic's loss of scores that should be high (real) or low."""
    return -score.mean() if real else score.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor
) -> Tensor:
    """Return the penalty on slopes of the critic other than 1 between real and fake maps.

    References
    ----------
    Gulrajani et al. 2017, arXiv 1704.00028.
    """
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


ADVERSARIAL = {"lsgan": least_squares, "wgan-gp": wasserstein}
