"""Susceptibility maps against the truth, side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qsm_pipeline.bids.derivatives import write_atomic, write_json
from qsm_pipeline.bids.maps import read_mask, read_volume, sidecar_beside
from qsm_pipeline.exceptions import BIDSInputError, ConfigError
from qsm_pipeline.training.logs import draw_planes, png

UNITS = {
    "nrmse": "%",
    "nrmse_detrend": "%",
    "hfen": "%",
    "correlation": "1",
    "xsim": "1",
    "coverage": "1",
}
"""Units of QSM-CI's measures; a mean says its own."""
DEEP_GREY = (1, 2, 3, 4, 5, 6)
"""Labels of QSM-CI's segmentations."""


def evaluate(
    truth: Path,
    mask: Path | None,
    maps: Mapping[str, Path],
    out: Path,
    segmentation: Path | None = None,
) -> str:
    """Score maps with QSM-CI's metrics; write table, units and figure.

    Parameters
    ----------
    truth : pathlib.Path
        Susceptibility, such as ``derivatives/truth/sub-*/anat/*_Chimap.nii.gz`` of the simulator.
    mask : pathlib.Path, optional
        Where it counts; ``*_desc-brain_mask.nii.gz`` beside the truth by default.
    maps : mapping of str to pathlib.Path
        Maps by the name of their method. All are in ppm, unless the JSON file beside one says ppb.
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
        If qsm-ci is not installed, or there is no mask.
    BIDSInputError
        If the files do not fit together, or a map has another unit.
    """
    try:
        from qsm_ci.qsm_eval import DSEG_LABELS, score_arrays
    except ImportError:
        raise ConfigError(
            "QSM-CI's metrics are not installed: pip install 'qsm-pipeline[evaluate]'"
        ) from None
    reference = read_volume(truth)
    true_ppm = reference.values * _to_ppm(truth)
    inside = read_mask(mask or _mask_beside(truth), reference)
    labels = None
    if segmentation is not None:
        labels = np.rint(read_volume(segmentation, reference).values).astype(np.int32)
    rows: dict[str, dict[str, float]] = {}
    shown = {"truth": true_ppm * inside}
    for name, path in maps.items():
        chi = read_volume(path, reference).values * _to_ppm(path)
        scores, _ = score_arrays(chi.astype(float), true_ppm.astype(float), inside, "chi", labels)
        for key, value in scores.items():
            rows.setdefault(key, {})[name] = value
        shown[name] = chi * inside
    if labels is not None:
        rows |= _regions(shown, labels, inside, DSEG_LABELS)
    table = _tsv(rows, tuple(shown))
    write_atomic(out.with_name(out.name + ".tsv"), table.encode())
    units = {"measure": {"Units": {key: unit for key, unit in UNITS.items() if key in rows}}}
    write_json(out.with_name(out.name + ".json"), units)
    centre = tuple(np.median(np.argwhere(inside), axis=0).astype(int))
    planes = draw_planes(shown, centre, reference.grid.voxel_size_mm)
    write_atomic(out.with_name(out.name + ".png"), png(planes))
    return table


def _mask_beside(truth: Path) -> Path:
    """Return the brain mask of the simulator, or of the pipeline, that belongs to a map."""
    name, found, _ = truth.name.partition("_Chimap.nii")
    mask = truth.with_name(f"{name}_desc-brain_mask.nii.gz")
    if not found or not mask.is_file():
        raise ConfigError(f"there is no {mask.name} beside {truth}; give --mask")
    return mask


def _to_ppm(path: Path) -> np.float32:
    unit = str(sidecar_beside(path).get("Units", "ppm"))
    if unit not in ("ppm", "ppb"):
        raise BIDSInputError(f"{path}: Units in the JSON file beside it is {unit!r}, expected ppm")
    return np.float32(1e-3 if unit == "ppb" else 1.0)


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
