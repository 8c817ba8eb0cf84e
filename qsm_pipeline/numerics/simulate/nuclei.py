"""What lies inside the brain: ventricles, deep nuclei, hippocampus and claustrum."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.brain import mirrored
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, tube, union


def ventricles(points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the distance to the ventricles and the aqueduct."""
    p = mirrored(points)
    flat = p * p.new_tensor([1.3, 1.0, 1.0])  # the horns are higher than wide
    body = tube(
        flat,
        [(9, 25, 5), (7, 12, 12), (7.5, -8, 18.5), (18, -29, 19), (33, -42, 10), (34, -66, 6)],
        [3.2, 4.6, 4.2, 4.2, 5.5, 1.0],
    )
    horn = tube(flat, [(33, -42, 10), (46, -31, -7), (43, -12, -16)], [4.5, 2.0, 1.2])
    third = ellipsoid(p, (0, -13, 0), (2.2, 13, 10))
    fourth = ellipsoid(p, (0, -42, -31), (6.5, 4.5, 10))
    aqueduct = tube(p, [(0, -26, -4), (0, -33, -14), (0, -40, -26)], [1.0, 0.8, 1.2])
    lateral = torch.maximum(union(body, horn, 2.0), 0.8 - p[:, 0])  # the septum divides them
    middle = union(union(third, fourth), aqueduct, 1.0)
    return union(lateral, middle) - 2.0 * anatomy.atrophy_mm + 0.4 * anatomy.edges(points)


def inner_grey(points: Tensor) -> Tensor:
    """Return the distance to amygdala, hippocampus, claustrum and the grey of the aqueduct."""
    p = mirrored(points)
    hippocampus = tube(
        p, [(22, -3, -20), (27, -16, -17), (30, -28, -11), (24, -38, -2)], [6.5, 5.0, 4.0, 2.5]
    )
    claustrum = (ellipsoid(p, (25.5, 1, 2), (5.6, 16, 11), 10) - 3.2).abs() - 0.5
    claustrum = torch.maximum(claustrum, 28 - p[:, 0])
    aqueduct = tube(p, [(0, -26, -4), (0, -33, -14)], [3.5, 3.5])
    return union(union(hippocampus, claustrum), aqueduct)


def nuclei(points: Tensor, anatomy: Anatomy) -> Iterator[tuple[str, Tensor]]:
    """Yield tissue and distance of the deep nuclei of both sides, in the order of painting."""
    rough = anatomy.edges(points)
    for side, sign in enumerate((1.0, -1.0)):
        mirror = points * points.new_tensor([sign, 1.0, 1.0])
        for name, shape in _NUCLEI.items():
            shift = anatomy.nuclei[name][side].to(points)
            p = mirror - shift[:3]
            yield name, shape(p) - shift[3] + 0.4 * rough
            if name == "pallidum":  # white lamina between its external and internal parts
                inner = ellipsoid(p, (15.5, -4, -1), (5.5, 9, 7), 28).abs() - 0.35
                yield "white matter", torch.maximum(inner, shape(p))


def _caudate(p: Tensor) -> Tensor:
    """Return the distance to head, body and the tail that curves into the temporal lobe."""
    path = [
        (14, 20, -1),
        (15.5, 16, 5),
        (17, 6, 13),
        (20, -8, 19),
        (26, -25, 19),
        (34, -37, 10),
        (36, -38, 0),
        (40, -28, -7),
        (39, -14, -11),
    ]
    radii = [5.0, 6.4, 5.2, 3.6, 2.6, 1.7, 1.3, 1.2, 1.0]
    return tube(p * p.new_tensor([1.2, 1.0, 1.0]), path, radii)


def _dentate(p: Tensor) -> Tensor:
    """Return the distance to a thin crumpled sheet, open towards the midline and the front."""
    x, y, z = p.unbind(1)
    crumple = 0.9 * (1.5 * x + 0.8 * z).sin() * (1.1 * y - 0.6 * z).sin()
    sheet = (ellipsoid(p, (15, -57, -35), (7.5, 9, 6.5), 20) + crumple).abs() - 0.8
    return torch.maximum(sheet, 10 - x + 0.2 * (y + 57))


def _thalamus(p: Tensor) -> Tensor:
    body = ellipsoid(p, (10.5, -17, 7), (8.3, 14, 9.5), 25)
    return union(body, ellipsoid(p, (15, -27, 6), (8, 7.5, 8)), 5.0)


def _putamen(p: Tensor) -> Tensor:
    front = ellipsoid(p, (23.5, 8, 1), (5.5, 9, 9.5), 10)
    return union(ellipsoid(p, (26.5, -2, 2), (4.8, 15, 9.5), 10), front, 4.0)


_NUCLEI = {
    "thalamus": _thalamus,
    "caudate": _caudate,
    "putamen": _putamen,
    "pallidum": lambda p: ellipsoid(p, (19, -3, 0), (5.4, 10.5, 7.4), 25),
    # a plate that runs outwards and back
    "nigra": lambda p: ellipsoid(p, (10, -16.5, -12), (7.5, 2.6, 5.5), -35),
    "red nucleus": lambda p: ellipsoid(p, (5, -20.5, -9), (3.5, 3.9, 4.5)),
    "dentate": _dentate,
}
