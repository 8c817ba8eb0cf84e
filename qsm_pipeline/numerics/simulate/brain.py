"""The brain: folded cortex, white matter, ventricles, deep nuclei, cerebellum and stem."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, tube, union, without

GREY_MM = 2.7
_CEREBELLAR_GREY_MM = 1.5
_STEP_MM = 0.5


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


def mirrored(points: Tensor) -> Tensor:
    """Return the points with both sides laid on the right one."""
    return torch.stack([points[:, 0].abs(), points[:, 1], points[:, 2]], dim=1)


def hull(points: Tensor, anatomy: Anatomy) -> Hull:
    """Return the smooth outer surfaces of the brain's parts at points in head mm."""
    p = mirrored(points)
    z = points[:, 2]
    upper = ellipsoid(p, (0, -17, 13), (66, 86, 60))
    base = -20 - z - 0.2 * points[:, 1].clamp(-45, 0)
    upper = without(upper, -base, 10.0)
    temporal = ellipsoid(p, (46, -20, -20), (20.5, 43, 25))
    cerebrum = union(upper, temporal, 8.0) + 1.2 * anatomy.bulges(points)
    cerebellum = union(
        ellipsoid(p, (24, -63, -35), (29, 29, 22)), ellipsoid(p, (0, -63, -30), (12, 25, 21)), 8.0
    )
    cerebellum = torch.maximum(cerebellum, 1.5 - cerebrum)  # the tentorium lies between them
    stem = union(
        ellipsoid(p, (0, -22, -9), (17, 13, 13)), ellipsoid(p, (0, -25, -27), (16, 12, 14)), 5.0
    )
    medulla = tube(p, [(0, -30, -36), (0, -42, -62)], [9, 7])
    peduncle = tube(p, [(10, -28, -28), (20, -50, -34)], [7, 6])
    stem = union(union(stem, medulla, 5.0), peduncle, 4.0)
    return Hull(cerebrum, cerebellum, stem)


def cord(points: Tensor) -> Tensor:
    """Return the distance to the spinal cord."""
    return tube(points, [(0, -42, -60), (0, -48, -90), (0, -50, -200)], [6.5, 5.5, 5.5])


def grey_and_white(points: Tensor, inside: Hull, anatomy: Anatomy) -> tuple[Tensor, Tensor]:
    """Return the depth below the pial surface and the depth below the cortex.

    Parameters
    ----------
    points : torch.Tensor, shape (N, 3)
        Head mm.
    inside : Hull
        At these points.
    anatomy : Anatomy
        The person.

    Returns
    -------
    pial, white : torch.Tensor, shape (N,)
        In mm; positive where there is tissue, and where it is white matter.
    """
    pial, white = _cerebrum(points, inside.cerebrum, anatomy)
    small_pial, small_white = _cerebellum(points, inside.cerebellum, anatomy)
    pial, white = torch.maximum(pial, small_pial), torch.maximum(white, small_white)
    return torch.maximum(pial, -inside.stem), torch.maximum(white, -inside.stem)


def _cerebrum(points: Tensor, outside: Tensor, anatomy: Anatomy) -> tuple[Tensor, Tensor]:
    depth = -outside
    # a sulcus runs inwards: its pattern is mostly that of the surface right above
    step = _STEP_MM * torch.eye(3, dtype=points.dtype, device=points.device)
    slope = [(hull(points + step[i], anatomy).cerebrum - outside) / _STEP_MM for i in range(3)]
    normal = torch.nn.functional.normalize(torch.stack(slope, dim=1))
    above = points + 0.6 * depth.clamp(0, 40)[:, None] * normal
    value, steepness = anatomy.folds.with_slope(above)
    gap = value.abs() / (steepness.square() + 0.02).sqrt()
    reach = 13 + 5 * anatomy.depths(above)
    below = (depth - reach).clamp(min=0)
    opening = 0.3 + anatomy.atrophy_mm + 0.7 * torch.exp(-depth.clamp(min=0) / 3)
    sulcus = (gap.square() + below.square()).sqrt() - opening
    sulcus = torch.minimum(sulcus, _fissures(points, anatomy))
    pial = torch.minimum(depth - 0.5, sulcus)
    return pial, pial - GREY_MM - 0.3 * anatomy.edges(points)


