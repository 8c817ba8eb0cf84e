import json
import math
import shutil

import nibabel as nib
import numpy as np
import pytest
from bids_trees import AFFINE, SHAPE, magnitude, make_dataset, write_image, write_sidecar
from hostile.damages import DAMAGES

from qsm_pipeline.app.checks import check_start
from qsm_pipeline.bids.field_maps import collect_field_maps
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.steps.settings import METHOD_DEFAULTS


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "raw")


def field_hz():
    x = np.linspace(-1, 1, SHAPE[0])[:, None, None]
    return 700 * x + 3 + np.zeros(SHAPE)  # beyond half a turn at 1 ms


def add_field_map(root, between="", units="Hz", per_hz=1.0, sidecar=None):
    folder = root / "sub-01" / "fmap"
    start = f"sub-01{between}"
    path = write_image(folder / f"{start}_fieldmap.nii.gz", field_hz() * per_hz, AFFINE)
    write_sidecar(
        path, {"Units": units, "MagneticFieldStrength": 3} if sidecar is None else sidecar
    )
    write_image(folder / f"{start}_magnitude.nii.gz", magnitude(), AFFINE)
    return path


@pytest.mark.parametrize(
    ("units", "per_hz"), [("Hz", 1.0), ("rad/s", 2 * math.pi), ("T", 1 / 42.577478518e6)]
)
def test_a_field_map_is_the_phase_that_it_makes(root, units, per_hz):
    add_field_map(root, units=units, per_hz=per_hz)
    (run,) = collect_field_maps(root, ["01"]).runs
    run = GreRun.from_dict(json.loads(json.dumps(run.to_dict())))
    assert run.from_field_map
    assert "total field" in run.inferred["field_map"]
    loaded = load_run(run)
    turns = np.unwrap(loaded.phase_rad[0], axis=0) / (2 * math.pi * run.echo_times_s[0])
    difference = turns - field_hz()
    np.testing.assert_allclose(difference, difference[0, 0, 0], atol=0.05)
    assert difference[0, 0, 0] / 1000 == pytest.approx(round(difference[0, 0, 0] / 1000), abs=1e-3)


def test_zeros_around_a_masked_field_map_are_unknown(root):
    path = add_field_map(root)
    image = nib.load(path)
    values = image.get_fdata()
    values[:3] = 0
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), path)
    (run,) = collect_field_maps(root, ["01"]).runs
    valid = load_run(run).valid_mask
    assert not valid[:3].any()
    assert valid[4:].all()


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        ({"MagneticFieldStrength": 3}, "Units is None, expected Hz"),
        ({"Units": "arbitrary", "MagneticFieldStrength": 3}, "expected Hz, rad/s, T"),
        ({"Units": "Hz"}, "MagneticFieldStrength is missing"),
    ],
)
def test_nothing_is_guessed(root, sidecar, said):
    add_field_map(root, sidecar=sidecar)
    (skipped,) = collect_field_maps(root, ["01"]).skipped
    assert said in skipped.reason


def test_the_field_strength_may_be_that_of_the_magnitude(root):
    path = add_field_map(root, sidecar={"Units": "Hz"})
    write_sidecar(
        path.with_name(path.name.replace("fieldmap", "magnitude")), {"MagneticFieldStrength": 7}
    )
    (run,) = collect_field_maps(root, ["01"]).runs
    assert run.b0_tesla == 7


def test_without_magnitude_a_mask_is_needed(root):
    path = add_field_map(root)
    path.with_name(path.name.replace("fieldmap", "magnitude")).unlink()
    (skipped,) = collect_field_maps(root, ["01"]).skipped
    assert "_magnitude" in skipped.reason
    write_image(root / "m/sub-01.nii.gz", np.ones(SHAPE), AFFINE)
    (run,) = collect_field_maps(root, ["01"], mask_pattern="m/{prefix}.nii.gz").runs
    assert load_run(run).magnitude is None


def test_who_has_none_is_said(root):
    add_field_map(root)
    (root / "sub-02").mkdir()
    found = collect_field_maps(root, ["01", "02"])
    assert [run.prefix for run in found.runs] == ["sub-01"]
    assert "No field map" in found.skipped[0].reason


def test_weighted_images_and_filters_need_phase(root):
    check_start("fieldmap", METHOD_DEFAULTS)
    check_start("phase", METHOD_DEFAULTS | {"derive": True})
    with pytest.raises(ConfigError, match="needs phase"):
        check_start("fieldmap", METHOD_DEFAULTS | {"derive": True})
    with pytest.raises(ConfigError, match="bids-filter-file"):
        check_start("fieldmap", METHOD_DEFAULTS, root / "filter.json")


def test_the_phase_of_a_field_map_need_not_wrap(root, tmp_path):
    from qsm_pipeline.workflows.run import init_run_wf

    add_field_map(root)
    (run,) = collect_field_maps(root, ["01"]).runs
    workflow = init_run_wf(run=run, out_dir=tmp_path / "out")
    limits = [n.inputs.limits for n in workflow._graph.nodes if hasattr(n.inputs, "limits")]
    assert limits
    assert all(each["min_phase_range_turns"] == 0 for each in limits)
    assert "relaxation" not in workflow.list_node_names()


def test_regions_of_ones_own_are_found_as_for_phase(root):
    path = add_field_map(root)
    write_image(root / "r/sub-01.nii.gz", np.ones(SHAPE), AFFINE)
    labels = root.parent / "labels" / "sub-01" / "anat" / "sub-01_desc-aseg_dseg.nii.gz"
    write_image(labels, np.ones(SHAPE), AFFINE, dtype=np.int16)
    found = collect_field_maps(
        root, ["01"], derivatives=[root.parent / "labels"], reference_pattern="r/{prefix}.nii.gz"
    )
    (run,) = found.runs
    assert run.files == (
        str(path),
        str(path.with_name("sub-01_magnitude.nii.gz")),
        str(root / "r/sub-01.nii.gz"),
    )
    assert run.segmentation["labels"] == str(labels)


@pytest.mark.parametrize("units", [["Hz"], {"a": 1}, None, 7, "hz"])
def test_units_of_any_type_are_told(root, units):
    add_field_map(root, sidecar={"Units": units, "MagneticFieldStrength": 3})
    (skipped,) = collect_field_maps(root, ["01"]).skipped
    assert "Units is" in skipped.reason
    assert "unforeseen" not in skipped.reason


def test_a_field_map_lies_where_its_name_says(root):
    path = add_field_map(root)
    for name in ("sub-02_fieldmap", "sub-01_ses-a_fieldmap"):
        for extension in (".nii.gz", ".json"):
            shutil.copy(str(path).replace(".nii.gz", extension), path.parent / (name + extension))
    found = collect_field_maps(root, ["01"])
    assert [run.prefix for run in found.runs] == ["sub-01"]
    assert all("lies in sub-01" in skipped.reason for skipped in found.skipped)
    assert len(found.skipped) == 2
    (root / ".bidsignore").write_text("fmap/\n")
    assert "named by .bidsignore" in {s.reason for s in collect_field_maps(root, ["01"]).left_out}


def test_a_magnitude_that_was_not_fetched_is_told(root):
    path = add_field_map(root).with_name("sub-01_magnitude.nii.gz")
    DAMAGES["annexLink"](path)
    (skipped,) = collect_field_maps(root, ["01"]).skipped
    assert "datalad get" in skipped.reason
