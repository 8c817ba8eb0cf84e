"""Load volumes as tensors and save tensors as volumes of the work directory."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.io.arrays import save_array
from qsm_pipeline.numerics.core.grid import Grid


def load_tensor(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    box: tuple[slice, slice, slice] | None = None,
    echo: int | slice | None = None,
) -> Tensor:
    """Load a NIfTI file; echoes of a 4D file come first: (E, X, Y, Z).

    Of a ``box``, or of a single ``echo`` or some, nothing else is read into memory.
    """
    stored = nib.load(path).dataobj
    if box is None and echo is None:
        data = np.asanyarray(stored)
    else:
        data = stored[(*(box or (slice(None),) * 3), ... if echo is None else echo)]
    if data.ndim == 4:
        data = np.moveaxis(data, -1, 0)
    native = np.ascontiguousarray(data, data.dtype.newbyteorder("="))  # torch has no other
    return torch.from_numpy(native).to(device=device, dtype=dtype)


def load_mask(
    path: str | Path, *, device: str = "cpu", box: tuple[slice, slice, slice] | None = None
) -> Tensor:
    """Load a mask, or a ``box`` of it, as a boolean tensor."""
    return load_tensor(path, device=device, box=box) > 0.5


def load_grid(path: str | Path) -> Grid:
    """Return the grid of a NIfTI file."""
    image = nib.load(path)
    return Grid.from_affine(image.shape[:3], image.affine)


def save_tensor(data: Tensor, like: str | Path, path: str | Path) -> str:
    """Save a tensor with the affine and header of ``like``, as :func:`save_array` does."""
    reference = nib.load(like)
    return save_array(data.detach().cpu().numpy(), reference.affine, reference.header, path)
