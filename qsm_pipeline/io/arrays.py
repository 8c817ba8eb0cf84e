"""Save arrays as volumes of the work directory."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.volumeutils import native_code

from qsm_pipeline.io.writing import cannot_write


def save_array(
    array: np.ndarray, affine: np.ndarray, header: nib.Nifti1Header, path: str | Path
) -> str:
    """Save an array (X, Y, Z) or (E, X, Y, Z) uncompressed with an affine and header.

    Booleans are written as unsigned bytes, everything else as float32. Files of the work
    directory are not compressed because they are read once and soon.

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
