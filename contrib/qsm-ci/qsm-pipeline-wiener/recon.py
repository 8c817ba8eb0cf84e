"""Wiener filter of qsm-pipeline: local field to susceptibility.

Reads localfield, mask and params in INPUT; writes chimap in ppm to OUTPUT.
"""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

import qsm_pipeline as qsm


def main(source: Path, target: Path) -> None:
    """Read, compute, write."""
    params = json.loads((source / "params.json").read_text())
    image, mask = (nib.load(source / f"{name}.nii.gz") for name in ("localfield", "mask"))
    mask = mask.get_fdata() > 0.5
    affine = np.diag([*params["voxel_size"], 1.0])
    field = qsm.LocalField(
        image.get_fdata(), mask, affine, b0_dir=tuple(params["B0_dir"]), measured=False
    )
    values = qsm.invert(field, method="wiener", uncertainty=False).chi_ppm
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), target / "chimap.nii.gz")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
