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

from qsm_pipeline.bids.load import open_image, read_values
from qsm_pipeline.bids.maps import ppm_per_unit
from qsm_pipeline.bids.naming import OUTPUTS, output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError

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
    """The box around a mask, the size of blocks, and the mask on the small grid."""

    shape: tuple[int, ...]
    box: tuple[slice, ...]
    block: int
    inside: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> _Crop:
        """Return the box with a margin; the whole volume if the mask is empty."""
        where = np.argwhere(mask)
        first, last = np.zeros(3, int), np.array(mask.shape)
        if len(where):
            first = np.maximum(where.min(axis=0) - _MARGIN, 0)
            last = np.minimum(where.max(axis=0) + 1 + _MARGIN, mask.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        block = int(np.ceil((np.prod((last - first).astype(float)) / MAX_VOXELS) ** (1 / 3)))
        return cls(mask.shape, box, block, _block_means(mask[box].astype(np.float32), block) > 0.5)


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
    try:
        mask, _ = _upright(out_dir / output_path(run.entities, "qsm_mask"))
    except BIDSInputError:
        return None
    crop = _Crop.of(mask > 0)
    layers = []
    for name, layer in _LAYERS.items():
        path = out_dir / output_path(run.entities, name)
        scale = 1.0
        if OUTPUTS[name].units == "Hz":
            scale = ppm_per_unit(path, {}, "hz", run.b0_tesla)
        try:
            data = _packed(path, crop, layer, scale)
        except BIDSInputError:  # not every run has every map
            continue
        layers.append(
            {
                "name": name, "label": layer.label, "unit": layer.unit,
                "window": layer.window, "colormap": layer.colormap, "data": data,
            }
        )  # fmt: skip
    if not layers or layers[0]["name"] != "chi":
        return None
    block = crop.block
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


def _packed(path: Path, crop: _Crop, layer: _Layer, scale: float) -> str:
    """Return a volume as base64 of a compressed NIfTI file whose numbers count steps."""
    values, affine = _upright(path)
    if values.shape != crop.shape:
        raise BIDSInputError(f"{path} has shape {values.shape}, expected {crop.shape}")
    start = nib.affines.from_matvec(np.eye(3), [s.start for s in crop.box])
    values = _block_means(values[crop.box] * np.float32(scale), crop.block)
    middle = nib.affines.from_matvec(np.eye(3) * crop.block, [(crop.block - 1) / 2] * 3)
    rounded = np.clip(np.round(values / layer.step), _OUTSIDE + 1, -_OUTSIDE - 1)
    stored = np.where(crop.inside | (not layer.unit), rounded, _OUTSIDE).astype(np.int16)
    small = nib.Nifti1Image(stored, affine @ start @ middle)
    small.header.set_slope_inter(layer.step, 0)
    small.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(small.to_bytes(), 6, mtime=0)).decode()


def _upright(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return values and affine of a map, turned to right, anterior, superior."""
    image = open_image(str(path))
    upright = nib.as_closest_canonical(nib.Nifti1Image(read_values(image), image.affine))
    return np.asanyarray(upright.dataobj), upright.affine


def _block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Average over blocks; what does not fill one at the far ends is left out."""
    if block == 1:
        return values
    shape = [n // block for n in values.shape]
    cut = values[tuple(slice(0, n * block) for n in shape)]
    parts = [size for n in shape for size in (n, block)]
    return np.asarray(cut.reshape(parts).mean(axis=(1, 3, 5)))
