"""The maps of a head on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate import brain as brain_parts
from qsm_pipeline.numerics.simulate import skull
from qsm_pipeline.numerics.simulate.anatomy import Anatomy, random_anatomy
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, occupancy
from qsm_pipeline.numerics.simulate.tissues import TISSUES
from qsm_pipeline.numerics.simulate.veins import paint_veins, vein_segments

_CHUNK = 1 << 16
_TISSUE_BLUR_MM = 0.25
_NEAR_MM = 3.0
_DEEP_GREY = frozenset(("caudate", "putamen", "pallidum", "red nucleus", "nigra", "dentate"))
_COLUMNS = ("chi_ppm", "chi_sd_ppm", "m0", "t1_s", "r2_per_s", "r2prime_per_s", "shift_ppm")


@dataclass(frozen=True)
class Head:
    """Maps of a head on a grid, for 3 T.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility relative to water.
    m0 : torch.Tensor, shape (X, Y, Z)
        Proton density, 1 for water.
    r1_per_s, r2_per_s, r2prime_per_s : torch.Tensor, shape (X, Y, Z)
        Relaxation rates; R2* is the sum of the last two at 3 T.
    shift_ppm : torch.Tensor, shape (X, Y, Z)
        Chemical shift, that of fat.
    labels : torch.Tensor, shape (X, Y, Z), uint8
        See `qsm_pipeline.numerics.simulate.tissues.LABELS`.
    brain : torch.Tensor, shape (X, Y, Z), bool
        Brain with the fluid of its sulci and ventricles, down to the medulla.
    """

    chi_ppm: Tensor
    m0: Tensor
    r1_per_s: Tensor
    r2_per_s: Tensor
    r2prime_per_s: Tensor
    shift_ppm: Tensor
    labels: Tensor
    brain: Tensor


class _Canvas:
    """Layers painted over each other, each covering a share of a voxel."""

    def __init__(self, points: Tensor) -> None:
        air = TISSUES["air"]
        start = points.new_tensor([getattr(air, c) for c in _COLUMNS])
        self.values = start[:, None].repeat(1, len(points))
        self.labels = torch.full((len(points),), air.label, dtype=torch.uint8)
        self.labels = self.labels.to(points.device)

    def paint(
        self, tissue: str, share: Tensor, chi_scale: float = 1.0, label_at: float = 0.5
    ) -> None:
        """Cover ``share`` of each voxel with a tissue."""
        kind = TISSUES[tissue]
        row = share.new_tensor([getattr(kind, c) for c in _COLUMNS])
        row[0] *= chi_scale
        self.values += share * (row[:, None] - self.values)
        self.labels[share > label_at] = kind.label


def simulate_head(
    shape: tuple[int, int, int],
    affine: np.ndarray | Tensor,
    anatomy: Anatomy | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Head:
    """Evaluate a head on a grid.

    Parameters
    ----------
    shape : tuple of int, length 3
        Grid.
    affine : array, shape (4, 4)
        Voxel to scanner RAS+ mm; the brain's middle is near the scanner's origin.
    anatomy : Anatomy, optional
        The person; ``random_anatomy(0)`` if not given.
    device
        Where to compute.

    Returns
    -------
    Head
        Voxels at borders hold the mixture of the tissues that they cover, so the same head on
        different grids differs only by resolution.
    """
    anatomy = anatomy or random_anatomy()
    matrix = torch.as_tensor(np.asarray(affine), dtype=torch.float32)
    voxel_mm = matrix[:3, :3].norm(dim=0)
    blur_mm = math.sqrt(float(voxel_mm.square().mean()) / 12 + _TISSUE_BLUR_MM**2)
    segments = vein_segments(anatomy)
    ends = [anatomy.pose.to_scanner(segments[:, i : i + 3]) for i in (0, 3)]
    veins = paint_veins(torch.cat([*ends, segments[:, 6:]], dim=1), shape, matrix, blur_mm)
    veins = veins.to(device).reshape(-1)
    matrix = matrix.to(device)
    _, ny, nz = shape
    count = math.prod(shape)
    values = torch.empty(len(_COLUMNS), count, device=device)
    labels = torch.empty(count, dtype=torch.uint8, device=device)
    brain = torch.empty(count, dtype=torch.bool, device=device)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        index = torch.arange(part.start, part.stop, device=device)
        voxel = torch.stack([index // (ny * nz), index // nz % ny, index % nz], dim=1).float()
        points = anatomy.pose.to_head(voxel @ matrix[:3, :3].T + matrix[:3, 3])
        canvas, brain[part] = _paint(points, veins[part], anatomy, blur_mm)
        values[:, part], labels[part] = canvas.values, canvas.labels
    chi, _, m0, t1, r2, r2prime, shift = values.reshape(-1, *shape)
    return Head(chi, m0, 1 / t1, r2, r2prime, shift, labels.reshape(shape), brain.reshape(shape))


def _paint(
    points: Tensor, veins: Tensor, anatomy: Anatomy, blur_mm: float
) -> tuple[_Canvas, Tensor]:
    canvas = _Canvas(points)
    in_brain = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    box = torch.tensor(skull.HEAD_BOX_MM).to(points)
    near = ((points > box[:, 0] - 2) & (points < box[:, 1] + 2)).all(1).nonzero()[:, 0]
    if not len(near):
        return canvas, in_brain
    p = points[near]
    local = _Canvas(p)
    hull = brain_parts.hull(p, anatomy)
    inner = skull.intracranial(p, hull)
    for tissue, distance in skull.surroundings(p, inner, anatomy):
        local.paint(tissue, occupancy(distance, blur_mm))
    local.paint("csf", occupancy(inner, blur_mm))
    local.paint("white matter", occupancy(brain_parts.cord(p), blur_mm))
    in_brain[near] = hull.brain < 0
    inside = (hull.brain < _NEAR_MM).nonzero()[:, 0]
    if len(inside):
        _paint_brain(local, p, hull, inside, anatomy, blur_mm)
    # no vein outside the skull's inside; those of the dura run in the fluid around the brain
    local.paint("vein", veins[near] * occupancy(inner, blur_mm), label_at=0.35)
    for lesion in anatomy.lesions:
        distance = ellipsoid(p, lesion.centre_mm, (lesion.radius_mm,) * 3)
        distance = distance + 0.15 * lesion.radius_mm * anatomy.edges(p)
        local.paint(lesion.tissue, occupancy(distance, blur_mm))
    _add_texture(local, p, anatomy)
    canvas.values[:, near], canvas.labels[near] = local.values, local.labels
    return canvas, in_brain


def _paint_brain(
    local: _Canvas,
    p: Tensor,
    hull: brain_parts.Hull,
    inside: Tensor,
    anatomy: Anatomy,
    blur_mm: float,
) -> None:
    q = p[inside]
    parts = brain_parts.Hull(hull.cerebrum[inside], hull.cerebellum[inside], hull.stem[inside])
    canvas = _Canvas(q)
    canvas.values, canvas.labels = local.values[:, inside], local.labels[inside]
    pial, white = brain_parts.grey_and_white(q, parts, anatomy)
    canvas.paint("grey matter", occupancy(-pial, blur_mm))
    canvas.paint("white matter", occupancy(-white, blur_mm))
    canvas.paint("grey matter", occupancy(brain_parts.hippocampus(q), blur_mm))
    for name, distance in brain_parts.nuclei(q, anatomy).items():
        iron = anatomy.iron if name in _DEEP_GREY else 1.0
        canvas.paint(name, occupancy(distance, blur_mm), iron)
    canvas.paint("csf", occupancy(brain_parts.ventricles(q, anatomy), blur_mm))
    local.values[:, inside], local.labels[inside] = canvas.values, canvas.labels


def _add_texture(canvas: _Canvas, p: Tensor, anatomy: Anatomy) -> None:
    chi, chi_sd, m0, t1, r2, r2prime, _ = canvas.values
    texture = 0.7 * anatomy.fine(p) + 0.7 * anatomy.coarse(p)
    chi += chi_sd * texture
    relaxation = anatomy.relaxation(p)
    m0 *= 1 + 0.03 * anatomy.proton(p)
    t1 *= (1 + 0.04 * relaxation + 0.02 * texture).clamp(min=0.5)
    r2 *= 1 + 0.05 * relaxation
    # iron raises both susceptibility and R2'
    r2prime *= (1 + 0.10 * relaxation + 0.15 * texture).clamp(min=0.2)
