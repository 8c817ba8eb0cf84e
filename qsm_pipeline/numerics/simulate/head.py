"""The maps of a head on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate import brain as brain_parts
from qsm_pipeline.numerics.simulate import skull
from qsm_pipeline.numerics.simulate.anatomy import Anatomy, random_anatomy
from qsm_pipeline.numerics.simulate.nuclei import inner_grey, nuclei, ventricles
from qsm_pipeline.numerics.simulate.shapes import occupancy, some
from qsm_pipeline.numerics.simulate.tissues import TISSUES
from qsm_pipeline.numerics.simulate.veins import lesions, paint_tubes, vein_segments

_CHUNK = 1 << 16
_BORDER_MM = 0.25  # tissues do not end more sharply than this
_POINT_SPREAD = 0.35  # SD in voxels: a box has 0.29, an image from a box in k-space about 0.5
_NEAR_MM = 3.0
_GROOVE_MM = 2.0
_IRON = frozenset(("caudate", "putamen", "pallidum", "red nucleus", "nigra", "dentate"))


@dataclass(frozen=True)
class Head:
    """Maps of a head on a grid, for 3 T.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility relative to water.
    m0 : torch.Tensor, shape (X, Y, Z)
        Proton density, 1 for water.
    r1_per_s, r2star_per_s : torch.Tensor, shape (X, Y, Z)
        Relaxation rates.
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
    r2star_per_s: Tensor
    shift_ppm: Tensor
    labels: Tensor
    brain: Tensor

    def crop(self, box: tuple[slice, slice, slice]) -> Head:
        """Return the maps in a box."""
        return Head(*(getattr(self, field.name)[box] for field in fields(self)))


