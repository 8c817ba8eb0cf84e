"""The volumes of the interactive viewer, small enough to stand in the page.

They are cut to the brain, turned so that their axes point to right, anterior and superior, rounded
to steps that nobody sees, and stored as NIfTI of 16-bit integers, of which the lowest
means outside of the mask. Of fine scans the layers beside the map are averaged over blocks of
voxels, of very fine ones the map too, so that a page stays small enough to be sent.
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

from qsm_pipeline.bids.images import open_image, read_values
from qsm_pipeline.bids.maps import ppm_per_unit
from qsm_pipeline.bids.naming import OUTPUTS, output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.reports.mosaic import Scale
from qsm_pipeline.reports.palette import PALETTE, lookup

NIIVUE_VERSION = "0.69.0"
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
_MARGIN = 2
_OUTSIDE = -32768
_HEADER_BYTES = 352


@dataclass(frozen=True)
class _Layer:
    """A volume of the viewer.

    Parameters
    ----------
    label : str
        For people.
    step : float
        Rounding, in the unit; 0 for a 250th of the upper end of the window.
    scale : Scale
        Unit, window and colours, those of the figures.
    most : int
        In a box of more voxels than this, blocks of them are averaged.
    masked : bool
        Whether nothing is shown outside of the mask.
    """

    label: str
    step: float
    scale: Scale
    most: int = 1_000_000
    masked: bool = True


@dataclass(frozen=True)
class _Crop:
    """The box around the masks, the size of blocks, and where the map is valid on that grid."""

    shape: tuple[int, ...]
    box: tuple[slice, ...]
    block: int
    inside: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, whole: np.ndarray, most: int) -> _Crop:
        """Return the box of two masks with a margin; the whole volume if they are empty.

        Parameters
        ----------
        mask, whole : numpy.ndarray, bool
            Where the map is valid, and the brain.
        most : int
            Voxels in the box; if there are more, blocks are averaged.
        """
        where = np.argwhere(mask | whole)
        first, last = np.zeros(3, int), np.array(mask.shape)
        if len(where):
            first = np.maximum(where.min(axis=0) - _MARGIN, 0)
            last = np.minimum(where.max(axis=0) + 1 + _MARGIN, mask.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        block = int(np.ceil((np.prod((last - first).astype(float)) / most) ** (1 / 3)))
        return cls(mask.shape, box, block, _block_means(mask[box].astype(np.float32), block) > 0.5)


_LAYERS = {
    "chi": _Layer("Susceptibility", 5e-4, PALETTE["chi"], most=4_000_000),
    "fieldmap_magnitude": _Layer("Magnitude", 0.0, PALETTE["magnitude"], masked=False),
    "local_field": _Layer("Local field", 1e-3, PALETTE["local_field"], most=2_000_000),
    "total_field": _Layer("Total field", 5e-3, PALETTE["total_field"]),
    "uncertainty": _Layer("Uncertainty", 5e-4, PALETTE["uncertainty"]),
    "r2star": _Layer("R2*", 1.0, PALETTE["r2star"]),
}
_MASKS = {
    "brain": ("Outline of the brain mask", "#ff5c5c"),
    "untrusted": ("Not trusted: brain without a valid map", "#4dd2ff"),
}
"""Labels and colours of the overlays made from the masks."""


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
        bytes of a NIfTI file.
    """
    try:
        mask, affine = _upright(out_dir / output_path(run.entities, "qsm_mask"))
    except BIDSInputError:
        return None
    try:
        whole, _ = _upright(out_dir / output_path(run.entities, "brain_mask"))
    except BIDSInputError:
        whole = mask
    valid, brain = mask > 0, whole > 0
    if brain.shape != valid.shape:
        brain = valid
    crops = {most: _Crop.of(valid, brain, most) for most in {x.most for x in _LAYERS.values()}}
    layers, notes = [], []
    for name, layer in _LAYERS.items():
        path = out_dir / output_path(run.entities, name)
        factor, crop = layer.scale.factor, crops[layer.most]
        if OUTPUTS[name].units == "Hz":
            factor = ppm_per_unit(path, {}, "hz", run.b0_tesla)
        try:
            layers.append(_shown(name, layer, *_read(path, crop, factor), crop))
        except BIDSInputError:  # not every run has every map
            continue
        if crop.block > 1:
            notes.append(f"{layer.label}: means of {crop.block}^3 voxels.")
    if not layers or layers[0]["name"] != "chi":
        return None
    whole_grid = crops[_LAYERS["chi"].most]
    for name, inside in {"brain": _outline(brain), "untrusted": brain & ~valid}.items():
        label, _ = _MASKS[name]
        stored = _file_of(
            inside[whole_grid.box].astype(np.int16), affine, whole_grid, 1.0, block=1
        )
        layers.append(
            {
                "name": name,
                "label": label,
                "unit": "",
                "window": (0, 1),
                "colormap": name,
                "data": stored,
            }
        )
    return {"run": run.prefix, "note": " ".join(notes), "layers": layers}


