"""Load volumes as tensors and save tensors as volumes of the work directory."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.volumeutils import native_code
from torch import Tensor

from qsm_pipeline.io.writing import cannot_write
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
    """Save (X, Y, Z) or (E, X, Y, Z) uncompressed with the affine and header of ``like``.

    Booleans are written as unsigned bytes, everything else as float32. Files of the work
    directory are not compressed because they are read once and soon.
    """
    reference = nib.load(like)
    return save_array(data.detach().cpu().numpy(), reference.affine, reference.header, path)


def save_array(
    array: np.ndarray, affine: np.ndarray, header: nib.Nifti1Header, path: str | Path
) -> str:
    """Save an array with an affine and header; see :func:`save_tensor`.

    Raises
    ------
    OutputError
        If the file cannot be written, above all because the disk is full.
    """
    array = array.astype(np.uint8 if array.dtype == bool else np.float32, copy=False)
    if array.ndim == 4:
        array = np.moveaxis(array, 0, -1)
    header = header.as_byteswapped(native_code)  # always a copy
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    try:
        nib.save(nib.Nifti1Image(array, affine, header), path)
    except OSError as error:
        raise cannot_write(path, error, array.nbytes) from None
    return str(path)
