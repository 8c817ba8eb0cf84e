"""Which segmentation a run gets."""

import nibabel as nib
import numpy as np
import pytest
from bids_trees import AFFINE, SHAPE, write_image

from qsm_pipeline.bids.segmentations import find_segmentation, read_labels
from qsm_pipeline.exceptions import BIDSInputError

RUN = {"sub": "01", "ses": "a", "acq": "qsm", "run": "1"}
OTHER = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def gre(tmp_path):
    return write_image(tmp_path / "raw" / "gre.nii.gz", np.zeros(SHAPE))


def _add(root, name, affine=OTHER, level="sub-01/ses-a/anat"):
    return write_image(root / level / name, np.ones(SHAPE), affine, np.uint8)


def test_without_one_there_is_none(tmp_path, gre):
    root = tmp_path / "d"
    root.mkdir()
    assert find_segmentation(RUN, gre, []) is None
    assert find_segmentation(RUN, gre, [root]) is None
    _add(root, "sub-01_ses-a_dseg.nii.gz")  # tissue classes
    _add(root, "sub-01_ses-a_space-MNI152NLin6Asym_desc-aseg_dseg.nii.gz")
    _add(root, "sub-01_ses-a_acq-other_desc-aseg_dseg.nii.gz", AFFINE)
    _add(root, "sub-01_ses-b_desc-aseg_dseg.nii.gz")
    assert find_segmentation(RUN, gre, [root]) is None


def test_labels_on_the_voxels_of_the_run_win(tmp_path, gre):
    root = tmp_path / "d"
    _add(root, "sub-01_ses-a_desc-aseg_dseg.nii.gz")
    own = _add(root, "sub-01_ses-a_acq-qsm_seg-nuclei_dseg.nii.gz", AFFINE)
    found = find_segmentation(RUN, gre, [root])
    assert (found.labels, found.name, found.same_grid) == (str(own), "nuclei", True)


def test_aseg_of_fmriprep_with_a_transform_in_either_direction(tmp_path, gre):
    root = tmp_path / "d"
    aseg = _add(root, "sub-01_ses-a_acq-mprage_run-2_desc-aseg_dseg.nii.gz")
    _add(root, "sub-01_ses-a_desc-aparcaseg_dseg.nii.gz")
    (root / "desc-aseg_dseg.tsv").write_text("index\tname\n1\tx\n")
    with pytest.raises(BIDSInputError, match=r"neither a transform .* nor a T1-weighted image"):
        find_segmentation(RUN, gre, [root])
    _add(root, "notbids_desc-preproc_T1w.nii.gz")
    image = _add(root, "sub-01_ses-a_desc-preproc_T1w.nii.gz")
    found = find_segmentation(RUN, gre, [root])
    assert (found.labels, found.anatomy, found.transform) == (str(aseg), str(image), "")
    assert found.names == str(root / "desc-aseg_dseg.tsv")
    back = aseg.parent / "sub-01_ses-a_from-MEGRE_to-T1w_mode-image_xfm.txt"
    back.touch()
    (aseg.parent / "sub-01_ses-a_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5").touch()
    found = find_segmentation(RUN, gre, [root])
    assert (found.transform, found.inverse) == (str(back), True)
    there = aseg.parent / "sub-01_ses-a_from-MEGRE_to-T1w_mode-image_xfm.json"
    there.touch()
    back.unlink()
    assert find_segmentation(RUN, gre, [root]).transform == ""
    straight = aseg.parent / "sub-01_ses-a_from-T1w_to-MEGRE_mode-image_xfm.txt"
    straight.touch()
    found = find_segmentation(RUN, gre, [root])
    assert (found.transform, found.inverse) == (str(straight), False)


def test_anatomy_that_all_sessions_share(tmp_path, gre):
    root = tmp_path / "d"
    aseg = _add(root, "sub-01_desc-aseg_dseg.nii.gz", level="sub-01/anat")
    _add(root, "sub-01_desc-preproc_T1w.nii.gz", level="sub-01/anat")
    assert find_segmentation(RUN, gre, [root]).labels == str(aseg)


def test_folders_of_freesurfer_and_fastsurfer(tmp_path, gre):
    root = tmp_path / "fs"
    mri = root / "sub-01" / "mri"
    mri.mkdir(parents=True)
    for name in ("aparc.DKTatlas+aseg.deep.mgz", "orig.mgz"):
        nib.save(nib.MGHImage(np.full(SHAPE, 11, np.int32), OTHER), mri / name)
    found = find_segmentation(RUN, gre, [root])
    assert (found.name, found.anatomy) == ("fastsurfer", str(mri / "orig.mgz"))
    nib.save(nib.MGHImage(np.full(SHAPE, 11, np.int32), OTHER), mri / "aseg.mgz")
    assert find_segmentation(RUN, gre, [root]).name == "aseg"
    labels, affine = read_labels(mri / "aseg.mgz")
    assert (labels == 11).all()
    np.testing.assert_array_equal(affine, OTHER)


def test_two_that_fit_equally_well_are_refused(tmp_path, gre):
    root = tmp_path / "d"
    _add(root, "sub-01_ses-a_seg-a_dseg.nii.gz", AFFINE)
    _add(root, "sub-01_ses-a_seg-b_dseg.nii.gz", AFFINE)
    with pytest.raises(BIDSInputError, match="2 segmentations fit equally well"):
        find_segmentation(RUN, gre, [root])


@pytest.mark.parametrize(
    "values", [np.full(SHAPE, 0.5), np.full(SHAPE, -1), np.ones((3, 3, 3, 2))]
)
def test_what_holds_no_labels_is_refused(tmp_path, values):
    path = write_image(tmp_path / "x.nii.gz", values)
    with pytest.raises(BIDSInputError, match=r"x\.nii\.gz"):
        read_labels(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(BIDSInputError, match="cannot be read as an image"):
        read_labels(path)
    path.unlink()
    with pytest.raises(BIDSInputError, match="does not exist"):
        read_labels(path)