def in_differences(plain: bytes) -> str:
    """Return a volume as base64 of a compressed file, a quarter smaller: viewer.js restores it.

    Behind the header stand the differences of each number to the one before, with the sign as the
    lowest bit, first all low bytes and then all high bytes.

    Parameters
    ----------
    plain : bytes
        A NIfTI file of 16-bit integers.
    """
    header, numbers = plain[:_HEADER_BYTES], np.frombuffer(plain[_HEADER_BYTES:], "<i2")
    steps = np.diff(numbers, prepend=np.int16(0))  # modulo 2^16, as it is undone
    folded = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    planes = folded.view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(gzip.compress(header + planes.tobytes(), 6, mtime=0)).decode()


def viewer_colours() -> dict[str, dict[str, list[int]]]:
    """Return the colour maps of the layers for NiiVue; those for overlays end in ``-over``."""
    colours = {}
    for layer in _LAYERS.values():
        cmap = layer.scale.cmap
        colours[cmap] = lookup(cmap)
        colours[f"{cmap}-over"] = lookup(cmap, overlay=True)
    for name, (_, colour) in _MASKS.items():
        red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
        ends = {"R": [red] * 2, "G": [green] * 2, "B": [blue] * 2, "A": [0, 255], "I": [0, 255]}
        colours[name] = colours[f"{name}-over"] = ends
    return colours


@cache
def niivue_script() -> str:
    """Return the text of NiiVue.

    Raises
    ------
    ValueError
        If the file in the package is not the one that was tested.
    """
    text = (files("qsm_pipeline") / "data" / "niivue" / "niivue.umd.js").read_bytes()
    found = hashlib.sha256(text).hexdigest()
    if found != NIIVUE_SHA256:
        raise ValueError(f"niivue.umd.js has SHA-256 {found}; reinstall qsm-pipeline")
    return text.decode()


@cache
def niivue_packed() -> str:
    """Return NiiVue as base64 of its compressed text."""
    return base64.b64encode(gzip.compress(niivue_script().encode(), 9, mtime=0)).decode()


def _shown(
    name: str, layer: _Layer, values: np.ndarray, affine: np.ndarray, crop: _Crop
) -> dict[str, Any]:
    """Return a layer as the page holds it."""
    window = layer.scale.limits(values)
    step = layer.step or max(window[1], 1e-6) / 250
    rounded = np.clip(np.round(values / step), _OUTSIDE + 1, -_OUTSIDE - 1)
    if layer.masked:
        rounded = np.where(crop.inside, rounded, _OUTSIDE)
    return {
        "name": name,
        "label": layer.label,
        "unit": layer.scale.unit,
        "window": window,
        "colormap": layer.scale.cmap,
        "data": _file_of(rounded.astype(np.int16), affine, crop, step, crop.block),
    }


def _read(path: Path, crop: _Crop, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a map in a box, and the affine of the whole volume."""
    values, affine = _upright(path)
    if values.shape != crop.shape:
        raise BIDSInputError(f"{path} has shape {values.shape}, expected {crop.shape}")
    return _block_means(values[crop.box] * np.float32(factor), crop.block), affine


def _file_of(
    stored: np.ndarray, affine: np.ndarray, crop: _Crop, step: float, block: int
) -> bytes:
    """Return numbers that count steps as a NIfTI file."""
    start = nib.affines.from_matvec(np.eye(3), [s.start for s in crop.box])
    middle = nib.affines.from_matvec(np.eye(3) * block, [(block - 1) / 2] * 3)
    small = nib.Nifti1Image(stored, affine @ start @ middle)
    small.header.set_slope_inter(step, 0)
    small.header.set_xyzt_units("mm")
    return bytes(small.to_bytes())


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask that have a neighbour outside."""
    padded = np.pad(mask, 1)
    core = mask.copy()
    for axis in range(3):
        for step in (-1, 1):
            core &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return mask & ~core


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
