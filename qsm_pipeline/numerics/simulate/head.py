"""A procedural head: tissue by tissue, in scanner mm, so that any grid images the same head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LABELS = {
    "caudate": 1, "pallidum": 2, "putamen": 3, "red nucleus": 4, "dentate": 5, "nigra": 6,
    "thalamus": 7, "white matter": 8, "grey matter": 9, "csf": 10, "vein": 11, "fat": 12,
    "bone": 13, "air": 14, "muscle": 15,
}  # fmt: skip
"""QSM-CI's label scheme."""

TISSUES = {
    # name: chi in ppm relative to water, M0, R1 in 1/s, R2* in 1/s at 3 T
    "caudate": (0.044, 0.82, 0.70, 20.0),
    "pallidum": (0.131, 0.72, 0.90, 38.0),
    "putamen": (0.038, 0.80, 0.75, 22.0),
    "red nucleus": (0.100, 0.76, 0.85, 32.0),
    "dentate": (0.152, 0.76, 0.80, 30.0),
    "nigra": (0.111, 0.74, 0.90, 35.0),
    "thalamus": (0.020, 0.78, 0.80, 20.0),
    "white matter": (-0.030, 0.70, 1.10, 21.0),
    "grey matter": (0.020, 0.84, 0.65, 16.0),
    "csf": (0.019, 1.00, 0.25, 4.0),
    "vein": (0.280, 0.80, 0.60, 45.0),
    "fat": (0.019, 0.90, 2.70, 40.0),
    "bone": (-2.100, 0.10, 1.00, 300.0),
    "air": (9.200, 0.00, 1.00, 500.0),
    "muscle": (0.000, 0.75, 0.80, 30.0),
}
"""Susceptibilities follow Marques et al. 2021, doi:10.1002/mrm.28716; the rest is rounded."""

# name: centre on the right side (mirrored for the left) and semi-axes in mm
_NUCLEI = {
    "thalamus": ((10, -18, 6), (7, 13, 8)),
    "caudate": ((14, 10, 12), (5, 11, 8)),
    "putamen": ((26, 2, 2), (5, 14, 9)),
    "pallidum": ((19, -2, 0), (4, 8, 6)),
    "red nucleus": ((5, -20, -9), (3.2, 3.5, 4)),
    "nigra": ((10, -17, -13), (5, 3, 3.5)),
    "dentate": ((16, -58, -36), (7, 5, 4)),
}


@dataclass(frozen=True)
class Head:
    """Maps of a head on a grid.

    Parameters
    ----------
    chi_ppm, m0, r1_per_s, r2star_per_s : torch.Tensor, shape (X, Y, Z)
        Susceptibility relative to water, proton density from 0 to 1, relaxation rates.
    labels : torch.Tensor, shape (X, Y, Z), uint8
        See :data:`LABELS`.
    brain : torch.Tensor, shape (X, Y, Z), bool
        Brain with its CSF.
    """

    chi_ppm: Tensor
    m0: Tensor
    r1_per_s: Tensor
    r2star_per_s: Tensor
    labels: Tensor
    brain: Tensor


