"""What surrounds the brain: skull, scalp, face, neck and their air."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.brain import Hull, cord, mirrored
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, tube, union

HEAD_BOX_MM = ((-98.0, 98.0), (-132.0, 124.0), (-152.0, 100.0))
"""Extent of every head along its axes, in head mm; the neck is cut off at its lower end."""


def intracranial(points: Tensor, brain: Hull) -> Tensor:
    """Return the distance to the inside of the skull, filled with fluid around the brain."""
    near = union(union(brain.cerebrum, brain.cerebellum, 14.0), brain.stem, 16.0)
    return union(near, cord(points), 6.0) - 1.8


def surroundings(
    points: Tensor, inner: Tensor, skin: Tensor, anatomy: Anatomy
) -> Iterator[tuple[str, Tensor]]:
    """Yield tissue and distance in the order of painting, air first and air last.

    Parameters
    ----------
    points : torch.Tensor, shape (N, 3)
        Head mm.
    inner, skin : torch.Tensor, shape (N,)
        From :func:`intracranial` and :func:`skin`.
    anatomy : Anatomy
        The person.
    """
    p = mirrored(points)
    z = points[:, 2]
    bulge, rough = anatomy.bulges(points), anatomy.edges(points)
    yield "muscle", skin
    # fat lies under the skin and in lobules of face and neck, never within 2 mm of the surface
    lobules = 2.5 * anatomy.coarse(points) + 5.0
    yield "fat", torch.maximum(skin + 2.0, -(skin + 5.0 + bulge + (lobules * (z < -20))))
    yield "fat", ellipsoid(p, (28, 44, -27), (14, 22, 13))
    yield "vitreous", ellipsoid(p, (32, 59, -27), (11.5, 11.5, 11.5))
    shell = inner - 6.5 - 1.2 * bulge
    jaw = tube(p, [(50, 0, -60), (45, 28, -96), (22, 68, -108), (0, 76, -108)], [5, 7, 7, 7])
    teeth = tube(p, [(26, 44, -84), (18, 66, -84), (0, 76, -84)], [5, 5, 5])
    base = ellipsoid(p, (0, -4, -44), (34, 26, 9)) + 2 * rough
    cheek = tube(p, [(60, 4, -48), (50, 44, -44), (30, 66, -42)], [4, 4, 4])
    bone = union(union(jaw, teeth), union(base, cheek))
    air = _cavities(p, points, anatomy)
    bone = union(bone, torch.maximum(air - 1.6, skin + 6.0))
    yield "bone", union(shell, bone)
    diploe = torch.maximum((inner - 3.6 - 0.6 * bulge).abs() - 1.3 - 0.4 * bulge, -z - 5)
    yield "marrow", diploe
    yield "air", torch.maximum(torch.maximum(air, 1.2 - inner), skin + 3.0)
    throat = tube(
        p,
        [(0, 24, -58), (0, 8, -76), (0, 2, -110), (0, 4, -170)],
        [8.0, 7.5, 7.0, 8.5],
    )
    canal = tube(p, [(46, -22, -54), (66, -23, -52), (100, -25, -50)], [4.0, 3.2, 3.6])
    nostril = tube(p, [(8, 60, -58), (8, 84, -62), (8, 108, -74)], [4, 4, 5])
    yield "air", union(throat, torch.maximum(union(canal, nostril), 1.2 - inner))


def skin(points: Tensor, inner: Tensor) -> Tensor:
    """Return the distance to the surface of the head."""
    p = mirrored(points)
    cranium = ellipsoid(p, (0, -17, 14), (81, 101, 75))
    base = ellipsoid(p, (0, -22, -38), (75, 82, 48))
    face = ellipsoid(p, (0, 38, -62), (60, 56, 62))
    nose = ellipsoid(p, (0, 92, -52), (13, 17, 20))
    neck = tube(p, [(0, -24, -60), (0, -32, -200)], [54, 58])
    ear = ellipsoid(p, (80, -34, -42), (5, 15, 27), -20)
    skin = union(union(union(cranium, base, 15.0), face, 22.0), neck, 25.0)
    skin = union(union(skin, nose, 10.0), union(ear, inner - 12.0), 4.0)
    return torch.maximum(skin, HEAD_BOX_MM[2][0] + 3.0 - p[:, 2])


def _cavities(p: Tensor, points: Tensor, anatomy: Anatomy) -> Tensor:
    """Return the distance to the sinuses, the nasal cavity and the air cells of the mastoid."""
    grow = anatomy.pneumatisation
    cells = anatomy.edges(points)
    frontal = ellipsoid(p, (12, 76, -3), (11 * grow, 5 * grow, 11 * grow))
    ethmoid = ellipsoid(p, (8, 46, -31), (6 * grow, 18, 9 * grow)) + 1.2 * cells
    sphenoid = ellipsoid(p, (8, 19, -34), (7.5 * grow, 11 * grow, 9 * grow))
    maxillary = ellipsoid(p, (28, 48, -56), (12 * grow, 15 * grow, 15 * grow))
    nasal = ellipsoid(p, (7, 56, -56), (5.5, 30, 17)) + 1.5 * cells
    mastoid = ellipsoid(p, (58, -40, -58), (9 * grow, 12 * grow, 14 * grow))
    mastoid = torch.maximum(mastoid, 1.8 * cells)  # about half of it is bone
    middle_ear = ellipsoid(p, (45, -22, -54), (5, 5, 6))
    cavities = union(union(frontal, ethmoid), union(sphenoid, maxillary))
    return union(union(cavities, nasal), union(mastoid, middle_ear))
