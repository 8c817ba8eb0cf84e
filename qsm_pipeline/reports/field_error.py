"""The spectrum of a local field beside that of its error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qsm_pipeline.reports.picture import drawn, plot
from qsm_pipeline.reports.slices import Volume

_RINGS = 24
_LOWEST_PER_MM = 0.01
"""Errors longer than 100 mm count as if they were that long."""


def draw_field_error(local_field: Volume, error: Mapping[str, float]) -> bytes:
    """Draw by frequency how strong a local field is, and its error as it was estimated.

    Parameters
    ----------
    local_field : Volume
        In ppm, zero where it is not known.
    error : mapping
        ``n0_ppm``, ``knee_per_mm`` and ``power``, as
        `qsm_pipeline.numerics.field_error.FieldError` has them.

    Returns
    -------
    bytes
        WebP.
    """
    from matplotlib.ticker import LogLocator

    n0, knee, power = error["n0_ppm"], error["knee_per_mm"], error["power"]
    frequency, level = _radial_ppm(local_field)
    noise = n0 * np.sqrt(1 + (knee / np.maximum(frequency, _LOWEST_PER_MM)) ** power)
    axes = plot(height_inch=3.6)
    axes.loglog(frequency, level, color="#3b6ea5", label="local field")
    axes.loglog(frequency, noise, color="#c62828", label="its error, estimated")
    axes.axhline(
        n0, color="#c62828", linewidth=1, linestyle=":", label=f"white floor, {n0:.2g} ppm"
    )
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")  # powers of ten would take a parser of mathematics
    axes.set(xlabel="frequency (1/mm)", ylabel="ppm", xlim=(frequency.min(), frequency.max()))
    axes.legend(frameon=False)
    return drawn(axes)


def _radial_ppm(field: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in 1/mm, and the standard deviation of white noise as strong there."""
    inside = field.data != 0
    centred = np.where(inside, field.data - field.data[inside].mean(), 0)
    density = np.abs(np.fft.rfftn(centred)) ** 2 / max(1, int(inside.sum()))
    voxel = field.voxel_size_mm
    axes = [np.fft.fftfreq(n, v) for n, v in zip(centred.shape[:2], voxel[:2], strict=True)]
    last = np.fft.rfftfreq(centred.shape[2], voxel[2])
    frequency = np.sqrt(
        axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + last[None, None, :] ** 2
    )
    longest = max(n * v for n, v in zip(centred.shape, voxel, strict=True))
    edges = np.geomspace(1.5 / longest, 0.5 / voxel.min(), _RINGS + 1)
    ring = np.digitize(frequency.ravel(), edges)
    counts = np.bincount(ring, minlength=_RINGS + 2)[1 : _RINGS + 1]
    power = np.bincount(ring, density.ravel(), _RINGS + 2)[1 : _RINGS + 1]
    there = counts > 0
    return np.sqrt(edges[1:] * edges[:-1])[there], np.sqrt(power[there] / counts[there])
