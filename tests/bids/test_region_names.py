import pytest

from qsm_pipeline.bids.region_names import FREESURFER, hemisphere, names_beside, read_names
from qsm_pipeline.exceptions import BIDSInputError


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Left-Caudate", "left"),
        ("Right-Pallidum", "right"),
        ("ctx-lh-insula", "left"),
        ("Putamen_R", "right"),
        ("L_Thalamus", "left"),
        ("caudate left", "left"),
        ("Brain-Stem", "n/a"),
        ("Pallidum", "n/a"),
        ("left_to_right_tract", "n/a"),
    ],
)
def test_sides_are_read_from_names(name, side):
    assert hemisphere(name) == side


def test_freesurfer_has_every_nucleus_on_both_sides():
    for left, right, name in (
        (10, 49, "Thalamus"),
        (11, 50, "Caudate"),
        (12, 51, "Putamen"),
        (13, 52, "Pallidum"),
        (26, 58, "Accumbens-area"),
    ):
        assert FREESURFER[left] == f"Left-{name}"
        assert FREESURFER[right] == f"Right-{name}"
    assert len(set(FREESURFER.values())) == len(FREESURFER)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.tsv", "name\tindex\tcolor\nBackground\t0\t#000\nLeft Caudate\t11\t#fff\nx\t50\t\n"),
        ("a.txt", "# colours\n0 Unknown 0 0 0 0\n11  Left_Caudate 1 2 3 0\n\n50 x\n"),
        ("a.txt", "11|Left_Caudate|x\n50,x\n"),
    ],
)
def test_tables_and_colour_tables_are_read(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    names = {k: v.replace(" ", "_") for k, v in read_names(tmp_path / file).items()}
    assert names == {11: "Left_Caudate", 50: "x"}


@pytest.mark.parametrize("text", ["", "index\tname\n", "nothing here\n"])
def test_a_file_without_a_name_is_refused(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(BIDSInputError, match=r"a\.tsv names no label"):
        read_names(tmp_path / "a.tsv")
    with pytest.raises(BIDSInputError, match="cannot be read"):
        read_names(tmp_path / "absent.tsv")


def test_names_are_found_beside_the_image_and_at_the_root_of_the_data_set(tmp_path):
    anat = tmp_path / "sub-01" / "ses-a" / "anat"
    anat.mkdir(parents=True)
    image = anat / "sub-01_ses-a_desc-aseg_dseg.nii.gz"
    assert names_beside(image) is None
    (tmp_path / "dseg.tsv").touch()
    (tmp_path / "desc-aparcaseg_dseg.tsv").touch()
    assert names_beside(image) is None
    root = tmp_path / "desc-aseg_dseg.tsv"
    root.touch()
    assert names_beside(image) == root
    near = anat / "sub-01_ses-a_desc-aseg_dseg.tsv"
    near.touch()
    assert names_beside(image) == near
    (tmp_path / "aal.nii.txt").touch()
    assert names_beside(tmp_path / "aal.nii.gz") == tmp_path / "aal.nii.txt"
