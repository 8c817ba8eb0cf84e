"""Veins: dural sinuses, deep veins, and random trees in the cortex and the white matter."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.brain import outer_cerebrum

_MAX_SEGMENT_MM = 6.0
_CHUNK = 1 << 16  # voxels of tubes at a time

# paths in head mm with radii; those off the midline are on the right and mirrored
_NAMED = (
    ([(0, -36, 6), (0, -64, -4), (0, -97, -8)], [1.6, 1.8, 2.4]),  # Galen and straight sinus
    ([(2.5, -34, 7), (2.5, -16, 13), (3, 4, 14)], [1.2, 0.9, 0.7]),  # internal cerebral
    ([(3, 4, 14), (12, -2, 18), (19, -14, 21)], [0.7, 0.6, 0.4]),  # thalamostriate
    ([(3, 4, 14), (6, 18, 10), (9, 32, 9)], [0.6, 0.5, 0.3]),  # septal
    ([(2, -36, 5), (14, -26, -6), (16, -8, -14), (22, 2, -16)], [1.1, 0.9, 0.7, 0.5]),  # basal
    (
        [(0, -103, -8), (30, -97, -12), (52, -78, -18), (61, -54, -24), (54, -42, -44)],
        [3.2, 3.4, 3.4, 3.2, 3.4],
    ),  # transverse and sigmoid sinus
    ([(44, -6, 12), (52, -22, 20), (48, -40, 44), (20, -44, 70)], [0.8, 1.0, 1.2, 1.3]),
)


def vein_segments(anatomy: Anatomy) -> Tensor:
    """Return straight pieces of vein, shape (S, 8): two ends in head mm, two radii."""
    g = torch.Generator().manual_seed(anatomy.seed + 7919)
    pieces: list[Tensor] = []
    for path, radii in _NAMED:
        for side in (1.0, -1.0) if path[-1][0] else (1.0,):
            corners = torch.tensor([(side * x, y, z) for x, y, z in path])
            corners = corners + 0.8 * torch.randn(corners.shape, generator=g)
            pieces.append(_pieces(corners[None], torch.tensor([radii])))
    turn = torch.linspace(math.radians(10), math.radians(192), 40)
    top = torch.stack([0.8 * torch.sin(3 * turn), -17 + 87 * turn.cos(), 13 + 61 * turn.sin()], 1)
    pieces.append(_pieces(_to_depth(top[None], -1.0, anatomy), torch.linspace(1.2, 3.8, 40)[None]))
    pieces += [_medullary(anatomy, g), _cortical(anatomy, g), _penetrating(anatomy, g)]
    return torch.cat(pieces)


def lesions(anatomy: Anatomy, count: int) -> dict[str, Tensor]:
    """Return round microbleeds and calcifications, tissue to tubes of no length."""
    g = torch.Generator().manual_seed(anatomy.seed + 31337)
    centre = torch.randn(count, 3, generator=g).clamp(-1.5, 1.5) * torch.tensor([25.0, 32.0, 20.0])
    centre = centre + torch.tensor([0.0, -17.0, 15.0])
    radius = 1.0 + 1.5 * torch.rand(count, 1, generator=g)
    tubes = torch.cat([centre, centre, radius, radius], dim=1)
    return {"microbleed": tubes[::2], "calcification": tubes[1::2]} if count else {}


def paint_tubes(
    segments_mm: Tensor, shape: tuple[int, int, int], affine: Tensor, blur_mm: float
) -> Tensor:
    """Return the share of each voxel that lies in one of the tubes.

    Parameters
    ----------
    segments_mm : torch.Tensor, shape (S, 8)
        In the same space as the affine's output.
    shape : tuple of int, length 3
        Grid.
    affine : torch.Tensor, shape (4, 4)
        Voxel to mm.
    blur_mm : float
        Point spread (SD) of a voxel.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        From 0 to 1; a tube thinner than a voxel keeps its volume.
    """
    share = torch.zeros(math.prod(shape), dtype=segments_mm.dtype)
    inverse = torch.linalg.inv(affine[:3, :3])
    ends = torch.stack([segments_mm[:, :3], segments_mm[:, 3:6]], dim=1)
    reach_mm = segments_mm[:, 6:8].amax(1) + 3 * blur_mm
    voxels = (ends - affine[:3, 3]) @ inverse.T
    reach = reach_mm[:, None] * inverse.norm(dim=1)
    low = (voxels.amin(1) - reach).ceil().long().clamp(min=0)
    high = torch.minimum((voxels.amax(1) + reach).floor().long(), torch.tensor(shape) - 1)
    visible = (high >= low).all(1)
    tubes, low, size = segments_mm[visible], low[visible], (high - low + 1)[visible]
    before = size.prod(1).cumsum(0) - size.prod(1)
    for some in torch.arange(len(tubes)).split((before // _CHUNK).bincount().tolist()):
        box, voxel = _voxels_of_boxes(low[some], size[some])
        place = affine[:3, :3] @ voxel.to(share) + affine[:3, 3:]
        found = _tube_share(*_gap_and_radius(place, tubes[some][box].T), blur_mm)
        index = (voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2]
        share.scatter_reduce_(0, index, found, "amax")
    return share.reshape(shape)


def _voxels_of_boxes(low: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return box, shape (N,), and index, shape (3, N), of all voxels of boxes, shapes (B, 3)."""
    count = size.prod(1)
    box = torch.repeat_interleave(count)
    number = torch.arange(len(box)) - (count.cumsum(0) - count)[box]
    ny, nz = size[box, 1], size[box, 2]
    inside = torch.stack([number // (ny * nz), number // nz % ny, number % nz])
    return box, inside + low.T[:, box]


def _gap_and_radius(place: Tensor, tube: Tensor) -> tuple[Tensor, Tensor]:
    """Return distance to the axis, and radius there, of a tube, shape (8, N), for each place."""
    start, along = tube[:3], tube[3:6] - tube[:3]
    offset = place - start
    t = ((offset * along).sum(0) / along.square().sum(0).clamp(min=1e-6)).clamp(0, 1)
    gap = (offset - t * along).square().sum(0).sqrt()
    return gap, tube[6] + t * (tube[7] - tube[6])


def _tube_share(gap: Tensor, radius: Tensor, blur_mm: float) -> Tensor:
    """Return the blurred cross-section of a tube.

    Exact on the axis; off it, a profile whose integral is the tube's within 6 % for any radius.
    """
    peak = 1 - torch.exp(-(radius.square() / (2 * blur_mm**2)))
    half = radius.square() / (radius.square() + blur_mm**2 / 2).sqrt()
    spread = math.sqrt(2) * blur_mm
    across = torch.erf((gap + half) / spread) - torch.erf((gap - half) / spread)
    return peak * across / (2 * torch.erf(half / spread))


def _pieces(corners: Tensor, radii: Tensor) -> Tensor:
    """Cut paths, shape (P, M, 3) with radii (P, M), into short straight pieces."""
    ends = torch.cat([corners[:, :-1], corners[:, 1:]], dim=2).reshape(-1, 6)
    sizes = torch.stack([radii[:, :-1], radii[:, 1:]], dim=2).reshape(-1, 2)
    parts = max(
        1, math.ceil(float((ends[:, 3:] - ends[:, :3]).norm(dim=1).max()) / _MAX_SEGMENT_MM)
    )
    cuts = torch.linspace(0, 1, parts + 1)
    out = []
    for a, b in pairwise(cuts.tolist()):
        start, stop = ends[:, :3], ends[:, 3:]
        first, last = start + a * (stop - start), start + b * (stop - start)
        width = sizes[:, 1] - sizes[:, 0]
        thick = torch.stack([sizes[:, 0] + a * width, sizes[:, 0] + b * width], dim=1)
        out.append(torch.cat([first, last, thick], dim=1))
    return torch.cat(out)


def _normals(points: Tensor, anatomy: Anatomy) -> tuple[Tensor, Tensor]:
    step = torch.cat([torch.zeros(1, 3), 0.5 * torch.eye(3)])
    moved = (points + step[:, None]).reshape(-1, 3).T.contiguous().T
    distance, *stepped = outer_cerebrum(moved, anatomy).reshape(4, -1)
    slope = (torch.stack(stepped, dim=1) - distance[:, None]) / 0.5
    return distance, torch.nn.functional.normalize(slope)


def _to_depth(paths: Tensor, depth_mm: float | Tensor, anatomy: Anatomy) -> Tensor:
    """Move points along the surface normal until they lie ``depth_mm`` below the surface."""
    points = paths.reshape(-1, 3)
    for _ in range(3):
        distance, normal = _normals(points, anatomy)
        points = points - (distance + depth_mm)[:, None] * normal
    return points.reshape(paths.shape)


def _walk(
    start: Tensor, heading: Tensor, steps: int, step_mm: float, wander: float, g: torch.Generator
) -> Tensor:
    """Return random paths, shape (P, steps + 1, 3)."""
    path, heading = [start], torch.nn.functional.normalize(heading)
    for _ in range(steps):
        turn = wander * torch.randn(heading.shape, generator=g)
        heading = torch.nn.functional.normalize(heading + turn)
        path.append(path[-1] + step_mm * heading)
    return torch.stack(path, dim=1)


def _medullary(anatomy: Anatomy, g: torch.Generator) -> Tensor:
    """Fan of fine veins from the walls of the lateral ventricles into the white matter."""
    count = 110
    y = 30 - 70 * torch.rand(count, generator=g)
    side = torch.where(torch.rand(count, generator=g) < 0.5, -1.0, 1.0)
    away = torch.stack(
        [
            side * (0.5 + torch.rand(count, generator=g)),
            0.5 * torch.randn(count, generator=g),
            0.1 + torch.rand(count, generator=g),
        ],
        dim=1,
    )
    arch = 12 + 10 * torch.exp(-((y + 12) / 28).square())
    start = torch.stack([side * (16 + 0.08 * (30 - y)), y, arch], dim=1)
    paths = _walk(start, away, 6, 4.5, 0.12, g)
    width = 0.25 + 0.25 * torch.rand(count, 1, generator=g)
    return _pieces(paths, width * torch.linspace(1, 0.4, 7))


def _cortical(anatomy: Anatomy, g: torch.Generator) -> Tensor:
    """Veins on the surface that run up to the sagittal sinus."""
    count = 44
    y = 60 - 145 * torch.rand(count, generator=g)
    side = torch.where(torch.rand(count, generator=g) < 0.5, -1.0, 1.0)
    start = torch.stack([side * 62, y, 5 + 35 * torch.rand(count, generator=g)], dim=1)
    heading = torch.stack(
        [-side * 0.7, 0.4 * torch.randn(count, generator=g), torch.full((count,), 1.0)], dim=1
    )
    path = [_to_depth(start, 0.8, anatomy)]
    for _ in range(11):
        _, normal = _normals(path[-1], anatomy)
        heading = heading + 0.35 * torch.randn(heading.shape, generator=g)
        heading[:, 0] -= 0.25 * side * (path[-1][:, 0].abs() > 6)
        heading = heading - (heading * normal).sum(1, keepdim=True) * normal
        heading = torch.nn.functional.normalize(heading)
        path.append(_to_depth(path[-1] + 6.0 * heading, 0.8, anatomy))
    width = 0.5 + 0.5 * torch.rand(count, 1, generator=g)
    return _pieces(torch.stack(path, dim=1), width * torch.linspace(0.6, 1.4, 12))


def _penetrating(anatomy: Anatomy, g: torch.Generator) -> Tensor:
    """Veins that go down from the surface through sulci and cortex."""
    count = 260
    away = torch.randn(count, 3, generator=g)
    away[:, 2] = away[:, 2].abs() - 0.3
    start = torch.nn.functional.normalize(away) * torch.tensor([62.0, 82.0, 56.0])
    start = _to_depth(start + torch.tensor([0.0, -17.0, 13.0]), 0.5, anatomy)
    _, normal = _normals(start, anatomy)
    paths = _walk(start, -normal, 5, 4.0, 0.2, g)
    width = 0.25 + 0.3 * torch.rand(count, 1, generator=g)
    return _pieces(paths, width * torch.linspace(1, 0.5, 6))
