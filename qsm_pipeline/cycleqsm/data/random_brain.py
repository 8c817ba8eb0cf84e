"""Random brains for training: a template deformed, re-folded and given random susceptibility."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from qsm_pipeline.cycleqsm.data.textures import power_noise, smooth_noise, tubes

NUCLEI = {
    # mean and spread of the susceptibility in ppm; centres (right side) and semi-axes in mm, MNI
    "caudate": (0.05, 0.03, ((14, 10, 10), (4, 10, 8))),
    "putamen": (0.04, 0.03, ((26, 2, 1), (5, 13, 9))),
    "pallidum": (0.13, 0.05, ((19, -3, -1), (4, 8, 6))),
    "thalamus": (0.01, 0.02, ((11, -18, 7), (7, 12, 8))),
    "red nucleus": (0.10, 0.05, ((5, -20, -9), (3, 3.5, 4))),
    "nigra": (0.12, 0.05, ((9, -17, -13), (5, 3, 3.5))),
    "dentate": (0.10, 0.05, ((15, -58, -34), (7, 5, 4))),
}
TISSUES = {"white matter": (-0.03, 0.015), "grey matter": (0.015, 0.015), "csf": (0.01, 0.02)}
SIGNALS = {"white matter": (0.7, 1.1), "grey matter": (0.8, 1.2), "csf": (0.3, 1.6)}
"""Smallest and largest magnitude of the tissues, relative, in the order of `TISSUES`."""


@dataclass(frozen=True)
class Templates:
    """A brain at 1 mm.

    Parameters
    ----------
    t1 : torch.Tensor, shape (X, Y, Z)
        T1-weighted image from 0 to 1, zero outside the brain.
    grey, white : torch.Tensor, shape (X, Y, Z)
        Tissue probabilities.
    origin : tuple of float
        Voxel of the anterior commissure.
    """

    t1: Tensor
    grey: Tensor
    white: Tensor
    origin: tuple[float, float, float]


@dataclass(frozen=True)
class RandomBrain:
    """A brain at 1 mm.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility, zero outside the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    signal : torch.Tensor, shape (X, Y, Z), optional
        Magnitude before any decay, relative (about 1), zero outside the mask. It has the edges of
        the tissues and contrasts of its own; unknown for measured maps.
    """

    chi_ppm: Tensor
    mask: Tensor
    signal: Tensor | None = None


def random_brain(templates: Templates, generator: torch.Generator) -> RandomBrain:
    """Make a brain that no template holds.

    Parameters
    ----------
    templates : Templates
        Where the tissues are on average.
    generator : torch.Generator
        Decides shape, folds, susceptibilities, texture, vessels and lesions.

    Returns
    -------
    RandomBrain
        On the template's grid.
    """
    shape = templates.t1.shape

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    place, maps = _deform(templates, generator)
    t1, grey, white = maps
    folds = uniform(0.1, 0.35) * smooth_noise(shape, uniform(7.0, 16.0), generator)
    mask = (t1 > 0.15) | (grey + white > 0.4)
    in_white = torch.sigmoid((white - 0.5 + folds) * uniform(6, 20))
    sulci = uniform(0.1, 0.35) * smooth_noise(shape, uniform(7.0, 16.0), generator)
    in_csf = torch.sigmoid((0.35 - grey - white + sulci) * uniform(6, 20))
    in_grey = (1 - in_white) * (1 - in_csf)
    chi = torch.zeros(shape)
    parts = (in_white * (1 - in_csf), in_grey, in_csf)
    for part, (mean, spread) in zip(parts, TISSUES.values(), strict=True):
        level = mean + spread * float(torch.randn((), generator=generator))
        rough = uniform(0.001, 0.009) * power_noise(shape, uniform(1.0, 2.2), generator)
        chi += part * (level + rough)
    edges = t1 - torch.nn.functional.avg_pool3d(t1[None, None], 7, 1, 3)[0, 0]
    chi += uniform(-0.2, 0.2) * edges
    iron = uniform(0.3, 1.6)
    bumps = smooth_noise(shape, 25.0, generator)
    nuclei = []
    for mean, spread, (centre, size) in NUCLEI.values():
        level = iron * (mean + spread * float(torch.randn((), generator=generator)))
        for side in (-1, 1):
            x, y, z = (
                ((p - c * s) / (r * uniform(0.8, 1.2))).square()
                for p, c, r, s in zip(place, centre, size, (side, 1, 1), strict=True)
            )
            squared = x + y + z
            inside = torch.sigmoid((1 - squared.sqrt() + 0.15 * bumps) * max(size) * 1.5)
            rough = 1 + uniform(0, 0.3) * bumps
            chi = chi * (1 - inside) + inside * level * rough
            nuclei.append(inside)
    vessels = []
    for wavelength, radius in ((45.0, uniform(0.6, 1.4)), (28.0, uniform(0.3, 0.8))):
        vessel = tubes(shape, wavelength, radius, generator)
        keep = torch.sigmoid(8 * (smooth_noise(shape, 70.0, generator) + uniform(-1.0, 0.3)))
        vessel = vessel * keep
        chi = chi * (1 - vessel) + vessel * uniform(0.1, 0.4)
        vessels.append(vessel)
    # what follows is drawn last, so that a seed gives the same susceptibility with and without it
    signal = uniform(-1.0, 1.0) * edges + uniform(0, 0.04) * power_noise(shape, 1.0, generator)
    for part, (low, high) in zip(parts, SIGNALS.values(), strict=True):
        signal += part * uniform(low, high)
    for inside in nuclei:
        signal = signal * (1 + inside * uniform(-0.2, 0.2))
    for vessel in vessels:  # blood flows in, or is lost
        signal = signal * (1 + vessel * uniform(-0.5, 0.5))
    return RandomBrain(chi * mask, mask, signal.clamp(min=0.05) * mask)


def _deform(
    templates: Templates, generator: torch.Generator
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the anatomical place of each voxel in mm, and the templates seen from there."""
    shape = templates.t1.shape
    axes = [
        torch.arange(n, dtype=torch.float32) - o
        for n, o in zip(shape, templates.origin, strict=True)
    ]
    scale = 1 + 0.08 * torch.randn(3, generator=generator).clamp(-2, 2)
    place = []
    for axis, grid in enumerate(torch.meshgrid(*axes, indexing="ij")):
        shift = 3.0 * smooth_noise(shape, 120.0, generator)
        shift += 1.0 * smooth_noise(shape, 40.0, generator)
        place.append(grid * scale[axis] + shift)
    flip = -1 if torch.rand((), generator=generator) < 0.5 else 1
    place[0] = flip * place[0]
    relative = [
        2 * (p + o) / (n - 1) - 1 for p, n, o in zip(place, shape, templates.origin, strict=True)
    ]
    points = torch.stack(relative[::-1], dim=-1)[None]
    stack = torch.stack([templates.t1, templates.grey, templates.white])[None]
    seen = grid_sample(stack, points, align_corners=True)[0]
    return tuple(place), tuple(seen)
