"""What users of other BIDS Apps do, and what their data sets hold."""

import json

import numpy as np
import pytest
from bids_trees import AFFINE, SHAPE, add_megre, make_dataset, write_image, write_sidecar

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.exceptions import BIDSInputError


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "raw")


def _prefixes(found):
    return [run.prefix for run in found.runs]


def test_a_participant_without_the_session_is_left_out_and_no_fault(root):
    add_megre(root, sub="01", ses="01")
    add_megre(root, sub="01", ses="02")
    add_megre(root, sub="02", ses="01")
    found = collect_runs(index(root), session_labels=["02"])
    assert _prefixes(found) == ["sub-01_ses-02"]
    assert found.skipped == ()
    assert "has no session named by --session-label" in {s.reason for s in found.left_out}
    alone = collect_runs(index(root, ["02"]), ["02"], ["02"])
    assert (alone.runs, alone.skipped) == ((), ())
    with pytest.raises(BIDSInputError, match=r"ses-03 is not in .*; it has: 01, 02"):
        collect_runs(index(root), session_labels=["03"])


def test_images_count_in_their_anat_folder_alone(root):
    paths = add_megre(root)
    for name in ("extra_data", "ses-01/extra/anat", "anat/old"):
        folder = root / "sub-01" / name
        folder.mkdir(parents=True)
        for path in paths.values():
            (folder / path.name.replace("_echo", "_acq-x_echo")).symlink_to(path)
    found = collect_runs(index(root))
    assert (_prefixes(found), found.skipped) == (["sub-01"], ())
    assert {"not in sub-X[/ses-Y]/anat, so it is no raw image"} == {
        s.reason for s in found.left_out
    }
    assert any(s.what.startswith("sub-01/extra_data/") for s in found.left_out)


@pytest.mark.parametrize(
    ("named", "lies"), [("_ses-02", "ses-01"), ("", "ses-01"), ("_ses-01", "")]
)
def test_a_session_in_the_name_alone_or_another_one_is_refused(root, named, lies):
    for path in add_megre(root).values():
        for each in (path, path.with_name(path.name.replace(".nii.gz", ".json"))):
            target = (
                root / "sub-01" / lies / "anat" / each.name.replace("sub-01", f"sub-01{named}")
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            each.rename(target)
    found = collect_runs(index(root))
    assert found.runs == ()
    for skipped in found.skipped:
        assert "rename one of them" in skipped.reason
        assert skipped.what.startswith("sub-01/")


def test_bidsignore(root):
    for between in ("acq-a", "acq-b", "acq-c", "acq-d"):
        add_megre(root, between=between)
    add_megre(root, sub="02")
    (root / ".bidsignore").write_text(
        "# not ours\n*_acq-a_*\n/sub-01/**/*acq-b*\nsub-02/\n*acq-[c]*\n*acq-d*\n!*acq-d*\n"
    )
    found = collect_runs(index(root))
    assert _prefixes(found) == ["sub-01_acq-c", "sub-01_acq-d"]
    assert "named by .bidsignore" in {s.reason for s in found.left_out}


def test_sidecars_of_equal_rank_that_disagree_are_refused(root):
    add_megre(root)
    for name, strength in (("acq-a", 3), ("run-1", 7)):
        add_megre(root, between="acq-a_run-1", sidecar={"Manufacturer": "Siemens"})
        write_sidecar(root / f"{name}_MEGRE.json", {"MagneticFieldStrength": strength})
    found = collect_runs(index(root))
    assert _prefixes(found) == ["sub-01"]
    (skipped,) = found.skipped
    assert "acq-a_MEGRE.json and " in skipped.reason
    assert "run-1_MEGRE.json both apply" in skipped.reason
    write_sidecar(root / "run-1_MEGRE.json", {"MagneticFieldStrength": 3})
    assert len(collect_runs(index(root)).runs) == 2


def test_a_number_that_is_not_finite_is_dropped_with_a_note(root):
    paths = add_megre(root)
    sidecar = paths["phase", 1].with_name(paths["phase", 1].name.replace(".nii.gz", ".json"))
    text = json.dumps(json.loads(sidecar.read_text()) | {"RepetitionTime": float("nan")})
    sidecar.write_text(text.replace("NaN", "1e999"))
    (run,) = collect_runs(index(root)).runs
    assert "RepetitionTime" in run.inferred["not_finite"]
    json.dumps(run.to_dict(), allow_nan=False)


def test_a_mask_of_other_voxels_is_none_of_the_run(root, tmp_path):
    add_megre(root)
    anat = tmp_path / "fmriprep/sub-01/anat"
    write_image(anat / "sub-01_desc-brain_mask.nii.gz", np.ones(SHAPE), 2 * AFFINE)
    (run,) = collect_runs(index(root), derivatives=[tmp_path / "fmriprep"]).runs
    assert run.mask == ""
    write_image(anat / "sub-01_desc-brain_mask.nii.gz", np.ones(SHAPE))
    (run,) = collect_runs(index(root), derivatives=[tmp_path / "fmriprep"]).runs
    assert run.mask.endswith("sub-01_desc-brain_mask.nii.gz")


def test_filter_files_as_fmriprep_has_them(root):
    add_megre(root, between="acq-a")
    add_megre(root, between="acq-b_run-1")
    add_megre(root)
    filters = {
        "t1w": {"datatype": "anat", "suffix": "T1w"},
        "bold": {"task": "rest"},
        "megre": {"datatype": "anat", "suffix": "MEGRE", "acquisition": "*", "run": None},
    }
    found = collect_runs(index(root), bids_filters=filters)
    assert _prefixes(found) == ["sub-01_acq-a"]
    found = collect_runs(index(root), bids_filters={"gre": {"suffix": "T2starw"}})
    assert found.runs == ()
