"""Connected parts of masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

LARGEST_LOST = 0.2
"""A larger share of a mask is never left out because it does not touch the rest."""


def largest_parts(mask: np.ndarray, count: int = 1) -> np.ndarray:
    """Return the largest connected parts of a mask.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Any mask, also an empty one.
    count : int
        How many parts to keep; neighbours share a face.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        The mask itself if it has no more parts than that.
    """
    labels, found = ndimage.label(mask)
    if found <= count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.isin(labels, np.argsort(-sizes, kind="stable")[:count])


def check_in_one_part(mask: np.ndarray) -> None:
    """Refuse a mask of several large parts, of which only one can be mapped.

    The number of turns of the phase between parts is unknown, so that all but the largest are left
    out; that may be specks, not half a brain.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Brain.

    Raises
    ------
    ValueError
        If a part but the largest holds more than :data:`LARGEST_LOST` of the mask.
    """
    labels, _ = ndimage.label(mask)
    sizes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    if len(sizes) > 1 and sizes[1] > LARGEST_LOST * sizes.sum():
        first, second = 100 * sizes[:2] / sizes.sum()
        raise ValueError(
            f"the mask falls into parts that do not touch, the largest of {first:.0f} % and "
            f"another of {second:.0f} %, and only one of them could be mapped; look for empty or "
            "damaged slices between them"
        )


def parts_with(mask: Tensor, seeds: Tensor) -> Tensor:
    """Return the parts of a mask, touching at faces, edges or corners, that hold a seed.

    Parameters
    ----------
    mask, seeds : torch.Tensor, shape (X, Y, Z), bool
        Seeds outside the mask do not count.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z), bool
        On their device.
    """
    labels, _ = ndimage.label(mask.cpu().numpy(), np.ones((3, 3, 3)))
    chosen = np.setdiff1d(labels[seeds.cpu().numpy()], 0)
    return torch.from_numpy(np.isin(labels, chosen)).to(mask.device)


def parts_in_boxes(mask: Tensor) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
    """Yield the box around each part of a mask and the part within it; neighbours share a face.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Any mask, also an empty one.

    Yields
    ------
    tuple of slice, torch.Tensor
        Place in the volume, and which voxels of the box belong to the part, bool.
    """
    labels, _ = ndimage.label(mask.cpu().numpy())
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        yield place, torch.from_numpy(labels[place] == number).to(mask.device)
