"""The volumes of the interactive viewer, small enough to stand in the page.

They are cut to the brain, turned so that their axes point to right, anterior and superior, rounded
to steps that nobody sees, and stored as compressed NIfTI of 16-bit integers, of which the lowest
means outside of the mask. Very fine scans are averaged over blocks of voxels.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.maps import ppm_per_unit
from qsm_pipeline.bids.naming import OUTPUTS, output_path
from qsm_pipeline.bids.run import GreRun

NIIVUE_VERSION = "0.69.0"
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
MAX_VOXELS = 4_000_000
"""A brain of more voxels than this is averaged over blocks."""

_MARGIN = 2
_OUTSIDE = -32768


@dataclass(frozen=True)
class _Layer:
    label: str
    unit: str
    step: float
    window: tuple[float, float]
    colormap: str


@dataclass(frozen=True)
class _Crop:
    """The box, the block size, and where the map is valid on the small grid."""

    box: tuple[slice, ...]
    block: int
    inside: np.ndarray


_LAYERS = {
    "chi": _Layer("Susceptibility", "ppm", 5e-4, (-0.1, 0.1), "gray"),
    "local_field": _Layer("Local field", "ppm", 5e-4, (-0.05, 0.05), "blue2red"),
    "total_field": _Layer("Total field", "ppm", 5e-3, (-1.0, 1.0), "blue2red"),
    "uncertainty": _Layer("Uncertainty", "ppm", 5e-4, (0.0, 0.01), "magma"),
    "r2star": _Layer("R2*", "1/s", 0.5, (0.0, 60.0), "inferno"),
    "brain_mask": _Layer("Brain mask", "", 1.0, (0.0, 1.0), "red"),
}


def viewer_volumes(run: GreRun, out_dir: Path) -> dict[str, Any] | None:
    """Return what the viewer shows of a run, None where there is no map.

    Parameters
    ----------
    run : GreRun
        The run.
    out_dir : pathlib.Path
        Derivatives data set.

    Returns
    -------
    dict, optional
        ``run``, ``note`` and ``layers``: name, label, unit, window, colormap, and the volume as
        base64 of a compressed NIfTI file.
    """
    paths = {name: out_dir / output_path(run.entities, name) for name in _LAYERS}
    mask_path = out_dir / output_path(run.entities, "qsm_mask")
    if not (paths["chi"].is_file() and mask_path.is_file()):
        return None
    mask = nib.as_closest_canonical(nib.load(mask_path))
    inside = np.asanyarray(mask.dataobj) > 0
    box = _box(inside)
    block = _block_size(box)
    crop = _Crop(box, block, _block_means(inside[box].astype(np.float32), block) > 0.5)
    layers = []
    for name, path in paths.items():
        if path.is_file():
            layer = _LAYERS[name]
            scale = 1.0
            if OUTPUTS[name].units == "Hz":
                scale = ppm_per_unit(path, {}, "hz", run.b0_tesla)
            layers.append(
                {
                    "name": name, "label": layer.label, "unit": layer.unit,
                    "window": layer.window, "colormap": layer.colormap,
                    "data": _packed(path, crop, layer, scale),
                }
            )  # fmt: skip
    note = "" if block == 1 else f"Means of blocks of {block} x {block} x {block} voxels."
    return {"run": run.prefix, "note": note, "layers": layers}


@cache
def niivue_packed() -> str:
    """Return NiiVue as base64 of its compressed text.

    Raises
    ------
    ValueError
        If the file in the package is not the one that was tested.
    """
    text = (files("qsm_pipeline") / "data" / "niivue" / "niivue.umd.js").read_bytes()
    found = hashlib.sha256(text).hexdigest()
    if found != NIIVUE_SHA256:
        raise ValueError(f"niivue.umd.js has SHA-256 {found}; reinstall qsm-pipeline")
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box around a mask with a margin; the whole volume if it is empty."""
    where = np.argwhere(mask)
    if not len(where):
        return tuple(slice(0, n) for n in mask.shape)
    first = np.maximum(where.min(axis=0) - _MARGIN, 0)
    last = np.minimum(where.max(axis=0) + 1 + _MARGIN, mask.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _block_size(box: tuple[slice, ...]) -> int:
    voxels = np.prod([float(s.stop - s.start) for s in box])
    return int(np.ceil((voxels / MAX_VOXELS) ** (1 / 3) - 1e-9))


def _packed(path: Path, crop: _Crop, layer: _Layer, scale: float) -> str:
    """Return a volume as base64 of a compressed NIfTI file whose numbers count steps."""
    image = nib.as_closest_canonical(nib.load(path)).slicer[crop.box]
    values = np.asanyarray(image.dataobj).astype(np.float32) * np.float32(scale)
    values = _block_means(values, crop.block)
    middle = nib.affines.from_matvec(np.eye(3) * crop.block, [(crop.block - 1) / 2] * 3)
    rounded = np.clip(np.round(values / layer.step), _OUTSIDE + 1, -_OUTSIDE - 1)
    stored = np.where(crop.inside | (not layer.unit), rounded, _OUTSIDE).astype(np.int16)
    small = nib.Nifti1Image(stored, image.affine @ middle)
    small.header.set_slope_inter(layer.step, 0)
    small.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(small.to_bytes(), 6, mtime=0)).decode()


def _block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Average over blocks; what does not fill one at the far ends is left out."""
    if block == 1:
        return values
    shape = [n // block for n in values.shape]
    cut = values[tuple(slice(0, n * block) for n in shape)]
    parts = [size for n in shape for size in (n, block)]
    return np.asarray(cut.reshape(parts).mean(axis=(1, 3, 5)))
