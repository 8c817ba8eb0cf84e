"""Find the transform from the space of a run to another image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from qsm_pipeline.registration.itk import to_itk

if TYPE_CHECKING:
    import SimpleITK

_SEED = 1  # of the samples, so that a second run gives the same transform
_BINS = 32
_MARGIN_MM = 8.0
_FINEST_MM = 1.5
_CONTROL_MM = 35.0


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
        Rigid, from the position that the scanner gives both; else affine and then deformable, from
        the centres of mass.
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
        sitk.Cast(inside, sitk.sitkFloat32), moving, sitk.Similarity3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )  # fmt: skip
    similar = sitk.Similarity3DTransform(start)
    first = _linear(fixed, moving, inside, similar)
    affine_start = sitk.AffineTransform(3)
    affine_start.SetCenter(similar.GetCenter())
    affine_start.SetMatrix(sitk.Similarity3DTransform(first.transform).GetMatrix())
    affine_start.SetTranslation(sitk.Similarity3DTransform(first.transform).GetTranslation())
    second = _linear(fixed, moving, inside, affine_start)
    return _deformable(fixed, moving, inside, second.transform)


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
        smooth, [int(n) for n in size], sitk.Transform(), sitk.sitkLinear, image.GetOrigin(),
        [float(v) for v in wanted], image.GetDirection(), 0.0, sitk.sitkFloat32,
    )  # fmt: skip


def _method(inside: SimpleITK.Image, share: float) -> SimpleITK.ImageRegistrationMethod:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(inside)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _linear(
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
    inside: SimpleITK.Image,
    start: SimpleITK.Transform,
) -> Alignment:
    method = _method(inside, 0.1)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return Alignment(start, -method.GetMetricValue())


def _deformable(
    fixed: SimpleITK.Image,
    moving: SimpleITK.Image,
    inside: SimpleITK.Image,
    linear: SimpleITK.Transform,
) -> Alignment:
    import SimpleITK as sitk

    extent = [n * v for n, v in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
    cells = [max(2, round(mm / _CONTROL_MM)) for mm in extent]
    spline = sitk.BSplineTransformInitializer(fixed, cells)
    method = _method(inside, 0.05)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-5, numberOfIterations=20,
        maximumNumberOfFunctionEvaluations=25,
    )  # fmt: skip
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([1.0])
    method.SetMovingInitialTransform(linear)
    method.SetInitialTransform(spline, inPlace=True)
    method.Execute(fixed, moving)
    # ITK applies the transform that was added last first
    return Alignment(sitk.CompositeTransform([linear, spline]), -method.GetMetricValue())
