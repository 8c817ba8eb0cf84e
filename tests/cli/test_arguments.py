"""Every order in which users of BIDS Apps type the folders and the labels."""

import shlex

import pytest
from click.testing import CliRunner

from qsm_pipeline.cli.main import main


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Return a function that gives the keywords a command line leads to, or its output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "masks").mkdir()
    seen = {}

    def note(**keywords):
        seen.update(keywords)
        return False

    monkeypatch.setattr("qsm_pipeline.app.participant.run_participants", note)

    def run(line):
        seen.clear()
        result = CliRunner().invoke(main, shlex.split(line))
        return dict(seen) if result.exit_code == 0 else result.output

    return run


@pytest.mark.parametrize(
    "line",
    [
        "raw out participant --participant-label 01 02",
        "raw out participant --participant_label 01 02 --session-label a",
        "raw out participant --participant-label 01 --participant-label 02",
        "--participant-label 01 02 raw out participant",
        "--participant-label 01 02 -- raw out participant",
        "--participant-label 01 02 --nprocs 2 raw out participant",
        "raw --participant-label 01 02 out participant",
        "raw out --participant-label 01 02 participant",
        "raw out --participant-label 01 02 participant --session-label a b",
        "raw out --participant-label 01 02 --nprocs 2 participant",
        "--participant-label 01 02 raw out --session-label a participant",
        "--session-label a --participant-label 01 02 raw out participant -v",
        "raw out participant -w work --participant-label=01 --participant-label=02",
        "-d masks --participant-label 01 02 raw out participant",
        "--participant-label 01 02 -d masks masks raw out participant",
        "--participant-label 01 02 raw out -d masks participant",
    ],
)
def test_labels_and_folders_in_any_order(call, line):
    keywords = call(line)
    assert isinstance(keywords, dict), keywords
    assert keywords["participant_label"] == ("01", "02")
    assert (keywords["bids_dir"].name, keywords["out_dir"].name) == ("raw", "out")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("raw out --participant-label 01 02", "{participant|group} is missing"),
        ("raw out participant --participant-label", "requires an argument"),
        ("raw out cohort", "'cohort' is not one of 'participant', 'group'"),
        ("raw out participant --participant-labels 01", "No such option"),
        ("raw out participant --nprocs 0", "0 is not in the range x>=1"),
        ("raw out participant --nprocs two", "'two' is not a valid integer"),
        ("raw out participant --mem-gb 0", "0.0 is not in the range x>0"),
        ("nowhere out participant", "nowhere does not exist"),
        ("raw out participant extra", "unexpected extra argument (extra)"),
    ],
)
def test_what_cannot_be_understood_is_said(call, line, words):
    assert words in call(line)


def test_derivatives_take_several_folders(call):
    folders = call("-d masks masks --participant-label 01 raw out participant")["derivatives"]
    assert [f.name for f in folders] == ["masks", "masks"]


def test_underscores_in_the_names_of_options(call):
    line = "raw out participant --session_label a b --mask_method=robust --slurm-options --a_b=c_d"
    seen = call(line)
    assert (seen["session_label"], seen["mask_method"]) == (("a", "b"), "robust")
