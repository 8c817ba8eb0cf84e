"""Who is asked for: labels, files of labels, exclusions; and the log of a command."""

import json
import shutil

import bids_trees
import commands
import pytest
from simulated_cohort import make_cohort

from qsm_pipeline.bids.selection import with_files
from qsm_pipeline.exceptions import NoInputError, NothingChosenError
from qsm_pipeline.exit_codes import ExitCode


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = bids_trees.make_dataset(tmp_path_factory.mktemp("raw"))
    for label in ("01", "02", "03"):
        bids_trees.add_megre(root, sub=label)
    return root


@pytest.mark.parametrize(
    "text",
    [
        b"01\nsub-03\n",
        b"\xef\xbb\xbf01\r\n\r\nsub-03\r\n",
        b"# of the second scanner\n01  # again\nsub-03",
        b"participant_id\tage\nsub-01\t30\nsub-03\tn/a\n",
    ],
)
def test_labels_of_a_file(tmp_path, text):
    (tmp_path / "who.txt").write_bytes(text)
    found = with_files([f"@{tmp_path}/who.txt", "02", "02"])
    assert [label.removeprefix("sub-") for label in found] == ["01", "03", "02"]


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, NoInputError), (b"", NothingChosenError), (b"\xff\xfe0\x001", NoInputError)],
)
def test_a_file_that_names_nobody(tmp_path, text, error):
    if text is not None:
        (tmp_path / "who.txt").write_bytes(text)
    with pytest.raises(error, match=r"who\.txt"):
        with_files([f"@{tmp_path}/who.txt"])


def _runs(raw, out, *more):
    options = ("--dry-run", "--skip-bids-validation")
    result = commands.call(raw, out, "participant", *options, *more)
    return result, [line[10:16] for line in result.lines if line.startswith("would run ")]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--participant-label", "@{file}"], ["sub-01", "sub-03"]),
        (["--exclude-participant-label", "@{file}"], ["sub-02"]),
        (["--exclude_participant_label", "01", "sub-02"], ["sub-03"]),
        (["--participant-label", "01", "02", "--exclude-participant-label", "02"], ["sub-01"]),
        (["--exclude-participant-label", "77"], ["sub-01", "sub-02", "sub-03"]),
        (["--config-file", "{config}"], ["sub-01", "sub-03"]),
    ],
)
def test_who_is_chosen(raw, tmp_path, words, found):
    (tmp_path / "who.txt").write_text("01\n03\n")
    (tmp_path / "a.toml").write_text(f'participant_label = "@{tmp_path}/who.txt"\n')
    places = {"file": tmp_path / "who.txt", "config": tmp_path / "a.toml"}
    result, runs = _runs(raw, tmp_path / "out", *(word.format(**places) for word in words))
    assert result.exit_code == ExitCode.OK, result.output
    assert runs == found


def test_exclusion_is_named_and_may_not_leave_nobody(raw, tmp_path):
    result, _ = _runs(raw, tmp_path / "out", "--exclude-participant-label", "02")
    assert "left out sub-02: named by --exclude-participant-label" in result.lines
    result, _ = _runs(
        raw, tmp_path, "--participant-label", "1", "--exclude-participant-label", "1"
    )
    assert result.exit_code == ExitCode.NOTHING_CHOSEN
    everybody = ("--exclude-participant-label", "01", "02", "03")
    assert _runs(raw, tmp_path / "out", *everybody)[0].exit_code == ExitCode.NOTHING_CHOSEN


def test_the_group_level_and_arrays_leave_out_too(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 3)
    result = commands.call(raw, out, "group", "--exclude-participant-label", labels[1])
    assert result.exit_code == ExitCode.OK, result.output
    rows = (out / "group_quality.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == [f"sub-{labels[0]}", f"sub-{labels[2]}"]
    (log,) = out.glob("logs/group_*.log")
    assert result.lines[-1] in log.read_text()


@pytest.mark.command
def test_a_command_leaves_its_log(tmp_path):
    raw, out = commands.make_dataset(tmp_path, ("01", "02")), tmp_path / "out"
    next((raw / "sub-02/anat").glob("*echo-1_part-phase*.json")).unlink()
    refused = commands.run(raw, out, "--inversion", "nothing")
    assert refused.exit_code == ExitCode.USAGE
    assert not out.exists()
    result = commands.run(raw, out)
    (log,) = out.glob("logs/participant_*.log")
    text = log.read_text()
    for line in result.lines:
        assert line in text, line
    assert text.startswith("qsm-pipeline ")
    assert "skipped sub-02_MEGRE" in text


def test_equally_good_segmentations_are_told_apart_by_name_or_folder(tmp_path):
    raw = bids_trees.make_dataset(tmp_path / "raw")
    bids_trees.add_megre(raw, sub="01")
    image = next((raw / "sub-01/anat").glob("*.nii.gz"))
    for folder, names in {"a": ("one", "two"), "b": ("one",)}.items():
        anat = tmp_path / folder / "sub-01" / "anat"
        anat.mkdir(parents=True)
        for name in names:
            shutil.copy(image, anat / f"sub-01_seg-{name}_dseg.nii.gz")
    a, b = ("--derivatives", tmp_path / "a"), ("--derivatives", tmp_path / "b")
    tied, _ = _runs(raw, tmp_path / "out", *a, *b)
    assert "2 segmentations fit equally well" in tied.output
    assert "--segmentation one" in tied.output
    for more in ((*a, "--segmentation", "two"), (*b, *a)):
        result, runs = _runs(raw, tmp_path / "out", *more)
        assert runs == ["sub-01"], result.output
    wrong, _ = _runs(raw, tmp_path / "out", *a, "--segmentation", "three")
    assert "there is no segmentation 'three', but one, two" in wrong.output
    assert json.loads((raw / "dataset_description.json").read_text())
