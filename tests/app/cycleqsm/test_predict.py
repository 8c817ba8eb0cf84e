"""One field as a file to one map as a file."""

import nibabel as nib
import numpy as np
import pytest
import torch

from qsm_pipeline.app.cycleqsm.predict import predict
from qsm_pipeline.cycleqsm.checkpoint import load_generator
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.numerics.core.grid import Grid

AFFINE = np.diag([1.0, 1.2, 1.5, 1.0])


@pytest.mark.parametrize("unknown", [np.nan, 0.0])
def test_voxels_without_a_field_are_unknown_and_not_zero(tmp_path, unknown):
    field = 0.02 * torch.randn(20, 18, 16, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(field.shape, dtype=torch.bool)
    hole[8:12, 7:11, 6:9] = True
    names = ("field", "mask", "chi")
    field_file, mask_file, out = (tmp_path / f"{name}.nii.gz" for name in names)
    spoilt = torch.where(hole, unknown, field).numpy()
    nib.save(nib.Nifti1Image(spoilt, AFFINE), field_file)
    nib.save(nib.Nifti1Image(np.ones(field.shape, np.uint8), AFFINE), mask_file)
    predict(field_file, mask_file, out, units="ppm", device="cpu", measured=False)
    grid = Grid.from_affine(field.shape, AFFINE)
    mask = torch.ones(field.shape, dtype=torch.bool)
    expected = reconstruct(load_generator(), field, mask, grid, (~hole).float()).chi_ppm
    found = torch.from_numpy(nib.load(out).get_fdata(dtype=np.float32))
    as_zero = reconstruct(load_generator(), field * ~hole, mask, grid).chi_ppm
    assert (found - expected).norm() < 0.02 * (found - as_zero).norm()
