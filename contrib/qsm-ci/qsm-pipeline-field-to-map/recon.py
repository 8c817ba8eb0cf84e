"""Background removal and CycleQSM of qsm-pipeline: total field to susceptibility.

Reads totalfield, mask and params in INPUT; writes chimap in ppm to OUTPUT.
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
    image, mask = (nib.load(source / f"{name}.nii.gz") for name in ("totalfield", "mask"))
    mask = mask.get_fdata() > 0.5
    affine = np.diag([*params["voxel_size"], 1.0])
    field = qsm.Field(image.get_fdata(), mask, affine, b0_dir=tuple(params["B0_dir"]))
    local = qsm.remove_background(field)
    values = qsm.invert(local, uncertainty=False).chi_ppm
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), target / "chimap.nii.gz")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
