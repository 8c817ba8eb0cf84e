"""Streaks: too much power where the dipole kernel vanishes."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import fast_shape, frequencies, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel

CONE = 0.08
"""Below this |D| the field tells almost nothing, and what stands in the map is the method's."""
WELL_KNOWN = (0.15, 0.35)
"""Range of |D| that the cone is compared with."""
_RANGE = (0.15, 0.85)
"""Frequencies used, relative to the coarsest Nyquist frequency; those below show the mask."""
_SHELLS = 12


def streaking_index(chi_ppm: Tensor, mask: Tensor, grid: Grid) -> float | None:
    """Return the amplitude near the cone over that where the dipole is well known.

    Anatomy has no preference for the cone, so a faithful map has about the same amplitude in
    both at the same distance from the centre of k-space: the index is near 1. Streaks make it
    larger, a prior that fills the cone with nothing makes it smaller.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Ratio of amplitudes, the geometric mean over shells of k-space; None where the volume is
        too small to have voxels of both kinds in a shell, or the map is zero.

    References
    ----------
    Comparing amplitudes between ranges of the dipole kernel: Milovic et al. 2021,
    doi:10.1002/mrm.28435. The shells and ranges are our own choice.
    """
    if not mask.any():
        return None
    box = BoundingBox.of(mask, grid)
    chi, inside = box.cut(chi_ppm), box.cut(mask)
    centred = torch.where(inside, chi - chi[inside].mean(), 0.0)
    shape = fast_shape(box.inner.shape)
    power = rfft3(pad_to(centred, shape)).abs().square()
    kernel = dipole_kernel(box.inner, shape, device=chi.device).abs()
    kx, ky, kz = frequencies(shape, grid.voxel_size_mm, device=chi.device)
    radius = (kx * kx + ky * ky + kz * kz).sqrt() * 2 * max(grid.voxel_size_mm)
    shell = (radius - _RANGE[0]) / (_RANGE[1] - _RANGE[0]) * _SHELLS
    used = (shell >= 0) & (shell < _SHELLS)
    cone = used & (kernel < CONE)
    known = used & (kernel > WELL_KNOWN[0]) & (kernel < WELL_KNOWN[1])

    def mean_power(where: Tensor) -> tuple[Tensor, Tensor]:
        number = shell[where].long()
        count = torch.bincount(number, minlength=_SHELLS)
        total = torch.bincount(number, power[where].double(), minlength=_SHELLS)
        return total / count.clamp(min=1), count

    in_cone, cone_count = mean_power(cone)
    elsewhere, known_count = mean_power(known)
    both = (cone_count > 0) & (known_count > 0) & (in_cone > 0) & (elsewhere > 0)
    if not both.any():
        return None
    weight = torch.minimum(cone_count, known_count)[both].double()
    logs = 0.5 * (in_cone[both] / elsewhere[both]).log()
    return float(((weight * logs).sum() / weight.sum()).exp())
