"""What the BIDS validator says, or fails to say."""

import json
import stat
import sys
from pathlib import Path

import bids_trees
import commands
import pytest

from qsm_pipeline.app import validation
from qsm_pipeline.app.validation import validate_bids
from qsm_pipeline.exceptions import InvalidBIDSError
from qsm_pipeline.exit_codes import ExitCode


def _issue(location, code="NOT_INCLUDED", severity="error"):
    return {"code": code, "severity": severity, "location": location}


@pytest.fixture
def validator(tmp_path, monkeypatch):
    """Put a validator in the place of the real one; it writes and ends as it is told."""

    def made(said, status=16, complaint="", signal=0):
        program = tmp_path / "validator"
        text = said if isinstance(said, str) else json.dumps({"issues": {"issues": said}})
        (tmp_path / "said.txt").write_text(text)
        end = f"kill -{signal} $$" if signal else f"exit {status}"
        program.write_text(
            f"#!/bin/sh\ncat '{tmp_path}/said.txt'\necho '{complaint}' >&2\n{end}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(validation.shutil, "which", lambda *_, **__: str(program))

    return made


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"said": [], "status": 1, "complaint": "out of memory"}, "status is 1; out of memory"),
        ({"said": [_issue("/sub-01/x.txt")], "status": 133}, "status is 133"),
        ({"said": [], "signal": 9}, "killed by signal 9"),
        ({"said": '{"issues": {"iss', "status": 16}, "is no report"),
        ({"said": "", "status": 0}, "is no report"),
        ({"said": "[" * 100_000, "status": 16}, "is no report"),
    ],
)
def test_a_crash_is_no_verdict(validator, tmp_path, how, words):
    validator(**how)
    said = []
    validate_bids(tmp_path, said.append)
    (line,) = said
    assert line.startswith("BIDS validation gave no verdict, the validator failed: ")
    assert words in line


def test_errors_are_grouped_and_all_are_kept(validator, tmp_path):
    issues = [_issue(f"/sub-01/{n}.txt") for n in range(500)]
    issues += [_issue("/README", "EMPTY_FILE"), _issue("/README", "SMALL", "warning")]
    validator(issues)
    out = tmp_path / "out"
    out.mkdir()
    said = []
    with pytest.raises(InvalidBIDSError, match=r"see above and .*bids_validation\.json"):
        validate_bids(tmp_path, said.append, out)
    assert said == [
        "BIDS error NOT_INCLUDED, 500 time(s): "
        + ", ".join(f"/sub-01/{n}.txt" for n in range(4))
        + ", ...",
        "BIDS error EMPTY_FILE, 1 time(s): /README",
    ]
    kept = json.loads((out / "logs" / "bids_validation.json").read_text())
    assert kept["issues"]["issues"] == issues


@pytest.mark.parametrize(
    ("place", "asked", "counts"),
    [
        ("/sub-01/anat/x", ({"02"}, ()), False),
        ("/sub-01/anat/x", ({"01"}, ()), True),
        ("/sub-01/anat/x", ((), ()), True),
        ("/sub-010/anat/x", ({"01"}, ()), False),
        ("/participants.tsv", ({"01"}, {"a"}), True),
        ("", ({"01"}, {"a"}), True),
        ("/sub-01/ses-b/anat/x", ({"01"}, {"a"}), False),
        ("/sub-01/ses-a/anat/x", ({"01"}, {"a"}), True),
        ("/sub-01/sub-01_sessions.tsv", ({"01"}, {"a"}), True),
    ],
)
def test_only_what_was_asked_for_counts(validator, tmp_path, place, asked, counts):
    validator([_issue(place)])
    said = []
    if counts:
        with pytest.raises(InvalidBIDSError):
            validate_bids(tmp_path, said.append, None, *asked)
    else:
        validate_bids(tmp_path, said.append, None, *asked)
        assert said == ["note: 1 error(s) of BIDS in participants or sessions not asked for"]


def test_a_dry_run_validates_and_still_lists(tmp_path):
    if not Path(sys.executable).with_name("bids-validator-deno").exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    raw = bids_trees.make_dataset(tmp_path / "raw")
    for label in ("01", "02"):
        bids_trees.add_megre(raw, sub=label)
    (raw / "sub-02" / "nonsense.txt").write_text("not BIDS")
    arguments = (raw, tmp_path / "out", "participant", "--dry-run")
    result = commands.call(*arguments)
    assert result.exit_code == ExitCode.INVALID_BIDS
    assert any(line.startswith("would run sub-01") for line in result.lines)
    assert any(line.startswith("BIDS error NOT_INCLUDED, 1 time(s): ") for line in result.lines)
    assert commands.call(*arguments, "--skip-bids-validation").exit_code == ExitCode.OK
    assert commands.call(*arguments, "--participant-label", "01").exit_code == ExitCode.OK
    assert not (tmp_path / "out").exists()
