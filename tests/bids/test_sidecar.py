import pytest
from bids.layout import BIDSLayout
from bids_trees import add_megre, make_dataset, write_sidecar

from qsm_pipeline.bids.sidecar import SidecarReader, read_json_object
from qsm_pipeline.exceptions import BIDSInputError


def test_inheritance_agrees_with_pybids(tmp_path):
    root = make_dataset(tmp_path / "raw")
    add_megre(root, ses="a", between="acq-q")
    paths = add_megre(root, ses="b", between="acq-q")
    write_sidecar(root / "MEGRE.json", {"FlipAngle": 15, "Level": "root"})
    write_sidecar(root / "echo-2_MEGRE.json", {"Root2": 2})
    write_sidecar(root / "acq-other_MEGRE.json", {"Wrong": 1})
    write_sidecar(root / "sub-01" / "sub-01_part-phase_MEGRE.json", {"Level": "subject"})
    write_sidecar(root / "sub-01" / "ses-b" / "sub-01_ses-b_MEGRE.json", {"Session": "b"})
    layout, reader = BIDSLayout(root, validate=False), SidecarReader(root)
    for path in paths.values():
        assert reader.metadata(path) == dict(layout.get_metadata(path))
    merged = reader.metadata(paths["phase", 2])
    assert (merged["Level"], merged["Root2"], merged["Session"]) == ("subject", 2, "b")
    assert "Wrong" not in merged


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[1]", "holds a JSON list, expected an object"),
        ("[" * 100000, "is not valid JSON"),
        ("null", "holds a JSON NoneType"),
        ('{"a": "' + "x" * 17 * 2**20 + '"}', "is larger than 16 MiB"),
    ],
    ids=["cut", "empty", "list", "deep", "null", "huge"],
)
def test_broken_json(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BIDSInputError, match=message) as caught:
        read_json_object(path)
    assert str(path) in str(caught.value)


def test_binary_and_missing(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BIDSInputError, match="is not valid JSON"):
        read_json_object(tmp_path / "b.json")
    with pytest.raises(BIDSInputError, match="does not exist"):
        read_json_object(tmp_path / "c.json")
