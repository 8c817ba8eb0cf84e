"""Arrays with NIfTI affines to images of SimpleITK, transforms from files, resampling."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from qsm_pipeline.exceptions import BIDSInputError, ConfigError

if TYPE_CHECKING:
    import SimpleITK

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def require_simpleitk() -> None:
    """Raise `ConfigError` with what to do if SimpleITK is not installed."""
    if importlib.util.find_spec("SimpleITK") is None:
        raise ConfigError(
            "Labels that lie in another space than the gradient-echo run need SimpleITK; install "
            "it with pip install 'qsm-pipeline[regions]'"
        )


def to_itk(array: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Return an image of SimpleITK.

    Parameters
    ----------
    array : numpy.ndarray, shape (X, Y, Z)
        Values.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to RAS+ mm, without shear.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = nib.affines.voxel_sizes(affine)
    image.SetSpacing([float(v) for v in spacing])
    image.SetOrigin([float(v) for v in _RAS_TO_LPS @ affine[:3, 3]])
    # ITK refuses directions that are off by more than rounding, so the nearest rotation is taken
    left, _, right = np.linalg.svd(_RAS_TO_LPS @ (affine[:3, :3] / spacing))
    image.SetDirection([float(v) for v in (left @ right).ravel()])
    return image


def read_transform(path: Path, *, invert: bool = False) -> SimpleITK.Transform:
    """Read a transform that ITK, ANTs or fMRIPrep wrote.

    Parameters
    ----------
    path : pathlib.Path
        ``.txt``, ``.tfm``, ``.mat`` or ``.h5``.
    invert : bool
        Return its inverse.

    Raises
    ------
    BIDSInputError
        If the file cannot be read or the transform has no inverse.
    """
    import SimpleITK as sitk

    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise BIDSInputError(
            f"{path} is no transform that ITK can read ({lines[-1].strip()}); expected a file of "
            "ITK, ANTs or fMRIPrep"
        ) from None
    if not invert:
        return transform
    try:
        return transform.GetInverse()
    except RuntimeError:
        raise BIDSInputError(
            f"{path} has no inverse, as it is not linear; give the transform in the other "
            "direction (from-T1w_to-MEGRE)"
        ) from None


def resample_labels(
    labels: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, int, int],
    target_affine: np.ndarray,
    transform: SimpleITK.Transform,
) -> np.ndarray:
    """Return labels on another grid by nearest neighbour.

    Parameters
    ----------
    labels : numpy.ndarray, shape (A, B, C), int
        Labels.
    affine : numpy.ndarray, shape (4, 4)
        Of the labels, voxel to RAS+ mm.
    shape : tuple of int, length 3
        Of the result.
    target_affine : numpy.ndarray, shape (4, 4)
        Of the result.
    transform : SimpleITK.Transform
        From points of the result to points of the labels.

    Returns
    -------
    numpy.ndarray, shape ``shape``, int32
        0 outside the labels.
    """
    import SimpleITK as sitk

    target = to_itk(np.zeros(shape, np.uint8), target_affine)
    moving = to_itk(labels.astype(np.int32), affine)
    moved = sitk.Resample(moving, target, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkInt32)
    return sitk.GetArrayFromImage(moved).T.astype(np.int32)
