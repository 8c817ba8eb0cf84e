"""What a training writes down: a CSV table, TensorBoard, images."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

WINDOW_PPM = (-0.1, 0.15)


class Logs:
    """Append numbers and images of a training to a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``<name>.csv`` for each kind of numbers, ``images/`` and, where the tensorboard
        package is installed, ``tensorboard/``.
    step : int
        Rows of later steps, left by a run that was killed after its last checkpoint, are removed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.step = step
        self._columns: dict[str, list[str]] = {}
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self.board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def numbers(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Add a row to ``<name>.csv``."""
        path = self.folder / f"{name}.csv"
        if name not in self._columns:
            self._columns[name] = self._open(path, ["step", *values])
        with path.open("a", newline="") as file:
            row = {"step": step} | {key: f"{value:.6g}" for key, value in values.items()}
            csv.DictWriter(file, self._columns[name], extrasaction="ignore").writerow(row)
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(f"{name}/{key}", value, step)

    def _open(self, path: Path, columns: list[str]) -> list[str]:
        rows = []
        if path.is_file():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if self._is_kept(row)]
                found = list(reader.fieldnames or [])
                columns = found if "step" in found else columns  # after a power cut
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        return columns

    def _is_kept(self, row: Mapping[str, str]) -> bool:
        """Return whether a row is whole, which the last may not be after a power cut, and due."""
        try:
            _ = [float(value) for value in row.values() if value != ""]  # what no step measured
            return int(row["step"]) <= self.step
        except (KeyError, TypeError, ValueError):
            return False

    def image(self, name: str, step: int, rows: Mapping[str, Tensor]) -> None:
        """Save three planes of each volume as ``images/<name>_<step>.png``."""
        pixels = draw_planes({key: value.numpy() for key, value in rows.items()}, dpi=70)
        slug = name.replace(" ", "-")
        (self.folder / "images" / f"{slug}_{step:07d}.png").write_bytes(png(pixels))
        if self.board is not None:
            self.board.add_image(slug, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still in memory."""
        if self.board is not None:
            self.board.close()


def draw_planes(
    rows: Mapping[str, np.ndarray],
    centre: tuple[int, int, int] | None = None,
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    dpi: int = 100,
) -> np.ndarray:
    """Draw an axial, a coronal and a sagittal plane of each volume, with one window and bar.

    Parameters
    ----------
    rows : mapping of str to numpy.ndarray, shape (X, Y, Z)
        Susceptibility in ppm by name.
    centre : tuple of int, optional
        Voxel where the planes meet; the middle by default.
    voxel_size_mm : tuple of float
        For the aspect of the planes.
    dpi : int
        Pixels per inch; a picture is nine inches wide.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    figure = Figure(figsize=(9, 3 * len(rows)), facecolor="black", dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    margins = {"left": 0, "right": 0.88, "bottom": 0.01, "top": 1 - 0.1 / len(rows)}
    axes = figure.subplots(len(rows), 3, squeeze=False, gridspec_kw={**margins, "wspace": 0.02})
    for line, (name, volume) in zip(axes, rows.items(), strict=True):
        middle = centre or tuple(n // 2 for n in volume.shape)
        for panel, (axis, across, up) in zip(line, ((2, 0, 1), (1, 0, 2), (0, 1, 2)), strict=True):
            plane = np.take(volume, middle[axis], axis=axis).T
            shown = panel.imshow(
                plane,
                origin="lower",
                cmap="gray",
                vmin=WINDOW_PPM[0],
                vmax=WINDOW_PPM[1],
                aspect=voxel_size_mm[up] / voxel_size_mm[across],
            )
            panel.axis("off")
        line[0].set_title(name, color="white", loc="left")
    bar = figure.colorbar(shown, cax=figure.add_axes((0.9, 0.2, 0.015, 0.6)))
    bar.set_label("ppm", color="white")
    bar.ax.tick_params(colors="white")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def png(pixels: np.ndarray) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return buffer.getvalue()
