"""Phase difference between odd and even echoes of a bipolar readout."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import smooth_phase
from qsm_pipeline.numerics.phase.offset import wrap
from qsm_pipeline.numerics.unwrap.romeo import unwrap_volume

FOUND_RAD = 0.05
"""A larger spread of the alternating phase is that of a bipolar readout: monopolar ones have less
than 0.01, also with noise and at 7 T, and bipolar ones with 0.3 rad across the volume 0.04."""


def equally_spaced(echo_times_s: tuple[float, ...]) -> bool:
    """Return whether there are three echoes whose spacing differs by at most 2 %."""
    if len(echo_times_s) < 3:
        return False
    first, second, third = echo_times_s[:3]
    return abs((third - second) - (second - first)) <= 0.02 * (second - first)


def alternating_phase(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    grid: Grid,
    sigma_mm: float = 7.0,
) -> Tensor:
    """Return the smooth phase by which even echoes differ from odd ones.

    With ``phase_e = offset + field * TE_e + (-1)^e * g / 2`` (``e`` from 1), the combination of
    three echoes that cancels offset and field leaves a multiple of ``g``.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase of at least three echoes.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : tuple of float, length E
        The first three must be equally spaced to 2 %, so that the wraps cancel too.
    grid : Grid
        Geometry.
    sigma_mm : float
        Standard deviation of the Gaussian that smooths the result.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        ``g`` in radians, zero outside the mask.

    Raises
    ------
    ValueError
        With fewer than three echoes or unequal spacing.
    """
    if len(echo_times_s) < 3:
        raise ValueError(
            f"A bipolar readout needs at least 3 echoes to be corrected, got {len(echo_times_s)}"
        )
    if not equally_spaced(echo_times_s):
        raise ValueError(
            "A bipolar readout can be corrected only for equally spaced echoes, got "
            f"{', '.join(f'{time:g}' for time in echo_times_s[:3])} s"
        )
    # 2 * phase_2 - phase_1 - phase_3 = 2 g
    box = BoundingBox.of(mask, grid)
    phase, inside = box.cut(phase_rad[:3]), box.cut(mask)
    weight = box.cut(magnitude[:3]).amin(0) * inside
    combination = wrap(2 * phase[1] - phase[0] - phase[2])
    smooth = smooth_phase(combination, weight, box.inner, sigma_mm)
    return box.paste(unwrap_volume(wrap(smooth), inside, weight).div_(2))


def remove_alternating_phase(phase_rad: Tensor, alternating_rad: Tensor) -> Tensor:
    """Give all echoes the polarity of their mean; see :func:`alternating_phase`."""
    signs = torch.ones(phase_rad.shape[0], dtype=phase_rad.dtype, device=phase_rad.device)
    signs[1::2] = -1
    return wrap(phase_rad + signs[:, None, None, None] * alternating_rad / 2)


def bipolar_score(alternating_rad: Tensor, mask: Tensor) -> float:
    """Return the spread of the alternating phase in radians: near 0 for a monopolar readout."""
    values = alternating_rad[mask]
    return float((values - values.median()).abs().median())
