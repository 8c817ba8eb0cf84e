"""Three planes of a volume as PNG."""

from __future__ import annotations

import base64
import io

import nibabel as nib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def three_planes(
    image: nib.Nifti1Image,
    *,
    window: tuple[float, float] | None = None,
    unit: str = "",
    contour: nib.Nifti1Image | None = None,
    cmap: str = "gray",
) -> str:
    """Draw axial, coronal and sagittal slices through the middle of what is not zero.

    Parameters
    ----------
    image : nibabel.Nifti1Image
        Volume of any orientation.
    window : tuple of float, optional
        Values shown as black and white; percentiles 1 and 99 by default.
    unit : str
        For the colour bar.
    contour : nibabel.Nifti1Image, optional
        Mask to be outlined.
    cmap : str
        Colour map.

    Returns
    -------
    str
        A ``data:`` address of a PNG.
    """
    upright = nib.as_closest_canonical(image)
    data = np.nan_to_num(np.asanyarray(upright.dataobj, dtype=np.float32))
    voxel = upright.header.get_zooms()[:3]
    outline = None
    if contour is not None:
        outline = np.asanyarray(nib.as_closest_canonical(contour).dataobj) > 0
    where = np.argwhere(data != 0 if outline is None else outline)
    centre = np.median(where, axis=0).astype(int) if len(where) else np.array(data.shape) // 2
    values = data[data != 0]
    if window is None:
        window = tuple(np.percentile(values, (1, 99))) if values.size else (0.0, 1.0)
    figure = Figure(figsize=(10, 3.6), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    shown = None
    for column, (axis, across, up) in enumerate(((2, 0, 1), (1, 0, 2), (0, 1, 2))):
        axes = figure.add_subplot(1, 3, column + 1)
        plane = np.take(data, centre[axis], axis=axis).T
        shown = axes.imshow(plane, origin="lower", cmap=cmap, vmin=window[0], vmax=window[1],
                            aspect=voxel[up] / voxel[across], interpolation="nearest")  # fmt: skip
        if outline is not None:
            cut = np.take(outline, centre[axis], axis=axis).T
            if cut.any() and not cut.all():
                axes.contour(cut, levels=[0.5], colors="#ff5c5c", linewidths=0.8)
        axes.axis("off")
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.8, pad=0.01)
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.set_label(unit, color="white")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="black")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
