"""Brain extraction with deepbet, whose network comes inside its package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur

MAX_TILT_DEG = 5.0
"""Volumes tilted more than this against the scanner are turned upright for the network."""
_BIAS_MM = 30.0
_HEAD_MM = 100.0

MODEL_SHA256 = {
    "data/models/model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    "data/models/bbox_model.pt": (
        "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa"
    ),
}
"""Hashes of the networks of deepbet 1.0.2; they are TorchScript, so nothing else is loaded."""


def brain_mask(magnitude: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the brain found by deepbet.

    The network knows upright heads without shading, so the sensitivity of the coils is levelled
    and an oblique volume is turned upright first.

    Parameters
    ----------
    magnitude : numpy.ndarray, shape (X, Y, Z)
        Magnitude in any unit and orientation.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        Brain, in the voxel order of the input.

    Raises
    ------
    ValueError
        If the volume is too small for a head along two axes or more, the network finds no brain,
        or its file is not the one that was tested.

    References
    ----------
    Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845.
    """
    extent_mm = nib.affines.voxel_sizes(affine) * magnitude.shape
    if (extent_mm < _HEAD_MM).sum() > 1:
        raise ValueError(
            f"deepbet needs a whole head or a slab of one, but the volume measures "
            f"{' x '.join(f'{e:.0f}' for e in extent_mm)} mm, expected at least {_HEAD_MM:.0f} mm "
            "along two axes"
        )
    levelled = level_shading(np.nan_to_num(magnitude).astype(np.float32, copy=False), affine)
    if tilt_deg(affine) <= MAX_TILT_DEG:
        return _run(levelled, affine)
    upright = _upright_affine(levelled.shape, affine)
    there = np.linalg.inv(affine) @ upright
    shape = np.ceil(nib.affines.apply_affine(np.linalg.inv(there), _corners(levelled.shape)))
    turned = ndimage.affine_transform(
        levelled, there[:3, :3], there[:3, 3], tuple(shape.max(axis=0).astype(int) + 1), order=1
    )
    mask = _run(turned, upright).astype(np.float32)
    back = np.linalg.inv(there)
    return ndimage.affine_transform(mask, back[:3, :3], back[:3, 3], levelled.shape, order=1) > 0.5


def level_shading(magnitude: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Divide the magnitude by its own mean within about 30 mm, taken over what is not dark.

    Parameters
    ----------
    magnitude : numpy.ndarray, shape (X, Y, Z)
        Finite.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z)
        About 1 in the head; unchanged if the magnitude is zero everywhere.
    """
    bright = (magnitude > 0.1 * np.percentile(magnitude, 99)).astype(np.float32)
    if not bright.any():
        return magnitude
    share = torch.from_numpy(bright)
    blur = GaussianBlur(Grid.from_affine(magnitude.shape, affine), _BIAS_MM, share)
    mean = blur(torch.from_numpy(magnitude) * share).div_(blur(share).clamp_(min=1e-3)).numpy()
    return magnitude / np.maximum(mean, 0.05 * mean.max())


def tilt_deg(affine: np.ndarray) -> float:
    """Return the largest angle between a voxel axis and the nearest scanner axis, in degrees."""
    cosines = np.abs(affine[:3, :3] / nib.affines.voxel_sizes(affine))
    return float(np.rad2deg(np.arccos(np.clip(cosines.max(axis=0).min(), 0, 1))))


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    return np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)


def _upright_affine(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Return 1 mm voxels along the scanner's axes that start at the corner of the volume."""
    return nib.affines.from_matvec(
        np.eye(3), nib.affines.apply_affine(affine, _corners(shape)).min(axis=0)
    )


def _run(magnitude: np.ndarray, affine: np.ndarray) -> np.ndarray:
    try:
        _, mask, _ = _extractor().run(nib.Nifti1Image(magnitude, affine))
    except (AssertionError, ValueError) as error:
        raise ValueError(f"deepbet found no brain ({error})") from None
    return np.asarray(mask.dataobj) > 0


@cache
def _extractor() -> Any:
    package = distribution("deepbet")
    for name, expected in MODEL_SHA256.items():
        path = Path(str(package.locate_file(name)))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(f"{path} has SHA-256 {found}, expected {expected}; reinstall deepbet")
    from deepbet import BrainExtraction

    return BrainExtraction(no_gpu=True)