def _fissures(points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the distance to the fissure between the hemispheres and to the Sylvian ones."""
    x, y, z = points.unbind(1)
    bend = 1.2 * anatomy.bulges(points)
    swerve = 2.5 * anatomy.depths(points) + anatomy.edges(points)
    callosum = ellipsoid(points * points.new_tensor([0.0, 1.0, 1.0]), (0, -10, 4), (99, 47, 23))
    between = ((x + bend).square() + (-callosum).clamp(min=0).square()).sqrt() - 0.9
    level = 0.925 * (z + 14 + 0.41 * (y - 24)) + swerve
    ends = torch.maximum((y - 27).clamp(min=0), (-44 - y).clamp(min=0))
    side = x.abs()
    lips = (level.square() + (37 - side).clamp(min=0).square() + ends.square()).sqrt() - 0.9
    rims = torch.maximum((level.abs() - 11).clamp(min=0), ends)
    plane = side - 38 + 0.03 * level.square() + 0.4 * swerve
    insula = (plane.square() + rims.square()).sqrt() - 0.6
    fissures = torch.minimum(between, torch.minimum(lips, insula))
    return fissures - 0.5 * anatomy.atrophy_mm


def _cerebellum(points: Tensor, outside: Tensor, anatomy: Anatomy) -> tuple[Tensor, Tensor]:
    depth = -outside
    value, steepness = anatomy.folia.with_slope(points)
    gap = value.abs() / (steepness.square() + 0.1).sqrt()
    below = (depth - 8 - 2 * anatomy.depths(points)).clamp(min=0)
    pial = torch.minimum(depth - 0.5, (gap.square() + below.square()).sqrt() - 0.3)
    return pial, torch.minimum(pial - _CEREBELLAR_GREY_MM, depth - 4)


def ventricles(points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the distance to the ventricles and the aqueduct."""
    p = mirrored(points)
    flat = p * p.new_tensor([1.35, 1.0, 1.0])  # the horns are higher than wide
    body = tube(
        flat,
        [(11, 32, 4), (10, 14, 12), (13, -8, 20), (22, -32, 19), (33, -42, 10), (34, -64, 6)],
        [3.0, 4.2, 3.8, 4.2, 5.5, 1.0],
    )
    horn = tube(flat, [(33, -42, 10), (43, -32, -8), (42, -14, -17)], [4.5, 2.0, 1.2])
    third = ellipsoid(p, (0, -14, 1), (2.0, 13, 9))
    fourth = ellipsoid(p, (0, -42, -31), (6.5, 4.5, 10))
    aqueduct = tube(p, [(0, -26, -4), (0, -33, -14), (0, -40, -26)], [1.0, 0.8, 1.2])
    lateral = union(body, horn, 2.0)
    middle = union(union(third, fourth), aqueduct, 1.0)
    return union(lateral, middle) - 2.0 * anatomy.atrophy_mm + 0.4 * anatomy.edges(points)


def hippocampus(points: Tensor) -> Tensor:
    """Return the distance to amygdala and hippocampus, which are grey matter."""
    path = [(22, -3, -20), (27, -16, -17), (30, -28, -11), (24, -38, -2)]
    return tube(mirrored(points), path, [6.5, 5.0, 4.0, 2.5])


def nuclei(points: Tensor, anatomy: Anatomy) -> dict[str, Tensor]:
    """Return the distance to each deep nucleus, both sides, in the order of painting."""
    rough = anatomy.edges(points)
    crumple = anatomy.folia(points)
    found: dict[str, Tensor] = {}
    for side, sign in enumerate((1.0, -1.0)):
        p = points * points.new_tensor([sign, 1.0, 1.0])
        for name, shape in _NUCLEI.items():
            shift = anatomy.nuclei[name][side].to(points)
            distance = shape(p - shift[:3]) - 4.0 * shift[3]
            distance = distance + (0.7 * crumple if name == "dentate" else 0.5 * rough)
            found[name] = union(found[name], distance) if name in found else distance
    return found


def _caudate(p: Tensor) -> Tensor:
    path = [(12, 20, -1), (13, 16, 5), (14, 6, 13), (17, -8, 20), (22, -24, 19), (28, -35, 9)]
    return tube(p * p.new_tensor([1.2, 1.0, 1.0]), [(1.2 * x, y, z) for x, y, z in path],
                [5.0, 6.6, 5.2, 3.6, 2.6, 1.4])  # fmt: skip


def _dentate(p: Tensor) -> Tensor:
    """Return the distance to a thin crumpled sheet, open towards the midline."""
    sheet = ellipsoid(p, (15, -57, -35), (7.5, 9, 6.5), 20).abs() - 0.9
    return torch.maximum(sheet, 10 - p[:, 0] + 0.2 * (p[:, 1] + 57))


def _nigra(p: Tensor) -> Tensor:
    """Return the distance to a plate that runs outwards and back."""
    return ellipsoid(p, (10, -16.5, -12), (7.5, 3.2, 5.5), -35)


_NUCLEI = {
    "thalamus": lambda p: ellipsoid(p, (12, -18, 8), (9.0, 15.5, 10.0), 25),
    "caudate": _caudate,
    "putamen": lambda p: ellipsoid(p, (25.5, 1, 2), (5.6, 16, 11), 10),
    "pallidum": lambda p: ellipsoid(p, (19, -3, 0), (5.4, 10.5, 7.4), 25),
    "nigra": _nigra,
    "red nucleus": lambda p: ellipsoid(p, (5, -20.5, -9), (3.7, 4.0, 4.6)),
    "dentate": _dentate,
}
