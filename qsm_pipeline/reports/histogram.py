"""How the susceptibility is distributed."""

from __future__ import annotations

import numpy as np

from qsm_pipeline.reports.picture import drawn, plot
from qsm_pipeline.reports.slices import Volume

_RANGE_PPM = (-0.25, 0.25)
_BINS = 200


def draw_histogram(chi: Volume, mask: Volume) -> bytes:
    """Draw the histogram of the susceptibility in a mask.

    Parameters
    ----------
    chi : Volume
        In ppm.
    mask : Volume
        Where it is valid; of the same shape.

    Returns
    -------
    bytes
        WebP.
    """
    values = chi.data[mask.data > 0.5]
    axes = plot(height_inch=3.2)
    share = np.full(values.size, 100 / max(1, values.size))
    inside = np.clip(values, *_RANGE_PPM)  # what lies beyond stands in the last bin
    axes.hist(
        inside, _BINS, range=_RANGE_PPM, weights=share, color="#3b6ea5", histtype="stepfilled"
    )
    low, middle, high = np.percentile(values, (5, 50, 95)) if values.size else (0.0, 0.0, 0.0)
    marks = ((low, "5 %", "right"), (middle, "median", "center"), (high, "95 %", "left"))
    for value, name, side in marks:
        axes.axvline(value, color="#c62828", linewidth=1, linestyle=":")
        axes.annotate(
            f"{name} {value:+.3f}",
            (value, 1.02),
            xycoords=("data", "axes fraction"),
            ha=side,
            va="bottom",
            fontsize=9,
            color="#c62828",
        )
    axes.set(xlabel="susceptibility (ppm)", ylabel="voxels (%)", xlim=_RANGE_PPM)
    return drawn(axes)
