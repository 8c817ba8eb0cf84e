"""Results are of one data set, wherever that is mounted."""

import shutil

import pytest
from bids_trees import add_megre, make_dataset

from qsm_pipeline.bids.derivatives import write_dataset_files
from qsm_pipeline.bids.ownership import check_owner
from qsm_pipeline.exceptions import ConfigError


def test_a_data_set_is_known_again_at_another_path(tmp_path):
    """In a container, or where it was moved; what was added since does not matter."""
    raw = make_dataset(tmp_path / "raw")
    for label in ("01", "02"):
        add_megre(raw, sub=label)
    out = tmp_path / "out"
    write_dataset_files(out, raw)
    raw.rename(tmp_path / "mounted")
    mounted = tmp_path / "mounted"
    check_owner(out, mounted)
    add_megre(mounted, sub="00")
    shutil.rmtree(mounted / "sub-02")
    check_owner(out, mounted)


@pytest.mark.parametrize("change", ["name", "images", "participants"])
def test_another_data_set_with_the_same_labels_is_refused(tmp_path, change):
    raw, other = (make_dataset(tmp_path / name) for name in ("raw", "other"))
    add_megre(raw, sub="01")
    add_megre(other, sub="02" if change == "participants" else "01")
    if change == "name":
        (other / "dataset_description.json").write_text('{"Name": "B", "BIDSVersion": "1.10.0"}')
    if change == "images":
        image = next((other / "sub-01/anat").glob("*part-phase*.nii.gz"))
        image.write_bytes(image.read_bytes() + b"0")
    write_dataset_files(tmp_path / "out", raw)
    with pytest.raises(ConfigError, match="holds results of"):
        check_owner(tmp_path / "out", other)
