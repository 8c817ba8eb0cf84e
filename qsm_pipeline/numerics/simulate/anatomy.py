"""One person's anatomy: everything random about a head, drawn once.

Coordinates are head mm: RAS+, the origin at the anterior commissure, as in stereotactic atlases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.waves import Waves

ISOCENTRE_MM = (0.0, -18.0, 10.0)
"""The point of an average head, in head mm, that lies at the scanner's origin."""

NUCLEI = ("caudate", "putamen", "pallidum", "thalamus", "red nucleus", "nigra", "dentate")


@dataclass(frozen=True)
class Pose:
    """How the head lies in the scanner.

    Parameters
    ----------
    rotation : torch.Tensor, shape (3, 3)
        Head axes to scanner axes.
    offset_mm : torch.Tensor, shape (3,)
        Where :data:`ISOCENTRE_MM` lies, in scanner mm.
    scale : torch.Tensor, shape (3,)
        Size along the head's axes relative to an average head.
    """

    rotation: Tensor
    offset_mm: Tensor
    scale: Tensor

    def to_head(self, scanner_mm: Tensor) -> Tensor:
        """Return head coordinates of points, shape (N, 3), in scanner mm."""
        moved = scanner_mm - self.offset_mm.to(scanner_mm)
        turned = (self.rotation.to(scanner_mm).T @ moved.T).T
        return turned / self.scale.to(scanner_mm) + scanner_mm.new_tensor(ISOCENTRE_MM)

    def to_scanner(self, head_mm: Tensor) -> Tensor:
        """Return scanner coordinates of points, shape (N, 3), in head mm."""
        scaled = (head_mm - head_mm.new_tensor(ISOCENTRE_MM)) * self.scale.to(head_mm)
        return scaled @ self.rotation.to(head_mm).T + self.offset_mm.to(head_mm)


@dataclass(frozen=True)
class Anatomy:
    """A person.

    Parameters
    ----------
    pose : Pose
        Size and place of the head.
    folds : Waves
        Sulci of the cerebrum run where it is zero.
    depths, bulges, edges : Waves
        Depth of the sulci, shape of brain and skull, irregular borders of the nuclei.
    fine, coarse, proton, relaxation : Waves
        Texture of susceptibility (two scales), proton density and relaxation.
    nuclei : dict of str to torch.Tensor, shape (2, 4)
        For right and left, shift in mm along x, y, z and growth in mm of each nucleus.
    iron : float
        Susceptibility of the deep grey matter relative to the table; grows with age.
    atrophy_mm : float
        Added to the half width of sulci and ventricles.
    pneumatisation : float
        Size of the air-filled sinuses relative to the average.
    seed : int
        Also decides veins and lesions.
    """

    pose: Pose
    folds: Waves
    depths: Waves
    bulges: Waves
    edges: Waves
    fine: Waves
    coarse: Waves
    proton: Waves
    relaxation: Waves
    nuclei: dict[str, Tensor]
    iron: float
    atrophy_mm: float
    pneumatisation: float
    seed: int


def random_anatomy(seed: int = 0) -> Anatomy:
    """Draw a person; the same seed always gives the same one."""
    g = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=g))

    angles = [math.radians(a) * uniform(-1, 1) for a in (7.0, 2.0, 4.0)]
    scale = 1 + 0.03 * (2 * torch.rand(3, generator=g) - 1)
    offset = torch.tensor([1.5, 3.0, 4.0]) * (2 * torch.rand(3, generator=g) - 1)
    both, each = torch.tensor([0.5, 0.8, 0.8, 0.2]), torch.tensor([0.3, 0.3, 0.3, 0.1])
    nuclei = {
        name: both * torch.randn(1, 4, generator=g) + each * torch.randn(2, 4, generator=g)
        for name in NUCLEI
    }
    return Anatomy(
        pose=Pose(_rotation(*angles), offset, scale),
        folds=Waves.random(14.0, 70, g),
        depths=Waves.random(45.0, 24, g),
        bulges=Waves.random(55.0, 24, g),
        edges=Waves.random(11.0, 32, g),
        fine=Waves.random(5.0, 40, g, 0.4),
        coarse=Waves.random(18.0, 24, g, 0.4),
        proton=Waves.random(13.0, 24, g, 0.5),
        relaxation=Waves.random(9.0, 24, g, 0.5),
        nuclei=nuclei,
        iron=uniform(0.8, 1.2),
        atrophy_mm=uniform(-0.1, 0.35),
        pneumatisation=uniform(0.85, 1.1),
        seed=seed,
    )


def _rotation(about_x: float, about_y: float, about_z: float) -> Tensor:
    rotation = torch.eye(3)
    for axis, angle in enumerate((about_x, about_y, about_z)):
        c, s = math.cos(angle), math.sin(angle)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        rotation = turn @ rotation
    return rotation