def simulate_head(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    seed: int = 0,
    *,
    n_lesions: int = 0,
    iron: float | None = None,
    device: torch.device | str = "cpu",
) -> Head:
    """Evaluate the head of a person on a grid.

    Parameters
    ----------
    shape : tuple of int, length 3
        Grid.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner RAS+ mm; the brain's middle is near the scanner's origin.
    seed : int
        Decides the person.
    n_lesions : int
        Number of microbleeds and calcifications.
    iron : float, optional
        Susceptibility of the deep grey matter relative to the table; the person's by default.
    device
        Where to compute.

    Returns
    -------
    Head
        Voxels at borders hold the mixture of the tissues that they cover, so the same head on
        different grids differs only by resolution.
    """
    anatomy = random_anatomy(seed)
    if iron is not None:
        anatomy = replace(anatomy, iron=iron)
    matrix = torch.as_tensor(np.asarray(affine), dtype=torch.float32)
    voxel_mm = matrix[:3, :3].norm(dim=0)
    blur_mm = math.sqrt(_POINT_SPREAD**2 * float(voxel_mm.square().mean()) + _BORDER_MM**2)
    tubes = {"vein": vein_segments(anatomy), **lesions(anatomy, n_lesions)}
    shares = {}
    for tissue, segments in tubes.items():
        ends = [anatomy.pose.to_scanner(segments[:, i : i + 3]) for i in (0, 3)]
        placed = torch.cat([*ends, segments[:, 6:]], dim=1)
        shares[tissue] = paint_tubes(placed, shape, matrix, blur_mm).to(device).reshape(-1)
    matrix = matrix.to(device)
    _, ny, nz = shape
    count = math.prod(shape)
    values = torch.empty(6, count, device=device)
    labels = torch.empty(count, dtype=torch.uint8, device=device)
    brain = torch.empty(count, dtype=torch.bool, device=device)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        index = torch.arange(part.start, part.stop, device=device)
        voxel = torch.stack([index // (ny * nz), index // nz % ny, index % nz]).float()
        points = anatomy.pose.to_head((matrix[:3, :3] @ voxel).T + matrix[:3, 3])
        canvas, brain[part] = _paint(
            points, {tissue: share[part] for tissue, share in shares.items()}, anatomy, blur_mm
        )
        values[:, part], labels[part] = canvas.values, canvas.labels
    chi, _, m0, t1, r2star, shift = values.reshape(-1, *shape)
    return Head(chi, m0, 1 / t1, r2star, shift, labels.reshape(shape), brain.reshape(shape))


class _Canvas:
    """Layers painted over each other, each covering a share of a voxel."""

    def __init__(self, values: Tensor, labels: Tensor) -> None:
        self.values = values
        self.labels = labels

    @classmethod
    def of_air(cls, points: Tensor) -> _Canvas:
        """Return a canvas with nothing on it."""
        air = TISSUES["air"]
        values = points.new_tensor(air[1:])[:, None].repeat(1, len(points))
        return cls(values, torch.full_like(points[:, 0], air.label, dtype=torch.uint8))

    def at(self, index: Tensor) -> _Canvas:
        """Return a copy of some of its voxels."""
        return _Canvas(self.values[:, index], self.labels[index])

    def put(self, index: Tensor, part: _Canvas) -> None:
        """Replace some of its voxels."""
        self.values[:, index], self.labels[index] = part.values, part.labels

    def paint(
        self, tissue: str, share: Tensor, chi_scale: float = 1.0, label_at: float = 0.5
    ) -> None:
        """Cover ``share`` of each voxel with a tissue."""
        kind = TISSUES[tissue]
        row = share.new_tensor(kind[1:])
        row[0] *= chi_scale
        self.values += share * (row[:, None] - self.values)
        self.labels[share > label_at] = kind.label


def _paint(
    points: Tensor, tubes: dict[str, Tensor], anatomy: Anatomy, blur_mm: float
) -> tuple[_Canvas, Tensor]:
    whole = _Canvas.of_air(points)
    in_brain = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    box = torch.tensor(skull.HEAD_BOX_MM).to(points)
    near = ((points > box[:, 0] - 2) & (points < box[:, 1] + 2)).all(1).nonzero()[:, 0]
    if not len(near):
        return whole, in_brain
    p = some(points, near)
    hull = brain_parts.hull(p, anatomy)
    inner = skull.intracranial(p, hull)
    skin = skull.skin(p, inner)
    solid = (skin < _NEAR_MM).nonzero()[:, 0]
    near, p, hull = near[solid], some(p, solid), hull.at(solid)
    inner, skin = inner[solid], skin[solid]
    canvas = whole.at(near)
    for tissue, distance in skull.surroundings(p, inner, skin, anatomy):
        canvas.paint(tissue, occupancy(distance, blur_mm))
    canvas.paint("csf", occupancy(inner, blur_mm))
    canvas.paint("white matter", occupancy(brain_parts.cord(p), blur_mm))
    in_brain[near] = hull.brain < 0
    inside = (hull.brain < _NEAR_MM).nonzero()[:, 0]
    if len(inside):
        part = canvas.at(inside)
        _paint_brain(part, some(p, inside), hull.at(inside), anatomy, blur_mm)
        canvas.put(inside, part)
    # no vein outside the skull; those of the dura press a groove into the bone
    open_to_veins = occupancy(inner - _GROOVE_MM, blur_mm)
    for tissue, share in tubes.items():
        canvas.paint(tissue, share[near] * open_to_veins, label_at=0.35)
    _add_texture(canvas, p, anatomy)
    whole.put(near, canvas)
    return whole, in_brain


def _paint_brain(
    canvas: _Canvas, p: Tensor, hull: brain_parts.Hull, anatomy: Anatomy, blur_mm: float
) -> None:
    pial, white = brain_parts.grey_and_white(p, hull, anatomy)
    canvas.paint("grey matter", occupancy(-pial, blur_mm))
    canvas.paint("white matter", occupancy(-white, blur_mm))
    canvas.paint("grey matter", occupancy(inner_grey(p), blur_mm))
    canvas.paint("csf", occupancy(ventricles(p, anatomy), blur_mm))
    for name, distance in nuclei(p, anatomy):
        iron = anatomy.iron if name in _IRON else 1.0
        canvas.paint(name, occupancy(distance, blur_mm), iron)


def _add_texture(canvas: _Canvas, p: Tensor, anatomy: Anatomy) -> None:
    chi, chi_sd, m0, t1, r2star, _ = canvas.values
    texture = 0.7 * anatomy.fine(p) + 0.7 * anatomy.coarse(p)
    relaxation = anatomy.relaxation(p)
    chi += chi_sd * texture
    m0 *= 1 + 0.03 * anatomy.proton(p)
    t1 *= (1 + 0.04 * relaxation + 0.02 * texture).clamp(min=0.5)
    # iron raises both susceptibility and R2*
    r2star *= (1 + 0.07 * relaxation + 0.07 * texture).clamp(min=0.2)
