"""Find the transform from the space of a run to another image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from qsm_pipeline.external.simpleitk.itk import to_itk

if TYPE_CHECKING:
    import SimpleITK

_SEED = 1  # of the samples, so that a second run gives the same transform
_BINS = 32
_SAMPLES = 30_000  # of each level
_MARGIN_MM = 8.0
_FINEST_MM = 1.5
_COARSER_MM = (8.0, 4.0)


@dataclass(frozen=True)
class Alignment:
    """A transform and how alike the images are under it.

    Parameters
    ----------
    transform : SimpleITK.Transform
        From points of the run to points of the other image.
    mutual_information : float
        Mattes' measure in nats; higher is better.
    """

    transform: SimpleITK.Transform
    mutual_information: float


def align(
    magnitude: np.ndarray,
    affine: np.ndarray,
    brain: np.ndarray,
    other: np.ndarray,
    other_affine: np.ndarray,
    *,
    same_person: bool,
    threads: int = 1,
) -> Alignment:
    """Register another image to a run by mutual information inside the brain.

    Parameters
    ----------
    magnitude : numpy.ndarray, shape (X, Y, Z)
        Of the run.
    affine : numpy.ndarray, shape (4, 4)
        Of the run, voxel to RAS+ mm.
    brain : numpy.ndarray, shape (X, Y, Z), bool
        Mask of the run; only its surroundings are compared, so the other image may have a skull.
    other : numpy.ndarray, shape (A, B, C)
        T1-weighted image of the same person, or a template without its skull.
    other_affine : numpy.ndarray, shape (4, 4)
        Of that image.
    same_person : bool
        Rigid, from the position that the scanner gives both; else affine, from the centres of
        mass.
    threads : int
        For SimpleITK.

    Returns
    -------
    Alignment

    References
    ----------
    Mattes et al. 2003, doi:10.1109/TMI.2003.809072.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    near = ndimage.distance_transform_edt(~brain, voxel) <= _MARGIN_MM
    fixed = _finest(to_itk((magnitude * near).astype(np.float32), affine))
    moving = _finest(to_itk(other.astype(np.float32), other_affine))
    inside = sitk.Resample(
        to_itk(near.astype(np.uint8), affine), fixed, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    if same_person:
        centre = fixed.TransformContinuousIndexToPhysicalPoint([s / 2 for s in fixed.GetSize()])
        rigid = sitk.Euler3DTransform()
        rigid.SetCenter(centre)
        return _linear(fixed, moving, inside, rigid)
    start = sitk.CenteredTransformInitializer(
        sitk.Cast(inside, sitk.sitkFloat32),
        moving,
        sitk.Similarity3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    similar = sitk.Similarity3DTransform(start)
    _linear(fixed, moving, inside, similar)
    general = sitk.AffineTransform(3)
    general.SetCenter(similar.GetCenter())
    general.SetMatrix(similar.GetMatrix())
    general.SetTranslation(similar.GetTranslation())
    return _linear(fixed, moving, inside, general)


def _finest(image: SimpleITK.Image) -> SimpleITK.Image:
    """Return the image with voxels of at least :data:`_FINEST_MM`, smoothed before."""
    import SimpleITK as sitk

    spacing = np.array(image.GetSpacing())
    wanted = np.maximum(spacing, _FINEST_MM)
    if np.allclose(wanted, spacing):
        return image
    sigma = np.sqrt(np.maximum(wanted**2 - spacing**2, 1e-6)) / 2.355
    size = np.maximum(1, np.round(np.array(image.GetSize()) * spacing / wanted)).astype(int)
    smooth = sitk.SmoothingRecursiveGaussian(image, [float(s) for s in sigma])
    return sitk.Resample(
        smooth,
        [int(n) for n in size],
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        [float(v) for v in wanted],
        image.GetDirection(),
        0.0,
        sitk.sitkFloat32,
    )


def _linear(
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
    inside: SimpleITK.Image,
    start: SimpleITK.Transform,
) -> Alignment:
    """Refine a transform, from coarse to fine; it is changed in place."""
    import SimpleITK as sitk

    voxel_mm = min(fixed.GetSpacing())
    shrink = [max(1, round(mm / voxel_mm)) for mm in (*_COARSER_MM, voxel_mm)]
    voxels = int(sitk.GetArrayViewFromImage(inside).sum())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(inside)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(1.0, _SAMPLES * factor**3 / voxels) for factor in shrink]
    method.SetMetricSamplingPercentagePerLevel(shares, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([*(mm / 2 for mm in _COARSER_MM), 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return Alignment(start, -method.GetMetricValue())