def simulate_head(position_mm: Tensor, seed: int = 0) -> Head:
    """Evaluate the head at points of scanner space.

    Parameters
    ----------
    position_mm : torch.Tensor, shape (3, X, Y, Z)
        Scanner RAS+ coordinates; the brain's centre is the origin.
    seed : int
        Decides the folding of the cortex, the veins and the texture.

    Returns
    -------
    Head
        Its edges are as sharp as the grid; simulate on a fine grid and average for partial
        volume.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y, z = position_mm
    wobble = 3.0 * _waves(position_mm, 40.0, 12, generator)
    folds = _waves(position_mm, 14.0, 60, generator)
    # level below 1 is inside; one unit of level is about 70 mm
    brain_level = _ellipsoid(x, y, z, (0, 0, 0), (68, 84, 62)) + wobble / 70
    depth_mm = 70 * (1 - brain_level)
    cerebellum = _ellipsoid(x, y, z, (0, -50, -42), (46, 30, 22)) < 1
    stem = _ellipsoid(x, y, z, (0, -22, -48), (14, 13, 42)) < 1
    brain = (brain_level < 1) & (z > -48) | cerebellum | stem
    label = torch.full(x.shape, LABELS["air"], dtype=torch.uint8)

    def paint(where: Tensor, name: str) -> None:
        label[where] = LABELS[name]

    scalp = _ellipsoid(x, y, z, (0, 0, 0), (84, 101, 79)) < 1
    neck = ((x / 62) ** 2 + ((y + 15) / 65) ** 2 < 1) & (z < 0)
    face = _ellipsoid(x, y, z, (0, 48, -50), (56, 52, 48)) < 1
    paint(scalp | neck | face, "muscle")
    rim = _ellipsoid(x, y, z, (0, 0, 0), (80, 97, 75)) < 1
    paint(scalp & ~rim & (z > -25), "fat")
    paint((_ellipsoid(x, y, z, (0, 0, 0), (77, 94, 71)) < 1) & (z > -52), "bone")
    for centre, size in (
        ((0, 86, -14), (15, 6, 9)),  # frontal sinus
        ((0, 62, -46), (15, 20, 10)),  # ethmoid and nasal cavity
        ((0, 32, -52), (11, 11, 8)),  # sphenoid sinus
        ((58, -18, -52), (14, 7, 7)),  # ear canals and mastoids
        ((-58, -18, -52), (14, 7, 7)),
        ((0, 60, -70), (12, 30, 14)),  # mouth and airway
    ):
        paint(_ellipsoid(x, y, z, centre, size) < 1, "air")
    inner = _ellipsoid(x, y, z, (0, 0, 0), (70.5, 86.5, 64.5)) + wobble / 70 < 1
    paint(inner & (z > -48) | brain, "csf")
    tissue = brain & ((depth_mm > 2 + 5 * folds.clamp(min=0)) | cerebellum | stem)
    paint(tissue, "grey matter")
    paint(brain & (depth_mm > 6 + 9 * folds.clamp(min=-0.2)), "white matter")
    paint(_ellipsoid(x, y, z, (0, -50, -42), (36, 22, 14)) < 1, "white matter")
    paint(stem & (z < -10), "white matter")
    for side in (-1, 1):
        paint(_ellipsoid(side * x, y, z, (7, 2, 16), (5, 30, 7)) < 1, "csf")
        for name, (centre, size) in _NUCLEI.items():
            shape = _ellipsoid(side * x, y, z, centre, size) + 0.15 * folds
            paint(shape < 1, name)
    deep = brain & (depth_mm > 3)
    paint(deep & _veins(position_mm, generator), "vein")
    maps = []
    for column in range(4):
        table = torch.zeros(16)
        for name, values in TISSUES.items():
            table[LABELS[name]] = values[column]
        maps.append(table[label.long()])
    chi, m0, r1, r2star = maps
    texture = _waves(position_mm, 9.0, 40, generator) + _waves(position_mm, 25.0, 20, generator)
    chi = torch.where(brain, chi + 0.006 * texture, chi)
    m0 = m0 * (1 + 0.03 * _waves(position_mm, 12.0, 30, generator))
    return Head(chi, m0, r1, r2star, label, brain | (inner & (z > -48)))


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor, centre: tuple, size: tuple) -> Tensor:
    return (
        ((x - centre[0]) / size[0]) ** 2
        + ((y - centre[1]) / size[1]) ** 2
        + ((z - centre[2]) / size[2]) ** 2
    ).sqrt()


def _waves(position_mm: Tensor, wavelength_mm: float, count: int, g: torch.Generator) -> Tensor:
    """Return a smooth random function of place with unit variance."""
    total = torch.zeros(position_mm.shape[1:])
    for _ in range(count):
        direction = torch.randn(3, generator=g)
        length = wavelength_mm * (0.75 + 0.5 * float(torch.rand(1, generator=g)))
        k = 2 * torch.pi / length * direction / direction.norm()
        phase = 2 * torch.pi * float(torch.rand(1, generator=g))
        total += torch.sin(torch.einsum("c,cxyz->xyz", k, position_mm) + phase)
    return total * (2 / count) ** 0.5


def _veins(position_mm: Tensor, generator: torch.Generator) -> Tensor:
    """Return thin tubes where two smooth random functions are both near zero."""
    first = _waves(position_mm, 35.0, 8, generator)
    second = _waves(position_mm, 35.0, 8, generator)
    return first.square() + second.square() < 0.006
