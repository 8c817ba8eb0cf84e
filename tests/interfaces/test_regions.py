"""The nodes from a segmentation to the table."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from bids_trees import write_image

from qsm_pipeline.bids.regions import region_tables
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.interfaces.regions import MapLabels, MeasureRegions, WriteRegions

SHAPE = (12, 14, 10)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
AFFINE[:3, 3] = [-6, -7, -10]
RUN = {
    "bids_dir": "/raw",
    "suffix": "MEGRE",
    "entities": {"sub": "01", "run": "2"},
    "echo_times_s": (0.01,),
    "b0_tesla": 3.0,
}


@pytest.fixture
def files(tmp_path):
    chi = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.int16)
    labels[2:5, 3:6, 2:8], labels[7:10, 3:6, 2:8], labels[5, 9] = 11, 50, 999
    valid = np.ones(SHAPE, np.uint8)
    valid[2] = 0
    arrays = {"chi": chi, "labels": labels, "valid": valid, "combined": np.abs(chi)}
    return arrays, {
        name: str(write_image(tmp_path / f"{name}.nii", array, AFFINE, array.dtype))
        for name, array in arrays.items()
    }


def _table(tmp_path, files, **inputs):
    _, paths = files
    brought = (
        MapLabels(
            **{"labels": paths["labels"], "same_grid": True, **inputs},
            combined=paths["combined"],
            brain=paths["valid"],
        )
        .run(cwd=str(tmp_path))
        .outputs
    )
    measured = (
        MeasureRegions(
            chi=paths["chi"], labels=brought.labels, valid=paths["valid"], names=brought.names
        )
        .run(cwd=str(tmp_path))
        .outputs
    )
    out = tmp_path / "out"
    written = (
        WriteRegions(
            out_dir=str(out),
            run=RUN,
            seg="aseg",
            labels=brought.labels,
            rows=measured.rows,
            facts=brought.facts,
            reference={"facts": {"SusceptibilityReference": "brain"}},
        )
        .run(cwd=str(tmp_path))
        .outputs.written
    )
    (path,) = region_tables(out, RUN["entities"])
    assert str(path) in written
    with open(path, newline="") as file:
        return out, {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}


def test_labels_on_the_voxels_of_the_run_become_a_table(tmp_path, files):
    out, rows = _table(tmp_path, files)
    assert list(rows) == ["Left-Caudate", "Right-Caudate", "label-999"]
    assert [row["hemisphere"] for row in rows.values()] == ["left", "right", "n/a"]
    arrays, _ = files
    for row in rows.values():
        inside = (arrays["labels"] == int(row["index"])) & (arrays["valid"] > 0)
        values = arrays["chi"][inside]
        assert int(row["n_voxels"]) == values.size
        assert float(row["mean_ppm"]) == pytest.approx(values.mean(), rel=1e-4, abs=1e-6)
        assert float(row["median_ppm"]) == pytest.approx(np.median(values), rel=1e-4, abs=1e-6)
        assert float(row["sd_ppm"]) == pytest.approx(values.std(ddof=1), rel=1e-4)
    assert float(rows["Left-Caudate"]["volume_ml"]) == pytest.approx(54 * 2 / 1000)
    about = json.loads((out / "sub-01/anat/sub-01_run-2_seg-aseg_desc-chi_dseg.json").read_text())
    assert about["mean_ppm"]["Units"] == "ppm"
    assert about["SusceptibilityReference"] == "brain"
    assert about["LabelsMapping"].startswith("none")
    image = nib.load(out / "sub-01/anat/sub-01_run-2_seg-aseg_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), arrays["labels"])
    assert image.get_data_dtype().kind in "iu"


def test_names_of_the_user_win_over_those_of_freesurfer(tmp_path, files):
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n11\tNucleus_L\n")
    _, rows = _table(tmp_path, files, names=str(names))
    assert list(rows) == ["Nucleus_L", "label-50", "label-999"]


def test_an_atlas_without_sides_is_divided(tmp_path, files):
    arrays, _ = files
    one = (arrays["labels"] > 0).astype(np.uint8)
    atlas = write_image(tmp_path / "atlas.nii", one, AFFINE, np.uint8)
    (tmp_path / "atlas.txt").write_text("1 Caudate\n")
    _, rows = _table(
        tmp_path, files, labels=str(atlas), names=str(tmp_path / "atlas.txt"), atlas=True
    )
    assert {name: row["hemisphere"] for name, row in rows.items()} == {
        "Caudate-left": "left",
        "Caudate-right": "right",
    }


def test_labels_of_another_grid_come_by_the_given_transform(tmp_path, files):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    arrays, _ = files
    affine = AFFINE.copy()
    affine[:3, 3] += [3, 0, 2]
    elsewhere = write_image(tmp_path / "t1.nii", arrays["labels"], affine, np.int16)
    path = tmp_path / "xfm.txt"  # points of the run to points of T1w: +3 along x, +2 along z
    sitk.WriteTransform(sitk.TranslationTransform(3, (-3.0, 0.0, 2.0)), str(path))
    out, _ = _table(tmp_path, files, labels=str(elsewhere), same_grid=False, transform=str(path))
    image = nib.load(out / "sub-01/anat/sub-01_run-2_seg-aseg_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), arrays["labels"])
    about = json.loads((out / "sub-01/anat/sub-01_run-2_seg-aseg_dseg.json").read_text())
    assert about["LabelsTransform"] == path.as_uri()


def test_a_broken_segmentation_is_named(tmp_path, files):
    path = write_image(tmp_path / "half.nii", np.full(SHAPE, 0.5))
    with pytest.raises(BIDSInputError, match=r"half\.nii holds other values"):
        _table(tmp_path, files, labels=str(path))


def test_a_run_goes_through_json_with_its_segmentation():
    run = GreRun(**{**RUN, "segmentation": {"labels": "/x", "name": "aseg"}})
    assert GreRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
