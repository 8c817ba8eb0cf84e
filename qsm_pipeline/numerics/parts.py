"""Connected parts of masks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


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
