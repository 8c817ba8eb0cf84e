"""The brain's surface: hull, folded cortex, foliated cerebellum and the white matter below."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, length, some, tube, union, without

_GREY_MM = 2.7
_CEREBELLAR_GREY_MM = 1.1
_STEP_MM = 0.5
_DEEPEST_MM = 32.0


@dataclass(frozen=True)
class Hull:
    """Signed distances in mm of the brain's parts without their sulci, each of shape (N,)."""

    cerebrum: Tensor
    cerebellum: Tensor
    stem: Tensor

    @property
    def brain(self) -> Tensor:
        """The whole brain down to the medulla."""
        return union(union(self.cerebrum, self.cerebellum), self.stem)

    def at(self, index: Tensor) -> Hull:
        """Return the hull at some of the points."""
        return Hull(self.cerebrum[index], self.cerebellum[index], self.stem[index])


def mirrored(points: Tensor) -> Tensor:
    """Return the points with both sides laid on the right one."""
    return torch.stack([points[:, 0].abs(), points[:, 1], points[:, 2]]).T


def hull(points: Tensor, anatomy: Anatomy) -> Hull:
    """Return the smooth outer surfaces of the brain's parts at points in head mm."""
    p = mirrored(points)
    cerebrum = outer_cerebrum(points, anatomy)
    cerebellum = union(
        ellipsoid(p, (24, -63, -33), (29, 29, 25)), ellipsoid(p, (0, -63, -28), (12, 25, 24)), 8.0
    )
    cerebellum = torch.maximum(cerebellum, 1.5 - cerebrum)  # the tentorium lies between them
    midbrain = union(
        ellipsoid(p, (0, -25, -10), (11, 10, 13)), tube(p, [(8, -22, -20), (14, -14, -4)], [6, 7])
    )
    stem = union(midbrain, ellipsoid(p, (0, -24, -27), (17, 13, 14)), 5.0)
    medulla = tube(p, [(0, -30, -36), (0, -42, -62)], [9, 7])
    peduncle = tube(p, [(10, -28, -28), (20, -50, -34)], [7, 6])
    stem = union(union(stem, medulla, 5.0), peduncle, 4.0)
    return Hull(cerebrum, cerebellum, stem)


def outer_cerebrum(points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the smooth outer surface of the cerebrum alone, as in :func:`hull`."""
    p = mirrored(points)
    upper = ellipsoid(p, (0, -17, 13), (66, 86, 60))
    base = 20 + p[:, 2] + 0.12 * p[:, 1].clamp(-45, 0)
    upper = without(upper, base, 10.0)
    whole = union(upper, ellipsoid(p, (46, -20, -20), (20.5, 43, 25)), 8.0)
    return whole + 1.2 * anatomy.bulges(points)


def cord(points: Tensor) -> Tensor:
    """Return the distance to the spinal cord."""
    return tube(points, [(0, -42, -60), (0, -48, -90), (0, -50, -200)], [6.5, 5.5, 5.5])


def grey_and_white(points: Tensor, outside: Hull, anatomy: Anatomy) -> tuple[Tensor, Tensor]:
    """Return the depth below the pial surface and the depth below the cortex.

    Parameters
    ----------
    points : torch.Tensor, shape (N, 3)
        Head mm.
    outside : Hull
        At these points.
    anatomy : Anatomy
        The person.

    Returns
    -------
    pial, white : torch.Tensor, shape (N,)
        In mm; positive where there is tissue, and where it is white matter.
    """
    pial = _cortex(points, outside.cerebrum, anatomy)
    white = pial - _GREY_MM - 0.3 * anatomy.edges(points)
    near = (outside.cerebellum < 1).nonzero()[:, 0]
    small = _folia(some(points, near), outside.cerebellum[near], anatomy)
    pial[near] = torch.maximum(pial[near], small)
    white[near] = torch.maximum(white[near], small - _CEREBELLAR_GREY_MM)
    return torch.maximum(pial, -outside.stem), torch.maximum(white, -outside.stem)


def _hemispheres(points: Tensor, cerebrum: Tensor, anatomy: Anatomy) -> Tensor:
    """Cut the hull of the cerebrum in halves down to the corpus callosum."""
    flat = points * points.new_tensor([0.0, 1.0, 1.0])
    callosum = ellipsoid(flat, (0, -10, 4), (99, 42, 23))
    between = points[:, 0] + 1.2 * anatomy.bulges(points)
    gap = (between.square() + (-callosum).clamp(min=0).square()).sqrt()
    return torch.maximum(cerebrum, 0.8 + 0.5 * anatomy.atrophy_mm - gap)


def _cortex(points: Tensor, cerebrum: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the depth below the folded surface.

    A sulcus runs inwards from the surface, so its pattern is mostly that of the point above.
    """
    outside = _hemispheres(points, cerebrum, anatomy)
    pial = -outside - 0.5
    fold = ((outside < 2) & (outside > -_DEEPEST_MM)).nonzero()[:, 0]
    p, depth = some(points, fold), -outside[fold]
    slope = []
    for axis in range(3):
        step = [0.0, 0.0, 0.0]
        step[axis] = _STEP_MM
        q = p + p.new_tensor(step)
        slope.append(_hemispheres(q, outer_cerebrum(q, anatomy), anatomy) + depth)
    normal = torch.stack(slope).T
    normal = normal / length(normal).clamp(min=1e-6)[:, None]
    above = p + 0.6 * depth.clamp(min=0)[:, None] * normal
    value, steepness = anatomy.folds.with_slope(above)
    gap = value.abs() / (steepness.square() + 0.02).sqrt()
    below = (depth - 13 - 5 * anatomy.depths(above)).clamp(min=0)
    opening = 0.3 + anatomy.atrophy_mm + 0.7 * torch.exp(-depth.clamp(min=0) / 3)
    sulcus = (gap.square() + below.square()).sqrt() - opening
    pial[fold] = torch.minimum(pial[fold], sulcus)
    return torch.minimum(pial, _sylvian(points, anatomy))


def _sylvian(points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the distance to the Sylvian fissures and the fluid over the insula."""
    x, y, z = points.unbind(1)
    swerve = 2.5 * anatomy.depths(points) + anatomy.edges(points)
    level = 0.925 * (z + 14 + 0.41 * (y - 24)) + swerve
    ends = torch.maximum((y - 27).clamp(min=0), (-44 - y).clamp(min=0))
    side = x.abs()
    lips = (level.square() + (37 - side).clamp(min=0).square() + ends.square()).sqrt() - 0.9
    rims = torch.maximum((level.abs() - 11).clamp(min=0), ends)
    plane = side - 38 + 0.03 * level.square() + 0.4 * swerve
    insula = (plane.square() + rims.square()).sqrt() - 0.6
    return torch.minimum(lips, insula) - 0.5 * anatomy.atrophy_mm


def _folia(points: Tensor, outside: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the depth below the cerebellum's surface, whose folds fan out from its middle."""
    depth = -outside
    y, z = points[:, 1] + 50, points[:, 2] + 33
    radius = (y.square() + z.square()).sqrt()
    angle = torch.atan2(z, y) + 0.12 * anatomy.depths(points) + 0.03 * anatomy.edges(points)
    pial = depth - 0.5
    for count, reach, opening in ((9, 11.0, 0.45), (31, 2.0, 0.2)):
        gap = (count * angle).sin().abs() / count * radius
        below = (depth - reach - 2.0 * anatomy.coarse(points) * (reach > 5)).clamp(min=0)
        pial = torch.minimum(pial, (gap.square() + below.square()).sqrt() - opening)
    return pial
