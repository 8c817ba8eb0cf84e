"""Susceptibility maps against the truth, side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.maps import read_mask, read_volume
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.training.logs import draw_planes

DEEP_GREY = (1, 2, 3, 4, 5, 6)
"""Labels of QSM-CI's segmentations."""


def evaluate(
    truth: Path,
    mask: Path,
    maps: Mapping[str, Path],
    out: Path,
    segmentation: Path | None = None,
) -> str:
    """Score maps with QSM-CI's metrics; write ``<out>.tsv`` and ``<out>.png``.

    Parameters
    ----------
    truth, mask : pathlib.Path
        Susceptibility in ppm, and where it counts.
    maps : mapping of str to pathlib.Path
        Maps in ppm by the name of their method.
    out : pathlib.Path
        Path of the table and the figure without their extensions.
    segmentation : pathlib.Path, optional
        Labels of regions in QSM-CI's scheme: adds regional metrics, the mean of every region in
        ppm, and the slope of the deep grey regions' means against the truth's.

    Returns
    -------
    str
        The table as text: a row for each number, a column for each method.

    Raises
    ------
    ConfigError
        If qsm-ci is not installed.
    BIDSInputError
        If the files do not fit together.
    """
    try:
        from qsm_ci.qsm_eval import DSEG_LABELS, score_arrays
    except ImportError:
        raise ConfigError(
            "QSM-CI's metrics are not installed: pip install 'qsm-pipeline[evaluate]'"
        ) from None
    reference = read_volume(truth)
    inside = read_mask(mask, reference)
    labels = None
    if segmentation is not None:
        labels = np.rint(read_volume(segmentation, reference).values).astype(np.int32)
    rows: dict[str, dict[str, float]] = {}
    shown = {"truth": reference.values * inside}
    for name, path in maps.items():
        chi = read_volume(path, reference).values
        scores, _ = score_arrays(
            chi.astype(float), reference.values.astype(float), inside, "chi", labels
        )
        for key, value in scores.items():
            rows.setdefault(key, {})[name] = value
        shown[name] = chi * inside
    if labels is not None:
        rows |= _regions(shown, labels, inside, DSEG_LABELS)
    table = _tsv(rows, tuple(shown))
    write_atomic(out.with_name(out.name + ".tsv"), table.encode())
    centre = tuple(np.median(np.argwhere(inside), axis=0).astype(int))
    figure = draw_planes(shown, centre, reference.grid.voxel_size_mm)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_atomic(out.with_name(out.name + ".png"), picture.getvalue())
    return table


def _regions(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    inside: np.ndarray,
    names: Mapping[int, str],
) -> dict[str, dict[str, float]]:
    """Return the regional means, relative to that of the mask, and the slope of the deep ones."""
    means: dict[int, dict[str, float]] = {}
    for label in np.unique(labels[inside]):
        region = inside & (labels == label)
        if label and region.sum() >= 10:
            means[int(label)] = {
                name: float(chi[region].mean() - chi[inside].mean()) for name, chi in maps.items()
            }
    rows = {f"mean {names.get(label, label)} ppm": row for label, row in means.items()}
    deep = [means[label] for label in DEEP_GREY if label in means]
    if len(deep) > 1:
        true = [row["truth"] for row in deep]
        rows["slope of deep grey regions"] = {
            name: float(np.polyfit(true, [row[name] for row in deep], 1)[0]) for name in maps
        }
    return rows


def _tsv(rows: Mapping[str, Mapping[str, float]], names: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["measure", *names])
    for key, row in rows.items():
        cells = [
            f"{row[name]:.5g}" if np.isfinite(row.get(name, np.nan)) else "n/a" for name in names
        ]
        writer.writerow([key, *cells])
    return text.getvalue()
