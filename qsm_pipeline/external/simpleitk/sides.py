"""Labels of an atlas that do not tell left from right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_BOTH = 0.2


def split_sides(
    labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]
) -> tuple[np.ndarray, dict[int, str]]:
    """Divide regions that lie on both sides at the midline of the template.

    Parameters
    ----------
    labels : numpy.ndarray, shape (A, B, C), int
        Labels in the space of a template, whose midline is at x = 0.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to RAS+ mm.
    names : mapping of int to str
        Labels to names without a side.

    Returns
    -------
    labels : numpy.ndarray, shape (A, B, C), int
        The left part of a region keeps its label, the right part gets a new one above all others.
        Regions of which less than a fifth lies on one side stay whole.
    names : dict of int to str
        With ``-left`` and ``-right`` where a region was divided.
    """
    split, out = labels.copy(), dict(names)
    step = int(labels.max())
    where = np.nonzero(labels)
    x = np.stack(where, 1) @ affine[0, :3] + affine[0, 3]
    found = labels[where]
    for index, name in names.items():
        here = found == index
        right = here & (x > 0)
        if here.any() and _BOTH <= right.sum() / here.sum() <= 1 - _BOTH:
            split[tuple(axis[right] for axis in where)] = index + step
            out |= {index: f"{name}-left", index + step: f"{name}-right"}
    return split, out
