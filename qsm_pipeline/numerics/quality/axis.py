"""Whether a local field is that of dipoles along B0, and not along another axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import fast_shape, frequencies, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field.reliability import rim_weight

_AXES = 120
_CONE = 0.1
"""Below this |D| the field of any susceptibility is weak."""
_RANGE_PER_MM = (0.02, 0.16)
_SHELLS = 8
_SAMPLES = 60_000


@dataclass(frozen=True)
class DipoleAxis:
    """What a field tells of the direction of B0.

    Parameters
    ----------
    cone_share : float
        Power of the field near the cone where the dipole vanishes, over that elsewhere in the same
        shells of k-space; well below 1 for the field of dipoles, 1 for anything else.
    better_axis : float
        The same over that of the best axis at least :data:`FAR_DEGREES` away: below 1 if the given
        axis is the right one.
    degrees : float
        Angle between the given axis and the best.
    """

    cone_share: float
    better_axis: float
    degrees: float


FAR_DEGREES = 20.0


def dipole_axis(field_ppm: Tensor, mask: Tensor, grid: Grid) -> DipoleAxis | None:
    """Compare the power of a field in the dipole's cone for B0 and for other axes.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is known.
    grid : Grid
        Geometry with the direction of B0 that was used.

    Returns
    -------
    DipoleAxis or None
        None where the mask is too small or the field is zero.
    """
    found = _spectrum(field_ppm, mask, grid)
    if found is None:
        return None
    power, k, radius, (low, high) = found
    used = (radius > low) & (radius < high)
    power, k, radius = power[used], k[used], radius[used]
    step = 1 + len(power) // _SAMPLES
    power, k, radius = power[::step].double(), k[::step].double(), radius[::step].double()
    if len(power) < 500 or not power.any():
        return None
    shell = ((radius - low) / (high - low) * _SHELLS).long().clamp(max=_SHELLS - 1)
    count = torch.bincount(shell, minlength=_SHELLS).clamp(min=1)
    mean = torch.bincount(shell, power, minlength=_SHELLS) / count
    # the root lets waves count more that stand out of the noise
    relative = power / mean[shell].clamp(min=1e-300) * mean[shell].sqrt()
    relative = relative / relative.mean()
    unit = k / radius[:, None]
    given = torch.tensor(grid.b0_dir, dtype=torch.float64, device=unit.device)
    candidates = torch.cat([given[None], _directions(_AXES).to(unit)])
    cone = (1 / 3 - (unit @ candidates.T).square()).abs() < _CONE
    share = (relative @ cone.double()) / cone.double().sum(0).clamp(min=1)
    angle = torch.rad2deg((candidates @ given).abs().clamp(max=1).acos())
    best = int(share.argmin())
    other = float(share[angle > FAR_DEGREES].min())
    own = float(share[0])
    return DipoleAxis(own, own / max(other, 1e-9), float(angle[best]))


def _spectrum(
    field_ppm: Tensor, mask: Tensor, grid: Grid
) -> tuple[Tensor, Tensor, Tensor, tuple[float, float]] | None:
    """Return power, frequencies, their length, and the range that is looked at."""
    if not mask.any():
        return None
    box = BoundingBox.of(mask, grid)
    field, inside = box.cut(field_ppm), box.cut(mask)
    centred = torch.where(inside, field - field[inside].mean(), 0.0)
    shape = fast_shape(box.inner.shape)
    windowed = centred * rim_weight(inside, box.inner)
    power = rfft3(pad_to(windowed, shape)).abs().square()
    axes = frequencies(shape, grid.voxel_size_mm, device=field.device)
    k = torch.stack([x.expand(power.shape) for x in axes], -1)
    nyquist = 0.5 / max(grid.voxel_size_mm)
    return power, k, k.norm(dim=-1), (_RANGE_PER_MM[0], min(_RANGE_PER_MM[1], 0.85 * nyquist))


def _directions(count: int) -> Tensor:
    """Return directions that cover half a sphere evenly, shape (count, 3)."""
    number = torch.arange(count, dtype=torch.float64)
    z = (number + 0.5) / count
    turn = number * math.pi * (3 - math.sqrt(5))
    flat = (1 - z * z).sqrt()
    return torch.stack([flat * turn.cos(), flat * turn.sin(), z], 1)
