"""Open NIfTI files and compare where they lie."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.files import check_declared_size, file_size, unpacked
from qsm_pipeline.exceptions import BIDSInputError

_AFFINE_TOLERANCE = 1e-3
_SAME_GRID_MM = 1e-2
_MIN_SIDE = 4


def open_image(path: str) -> nib.Nifti1Image:
    """Open a NIfTI file; raise `BIDSInputError` naming it if that fails."""
    file_size(path)
    try:
        return _opened(path)
    except BIDSInputError:
        raise
    except Exception as err:  # nibabel raises many kinds
        raise BIDSInputError(
            f"{path} is not a readable NIfTI file ({_reason(err)}); copy or convert it again"
        ) from err


def _opened(path: str) -> nib.Nifti1Image:
    image: Any = nib.load(path)
    slope = _stored_slope(image)
    if not isinstance(image, nib.Nifti1Image):
        raise BIDSInputError(f"{path} is a {type(image).__name__}, expected NIfTI")
    try:
        length = image.header.get_xyzt_units()[0]
    except KeyError:
        length = f"unit {int(image.header['xyzt_units'])}"
    if length not in ("mm", "unknown"):
        raise BIDSInputError(f"{path}: its header gives lengths in {length}, expected mm")
    if np.isinf(slope):  # nibabel would take it for none
        raise BIDSInputError(f"{path}: the slope of its header is {slope}, expected a number")
    dtype = image.get_data_dtype()
    if dtype.kind == "c":
        raise BIDSInputError(
            f"{path} holds complex numbers; save them as part-real and part-imag, or as "
            "part-phase and part-mag"
        )
    if dtype.kind not in "iuf":
        raise BIDSInputError(f"{path} holds {dtype}, expected integers or floats")
    check_declared_size(path, _declared_bytes(image))
    return image


def has_voxels_of(path: Path, image: Path) -> bool:
    """Return whether an image has the grid of another, by the headers of both."""
    one, other = open_image(str(path)), open_image(str(image))
    same_shape = one.shape[:3] == other.shape[:3]
    return same_shape and bool(np.abs(one.affine - other.affine).max() < _SAME_GRID_MM)


def read_values(image: nib.Nifti1Image) -> np.ndarray:
    """Return the values as float32; raise `BIDSInputError` naming the file if that fails."""
    path = str(image.get_filename())
    try:
        if path.endswith(".gz"):
            image = type(image).from_bytes(unpacked(path, _declared_bytes(image)))
        with np.errstate(over="ignore"):  # what overflows is infinite, and left out
            return np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as err:
        raise BIDSInputError(
            f"{path} is damaged or was cut off ({_reason(err)}); copy or convert it again"
        ) from err


def check_volume(image: nib.Nifti1Image) -> None:
    """Raise `BIDSInputError` unless an image has three axes of some voxels."""
    shape = image.shape
    if len(shape) < 3 or min(shape[:3]) < _MIN_SIDE:
        raise BIDSInputError(
            f"{image.get_filename()} has shape {shape}, expected a volume of at least "
            f"{_MIN_SIDE} voxels along each axis"
        )


def check_same_space(
    image: nib.Nifti1Image, first: nib.Nifti1Image, error: type[Exception]
) -> None:
    """Raise ``error`` if two images differ in shape or place."""
    if image.shape[:3] != first.shape[:3]:
        raise error(
            f"{image.get_filename()} has shape {image.shape[:3]}, but {first.shape[:3]} in "
            f"{first.get_filename()}; they must agree"
        )
    difference = np.abs(image.affine - first.affine).max()
    if not difference <= _AFFINE_TOLERANCE:
        raise error(
            f"{image.get_filename()} lies elsewhere than {first.get_filename()}: their affines "
            f"differ by {difference:.4g} mm, expected at most {_AFFINE_TOLERANCE:g}"
        )


def slope_and_intercept(image: nib.Nifti1Image) -> tuple[float, float]:
    """Return what the stored values are multiplied by, and what is added."""
    proxy = image.dataobj
    if not isinstance(proxy, nib.arrayproxy.ArrayProxy):
        return 1.0, 0.0
    return float(proxy.slope), float(proxy.inter)


def _declared_bytes(image: nib.Nifti1Image) -> int:
    return math.prod(image.shape) * image.get_data_dtype().itemsize


def _reason(error: Exception) -> str:
    """Return the message of another library in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _stored_slope(image: nib.Nifti1Image) -> float:
    """Return the slope as it lies in the file; nibabel hides it once it has used it."""
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        return float(type(image.header).from_fileobj(file, check=False)["scl_slope"])
