"""The expected error of sources whose own field is not known."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.voxels import any_of

WIDER = 1.5
"""Where the field is uncertain, sources may be stronger than the map has them by this."""
SMALLEST_PART = 1 / 12
"""A source whose own field is lost may be smaller and stronger than the map has it, with the same
field around: down to this part of the voxels that are not sure,"""
STRONGEST_PPM = 3.5
"""but hardly stronger than this, which is calcium's."""


def widened_error_ppm(
    uncertainty_ppm: Tensor, chi_ppm: Tensor, strong: Tensor, unknown: Tensor
) -> Tensor:
    """Return the expected error with that of voxels whose field may be wrong, or is missing.

    Parameters
    ----------
    uncertainty_ppm, chi_ppm : torch.Tensor, shape (X, Y, Z)
        Expected error of the method, and its map.
    strong : torch.Tensor, shape (X, Y, Z), bool
        In and around strong sources.
    unknown : torch.Tensor, shape (X, Y, Z), bool
        Where there is no field, so that the map is a guess.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In each connected part of ``strong`` and the voxels around it, at least :data:`WIDER` times
        the strongest susceptibility there, or what a small source of the same sum would have; in
        ``unknown`` at least the spread of the map elsewhere.
    """
    widened = uncertainty_ppm
    if any_of(unknown):
        elsewhere = chi_ppm[(chi_ppm != 0) & ~unknown & ~strong]
        least = elsewhere.std(correction=0) if elsewhere.numel() else chi_ppm.abs().max()
        widened = torch.where(unknown, widened.clamp(min=float(least)), widened)
    if any_of(strong):
        wide = ndimage.binary_dilation(strong.cpu().numpy(), np.ones((3, 3, 3)))
        labels, count = ndimage.label(wide)
        chi, numbers = chi_ppm.cpu().numpy(), np.arange(1, count + 1)
        strongest = WIDER * np.atleast_1d(ndimage.maximum(np.abs(chi), labels, numbers))
        total = np.abs(np.atleast_1d(ndimage.sum(chi, labels, numbers)))
        size = np.atleast_1d(ndimage.sum(strong.cpu().numpy(), labels, numbers))
        small = np.minimum(total / np.maximum(1, SMALLEST_PART * size), STRONGEST_PPM)
        least = np.append(0.0, np.maximum(strongest, small)).astype(np.float32)[labels]
        widened = torch.maximum(widened, torch.from_numpy(least).to(widened))
    return widened
