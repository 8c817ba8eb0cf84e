"""The volumes of the viewer hold the values of the maps, at the same places."""

import base64
import gzip

import nibabel as nib
import numpy as np
import pytest
from report_tree import make_run, write_maps

from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.reports import viewer


@pytest.fixture
def tree(tmp_path):
    run = make_run(tmp_path)
    return run, tmp_path / "out", write_maps(run, tmp_path / "out")


def _layers(run, out):
    shown = viewer.viewer_volumes(run, out)
    return shown["note"], {
        layer["name"]: nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(layer["data"])))
        for layer in shown["layers"]
    }


def _at(image, affine, voxel):
    """Return the value of an image where a voxel of another grid lies."""
    index = np.linalg.inv(image.affine) @ affine @ [*voxel, 1]
    np.testing.assert_allclose(index, np.round(index), atol=1e-3)
    return image.get_fdata()[tuple(np.round(index[:3]).astype(int))]


def test_values_stand_where_they_were(tree):
    run, out, maps = tree
    note, layers = _layers(run, out)
    affine = nib.load(out / output_path(run.entities, "chi")).affine
    assert note == ""
    assert set(layers) == {"chi", "local_field", "total_field", "brain_mask"}
    assert all(layer.get_data_dtype() == np.int16 for layer in layers.values())
    assert nib.aff2axcodes(layers["chi"].affine) == ("R", "A", "S")
    for voxel in np.argwhere(maps["qsm_mask"])[::37]:
        index = tuple(voxel)
        assert _at(layers["chi"], affine, voxel) == pytest.approx(maps["chi"][index], abs=2.6e-4)
        ppm = maps["local_field"][index] / (42.577478 * 3)
        assert _at(layers["local_field"], affine, voxel) == pytest.approx(ppm, abs=2.6e-4)


def test_outside_of_the_mask_there_is_no_value(tree):
    run, out, maps = tree
    _, layers = _layers(run, out)
    lowest = layers["chi"].dataobj.get_unscaled() == -32768
    assert (~lowest).sum() == maps["qsm_mask"].sum()
    assert layers["brain_mask"].get_fdata().sum() == maps["brain_mask"].sum()


def test_large_volumes_are_averaged(tree, monkeypatch):
    run, out, maps = tree
    monkeypatch.setattr(viewer, "MAX_VOXELS", maps["chi"].size // 8)
    note, layers = _layers(run, out)
    assert note == "Means of blocks of 2 x 2 x 2 voxels."
    image, whole = layers["chi"], nib.load(out / output_path(run.entities, "chi"))
    upright = nib.as_closest_canonical(whole)
    middle = np.array(image.shape) // 2
    corner = np.round(np.linalg.inv(upright.affine) @ image.affine @ [*(middle - 0.25), 1]).astype(
        int
    )[:3]  # the first of the eight voxels of a block
    block = upright.get_fdata()[tuple(slice(c, c + 2) for c in corner)]
    assert image.get_fdata()[tuple(middle)] == pytest.approx(block.mean(), abs=3e-4)


def test_without_a_map_there_is_nothing_to_see(tree):
    run, out, _ = tree
    chi = out / output_path(run.entities, "chi")
    chi.write_bytes(chi.read_bytes()[:200])
    assert viewer.viewer_volumes(run, out) is None
    chi.unlink()
    assert viewer.viewer_volumes(run, out) is None


def test_the_viewer_is_the_one_that_was_tested(monkeypatch):
    packed = gzip.decompress(base64.b64decode(viewer.niivue_packed()))
    assert len(packed) == 2_284_381
    viewer.niivue_packed.cache_clear()
    monkeypatch.setattr(viewer, "NIIVUE_SHA256", "0")
    with pytest.raises(ValueError, match="reinstall"):
        viewer.niivue_packed()
