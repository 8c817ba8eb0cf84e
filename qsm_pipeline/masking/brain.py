"""Brain extraction with deepbet, whose network comes inside its package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

MODEL_SHA256 = {
    "data/models/model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    "data/models/bbox_model.pt": (
        "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa"
    ),
}
"""Hashes of the networks of deepbet 1.0.2; they are TorchScript, so nothing else is loaded."""


def brain_mask(magnitude: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the brain found by deepbet.

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
        If the network finds no brain, or its file is not the one that was tested.

    References
    ----------
    Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845.
    """
    image = nib.Nifti1Image(np.asarray(magnitude, np.float32), affine)
    try:
        _, mask, _ = _extractor().run(image)
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
