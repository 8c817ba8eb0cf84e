"""How a command ends says why, in the numbers of the BIDS execution specification."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bids_trees
import commands
import pytest
from click.testing import CliRunner

from qsm_pipeline.cli import audit, cycleqsm, simulate
from qsm_pipeline.exit_codes import ExitCode, of_nothing

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cohorts.md"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = bids_trees.make_dataset(tmp_path_factory.mktemp("raw"))
    for session in ("a", "b"):
        bids_trees.add_megre(root, sub="01", ses=session)
    bids_trees.add_megre(root, sub="02", ses="a")
    return root


def _dry(raw, out, *more):
    return commands.call(raw, out, "participant", "--dry-run", "--skip-bids-validation", *more)


def test_the_documentation_lists_them():
    rows = [f"| {code:d} | {code.meaning} |" for code in ExitCode]
    assert "\n".join(rows) in DOCS.read_text()


def test_no_number_belongs_to_the_shell():
    assert not {2, *range(126, 166)} & set(ExitCode)


def test_of_what_was_left_out_the_common_reason_counts():
    assert of_nothing([]) == ExitCode.NOTHING_CHOSEN
    assert of_nothing([ExitCode.NO_INPUT] * 2) == ExitCode.NO_INPUT
    assert of_nothing([ExitCode.NO_INPUT, ExitCode.DATA]) == ExitCode.DATA


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("{raw}", "{out}", "participant", "--no-such-option"), ExitCode.USAGE),
        (("{raw}", "{out}", "participant", "--nprocs", "none"), ExitCode.USAGE),
        (("{raw}", "{out}"), ExitCode.USAGE),
        (("{raw}", "{out}", "session"), ExitCode.LEVEL),
        (("{raw}/none", "{out}", "participant"), ExitCode.NO_INPUT),
        (("{raw}", "{out}", "participant", "--config-file", "{raw}/no"), ExitCode.NO_INPUT),
        (("{raw}", "{out}", "group"), ExitCode.NO_INPUT),
        (("{raw}", "{raw}/out", "participant"), ExitCode.USAGE),
        (("{raw}", "{file}/out", "participant"), ExitCode.NO_OUTPUT),
        (("{raw}/sub-01", "{out}", "participant"), ExitCode.USAGE),
        (("methods", "no-such-method"), ExitCode.USAGE),
    ],
)
def test_a_command_that_cannot_be_used(raw, tmp_path, words, code):
    (tmp_path / "file").touch()
    words = (w.format(raw=raw, out=tmp_path / "out", file=tmp_path / "file") for w in words)
    assert commands.call(*words).exit_code == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("program", [audit.main, cycleqsm.main, simulate.main])
def test_every_program_answers_a_wrong_option_alike(program):
    assert CliRunner().invoke(program, ["--no-such-option"]).exit_code == ExitCode.USAGE


def test_a_wrong_option_of_a_command_below_a_program():
    result = CliRunner().invoke(cycleqsm.main, ["predict", "--no-such-option"])
    assert result.exit_code == ExitCode.USAGE


def test_a_folder_that_is_no_data_set(tmp_path):
    (tmp_path / "sub-01").mkdir()
    assert _dry(tmp_path, tmp_path / "out").exit_code == ExitCode.INVALID_BIDS


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ((), ExitCode.OK),
        (("--participant-label", "99"), ExitCode.NOTHING_CHOSEN),
        (("--session-label", "99"), ExitCode.NOTHING_CHOSEN),
        (("--participant-label", "02", "--session-label", "b"), ExitCode.NOTHING_CHOSEN),
        (("--bids-filter-file", {"gre": {"acquisition": "none"}}), ExitCode.NOTHING_CHOSEN),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_chooses_nothing(raw, tmp_path, more, code, dry):
    if not (dry or code):
        pytest.skip("maps everything")
    (tmp_path / "filter.json").write_text(json.dumps(more[1] if more else {}))
    more = [tmp_path / "filter.json" if isinstance(word, dict) else word for word in more]
    call = _dry if dry else commands.run
    result = call(raw, tmp_path / "out", *more)
    assert result.exit_code == code, result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("*", ExitCode.NO_INPUT),
        ("*part-phase*", ExitCode.NO_INPUT),
        ("*part-phase*.json", ExitCode.DATA),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_data_that_cannot_be_used(raw, tmp_path, pattern, code, dry):
    copy = shutil.copytree(raw, tmp_path / "raw")
    for path in copy.glob(f"sub-*/ses-*/anat/{pattern}"):
        path.unlink()
    call = _dry if dry else commands.run
    result = call(copy, tmp_path / "out", *(() if dry else ("--skip-bids-validation",)))
    assert result.exit_code == code, result.output


def test_what_others_work_on_will_succeed_later(raw, tmp_path):
    from qsm_pipeline.io.locks import NameLocks

    locks = NameLocks(tmp_path / "out" / "logs" / "locks.txt")
    locks.acquire("01", 0)
    result = commands.run(raw, tmp_path / "out", "--participant-label", "01")
    locks.close()
    assert result.exit_code == ExitCode.TEMPORARY, result.output
    assert "is being processed by" in result.output
