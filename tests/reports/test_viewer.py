"""The volumes of the viewer hold the values of the maps, at the same places."""

import base64
import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from report_tree import make_run, write_maps
from scipy.ndimage import binary_erosion

from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.reports import viewer


@pytest.fixture
def tree(tmp_path):
    run = make_run(tmp_path)
    return run, tmp_path / "out", write_maps(run, tmp_path / "out")


def _layers(run, out):
    shown = viewer.viewer_volumes(run, out)
    return shown["note"], {
        layer["name"]: nib.Nifti1Image.from_bytes(layer["data"]) for layer in shown["layers"]
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
    names = {"chi", "fieldmap_magnitude", "local_field", "total_field", "brain", "untrusted"}
    assert set(layers) == names
    assert all(layer.get_data_dtype() == np.int16 for layer in layers.values())
    assert nib.aff2axcodes(layers["chi"].affine) == ("R", "A", "S")
    for voxel in np.argwhere(maps["qsm_mask"])[::37]:
        index = tuple(voxel)
        assert _at(layers["chi"], affine, voxel) == pytest.approx(maps["chi"][index], abs=2.6e-4)
        ppm = maps["local_field"][index] / (42.577478 * 3)
        assert _at(layers["local_field"], affine, voxel) == pytest.approx(ppm, abs=5.1e-4)


def test_outside_of_the_mask_there_is_no_value(tree):
    run, out, maps = tree
    _, layers = _layers(run, out)
    lowest = layers["chi"].dataobj.get_unscaled() == -32768
    assert (~lowest).sum() == maps["qsm_mask"].sum()
    magnitude = layers["fieldmap_magnitude"].dataobj.get_unscaled()
    assert (magnitude != -32768).all()  # the head around the brain is seen too


def test_masks_are_an_outline_and_what_is_not_trusted(tree):
    run, out, maps = tree
    path = out / output_path(run.entities, "qsm_mask")
    image = nib.load(path)
    valid = np.asarray(image.dataobj).copy()
    middle = tuple(n // 2 for n in valid.shape)
    valid[middle] = 0
    nib.save(nib.Nifti1Image(valid, image.affine), path)
    _, layers = _layers(run, out)
    untrusted = layers["untrusted"].get_fdata()
    assert untrusted.sum() == 1
    assert _at(layers["untrusted"], image.affine, middle) == 1
    brain, outline = maps["brain_mask"] > 0, layers["brain"].get_fdata()
    core = binary_erosion(brain)
    assert outline.sum() == brain.sum() - core.sum()
    assert _at(layers["brain"], image.affine, middle) == 0


def _allow(monkeypatch, name, most):
    layers = dict(viewer._LAYERS)
    layers[name] = replace(layers[name], most=most)
    monkeypatch.setattr(viewer, "_LAYERS", layers)


def test_of_fine_scans_the_layers_beside_the_map_are_averaged(tree, monkeypatch):
    run, out, maps = tree
    _allow(monkeypatch, "local_field", maps["chi"].size // 8)
    note, layers = _layers(run, out)
    assert note == "Local field: means of 2^3 voxels."
    whole = layers["chi"].shape
    assert layers["local_field"].shape == tuple(n // 2 for n in whole)
    np.testing.assert_allclose(
        layers["local_field"].affine @ [0, 0, 0, 1],
        layers["chi"].affine @ [0.5, 0.5, 0.5, 1],
        atol=1e-4,
    )
    assert layers["brain"].shape == whole


def test_every_layer_has_its_colours(tree):
    run, out, _ = tree
    colours = viewer.viewer_colours()
    for layer in viewer.viewer_volumes(run, out)["layers"]:
        for name in (layer["colormap"], f"{layer['colormap']}-over"):
            assert {len(colours[name][key]) for key in "RGBAI"} == {len(colours[name]["I"])}


def test_large_volumes_are_averaged(tree, monkeypatch):
    run, out, maps = tree
    _allow(monkeypatch, "chi", maps["chi"].size // 8)
    note, layers = _layers(run, out)
    assert note == "Susceptibility: means of 2^3 voxels."
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
    viewer.niivue_script.cache_clear()
    monkeypatch.setattr(viewer, "NIIVUE_SHA256", "0")
    with pytest.raises(ValueError, match="reinstall"):
        viewer.niivue_script()


def test_the_page_holds_differences_that_give_every_number_back():
    numbers = np.random.default_rng(0).integers(-32768, 32768, (5, 4, 3)).astype(np.int16)
    numbers[0, 0] = (-32768, 32767, -32768)
    plain = nib.Nifti1Image(numbers, np.eye(4)).to_bytes()
    packed = viewer.in_differences(plain)
    found = gzip.decompress(base64.b64decode(packed))
    low, high = np.frombuffer(found[352:], np.uint8).reshape(2, -1).astype(int)
    folded = low | high << 8
    steps = (folded >> 1) ^ -(folded & 1)  # as viewer.js has it
    assert found[:352] == plain[:352]
    np.testing.assert_array_equal(np.cumsum(steps).astype(np.int16), np.ravel(numbers, "F"))
