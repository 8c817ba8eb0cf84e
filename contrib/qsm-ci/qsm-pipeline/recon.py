"""All steps of qsm-pipeline with its defaults: phase to susceptibility.

Reads phase, magnitude, mask and params in INPUT; writes chimap in ppm to OUTPUT.
"""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

import qsm_pipeline as qsm


def directions(b0_dir):
    """Return perpendicular unit axes of which the scanner's third is B0 in voxel axes."""
    b0 = np.asarray(b0_dir, float) / np.linalg.norm(b0_dir)
    return np.vstack([np.linalg.svd(b0[None])[2][1:], b0])


def main(source: Path, target: Path) -> None:
    """Read, compute, write."""
    params = json.loads((source / "params.json").read_text())
    names = ("phase", "magnitude", "mask")
    image, magnitude, mask = (nib.load(source / f"{name}.nii.gz") for name in names)
    mask = mask.get_fdata() > 0.5
    affine = np.eye(4)
    affine[:3, :3] = directions(params["B0_dir"]) * params["voxel_size"]
    echoes = (x.get_fdata().reshape(*mask.shape, -1) for x in (image, magnitude))
    phase, magnitude = (np.moveaxis(x, -1, 0) for x in echoes)
    scan = qsm.Scan(phase, magnitude, tuple(params["TE"]), params["B0"], affine, mask=mask)
    local = qsm.remove_background(qsm.fit_field(scan))
    values = qsm.invert(local, uncertainty=False).chi_ppm
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), target / "chimap.nii.gz")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
