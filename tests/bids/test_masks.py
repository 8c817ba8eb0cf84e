import pytest

from qsm_pipeline.bids.masks import find_mask
from qsm_pipeline.exceptions import BIDSInputError

RUN = {"sub": "01", "ses": "a", "acq": "q"}


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pattern(tmp_path):
    touch(tmp_path, "m/01/a/brain.nii.gz", "m/02/a/brain.nii.gz", "m/sub-01_ses-a_acq-q.nii")
    assert find_mask(RUN, tmp_path, "m/{sub}/{ses}/*.nii.gz").endswith("m/01/a/brain.nii.gz")
    assert find_mask(RUN, tmp_path, str(tmp_path / "m/{prefix}.nii")).endswith("acq-q.nii")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("m/{run}.nii", "needs the entity 'run', which this run lacks; it has sub, ses, acq"),
        ("m/{sub}/none.nii", "finds no file: m/01/none.nii"),
        ("m/{sub}/*.nii", "finds 2 files, expected one"),
    ],
)
def test_pattern_refused(tmp_path, pattern, message):
    touch(tmp_path, "m/01/x.nii", "m/01/y.nii")
    with pytest.raises(BIDSInputError, match=message):
        find_mask(RUN, tmp_path, pattern)


def test_derivatives(tmp_path):
    folder, start = "sub-01/ses-a/anat/", "sub-01_ses-a"
    touch(
        tmp_path,
        f"{folder}{start}_desc-brain_mask.nii.gz",
        f"{folder}{start}_acq-q_desc-qsm_mask.nii.gz",
        f"{folder}{start}_acq-q_space-MNI_desc-brain_mask.nii.gz",
        f"{folder}{start}_acq-q_desc-lesion_mask.nii.gz",
        f"{folder}{start}_acq-other_desc-brain_mask.nii.gz",
        f"{folder}{start}_acq-q_desc-brain_mask.json",
    )
    assert find_mask(RUN, tmp_path, "", [tmp_path]).endswith("acq-q_desc-qsm_mask.nii.gz")
    touch(tmp_path, f"{folder}{start}_acq-q_desc-brain_mask.nii.gz")
    assert find_mask(RUN, tmp_path, "", [tmp_path]).endswith("acq-q_desc-brain_mask.nii.gz")
    assert find_mask({"sub": "02"}, tmp_path, "", [tmp_path]) == ""
    touch(tmp_path, f"{folder}{start}_acq-q_label-brain_mask.nii.gz")
    with pytest.raises(BIDSInputError, match="2 masks fit equally well"):
        find_mask(RUN, tmp_path, "", [tmp_path])
