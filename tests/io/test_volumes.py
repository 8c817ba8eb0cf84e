"""Volumes of the work directory are the same whatever byte order the raw images have."""

import nibabel as nib
import numpy as np
import pytest
import torch

from qsm_pipeline.io.volumes import load_mask, load_tensor, save_tensor


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["i2", "f4", "f8"])
def test_any_byte_order_is_read_and_the_native_one_written(tmp_path, order, kind):
    values = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    header = nib.Nifti1Header(endianness=order)
    image = nib.Nifti1Image(values.astype(f"{order}{kind}"), np.diag([2, 3, 4, 1.0]), header)
    nib.save(image, tmp_path / "raw.nii")
    assert nib.load(tmp_path / "raw.nii").header.endianness == order
    loaded = load_tensor(tmp_path / "raw.nii")
    assert torch.equal(loaded, torch.from_numpy(np.moveaxis(values, -1, 0)).float())
    kept = save_tensor(loaded, tmp_path / "raw.nii", tmp_path / "kept.nii")
    assert nib.load(kept).header.endianness == nib.volumeutils.native_code
    assert torch.equal(load_tensor(kept), loaded)
    np.testing.assert_array_equal(nib.load(kept).affine, image.affine)
    mask = save_tensor(loaded[0] > 3, tmp_path / "raw.nii", tmp_path / "mask.nii")
    assert torch.equal(load_mask(mask), loaded[0] > 3)
