"""Each fault ends in one clear sentence, a status and nothing half-written."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import commands
import faults
import nibabel as nib
import pytest
from commands import SOUND

pytestmark = pytest.mark.command

SOUND_MAP = f"sub-{SOUND}/anat/sub-{SOUND}_Chimap.nii.gz"


def _files(folder):
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def _check_everything_is_whole(out):
    for path in out.rglob("*.nii.gz"):
        if "work" not in path.relative_to(out).parts:
            nib.load(path).get_fdata()
    assert not list(out.rglob(".*.tmp"))


def _check_last_line(result, words):
    assert result.exit_code == 1, result.output
    assert result.lines[-1].startswith(f"exit status 1: {words}")
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def broken():
    """Run one sound participant among all that are broken, once for all tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = faults.break_participants(folder)
        before = _files(raw)
        result = commands.run(raw, folder / "out")
        assert _files(raw) == before  # the raw data set is never written to
        yield folder / "out", result


@pytest.mark.parametrize("label", faults.PARTICIPANTS)
def test_a_broken_participant_gets_one_line_and_no_output(broken, label):
    out, result = broken
    fault = faults.PARTICIPANTS[label]
    lines = [line for line in result.lines if f"sub-{label}" in line]
    lines = [line for line in lines if not line.startswith(("report ", "progress: "))]
    assert len(lines) == 1, lines
    assert lines[0].startswith(("skipped ", "FAILED "))
    assert fault.words in lines[0]
    assert "_MEGRE" in lines[0]
    assert not (out / f"sub-{label}").exists()
    page = (out / f"sub-{label}.html").read_text()
    assert fault.words.replace("'", "&#39;") in page


def test_the_sound_participants_are_mapped(broken):
    out, result = broken
    _check_last_line(result, "1 of 3 run(s) failed, 9 left out")
    for label in (SOUND, faults.GAP):
        assert f"done sub-{label}" in result.lines
        assert (out / f"sub-{label}/anat/sub-{label}_Chimap.nii.gz").is_file()
    assert f"warning on sub-{faults.GAP}: Echo 2 is not there in any part" in result.lines
    assert "Echo 2 is not there" in (out / f"sub-{faults.GAP}.html").read_text()
    _check_everything_is_whole(out)


def test_what_does_not_fit_is_listed_before_anything_runs(tmp_path):
    raw = commands.make_dataset(tmp_path, ("huge", SOUND))
    fault = faults.PARTICIPANTS["huge"]
    fault.provoke(raw / "sub-huge" / "anat")
    result = commands.run(raw, tmp_path / "out", "--dry-run")
    assert result.exit_code == 0, result.output
    skipped, would_run = result.lines
    assert skipped.startswith("skipped sub-huge_MEGRE: ")
    assert fault.words in skipped
    assert would_run == f"would run sub-{SOUND}: 3 echo(es), 3 T"


def test_crash_files_are_text(broken):
    out, _ = broken
    (crash,) = (out / "logs").glob("crash-*")
    assert crash.suffix == ".txt"
    assert "BIDSInputError" in crash.read_text()


def test_read_only_output(tmp_path):
    try:
        result = faults.run_with_read_only_output(tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))
    assert result.exit_code == 73
    assert result.lines == [
        f"Error: {tmp_path}/out cannot be written to (no permission, or a read-only file system); "
        "choose another output folder"
    ]


def test_full_disk(tmp_path):
    try:
        result = faults.run_on_full_disk(tmp_path)
    except PermissionError as error:
        pytest.skip(str(error))
    _check_last_line(result, "1 of 1 run(s) failed")
    (line,) = (line for line in result.lines if line.startswith("FAILED sub-"))
    assert f"{tmp_path}/out/sub-{SOUND}/" in line
    assert "cannot be written: No space left on device" in line
    _check_everything_is_whole(tmp_path / "left")
    # with room again the run goes on where it was
    (read,) = (tmp_path / "work").glob("*/*/read/result_read.pklz")
    before = read.stat().st_mtime_ns
    options = ("-w", tmp_path / "work", "--keep-work")
    again = commands.run(tmp_path / "raw", tmp_path / "out", *options)
    assert again.exit_code == 0, again.output
    assert read.stat().st_mtime_ns == before
    assert (tmp_path / "out" / SOUND_MAP).is_file()


def test_files_that_may_not_grow(tmp_path):
    result = faults.run_with_file_limit(tmp_path)
    _check_last_line(result, "1 of 1 run(s) failed")
    (line,) = (line for line in result.lines if line.startswith("FAILED "))
    assert ".nii cannot be written: File too large" in line
    assert not list((tmp_path / "out").glob("sub-*/"))


def _check_only_one_was_killed(result, label, out):
    _check_last_line(result, "1 of 2 run(s) failed")
    assert f"done sub-{SOUND}" in result.lines
    (line,) = (line for line in result.lines if line.startswith("FAILED "))
    assert line.startswith(f"FAILED sub-{label} in ")
    assert "was killed (SIGKILL), as a rule because memory ran out" in line
    _check_everything_is_whole(out)


def test_killed_node(tmp_path):
    result = faults.run_with_killed_node(tmp_path)
    _check_only_one_was_killed(result, "killed", tmp_path / "out")


def test_stopped(tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        result = faults.run_stopped(tmp_path, number)
        assert result.exit_code == 128 + number, result.output
        assert result.lines[-1] == (
            f"Error: stopped by {number.name}; what was finished stays, and the same command goes "
            "on from there"
        )
        _check_everything_is_whole(tmp_path / "out")
    again = commands.run(tmp_path / "raw", tmp_path / "out")
    assert again.exit_code == 0, again.output


@pytest.mark.slow
def test_memory_that_a_cgroup_limits(tmp_path):
    """One participant is too large for it; the command and the others live on."""
    try:
        result = faults.run_in_a_cgroup(tmp_path, faults.TOO_LITTLE_MEMORY)
    except PermissionError as error:
        pytest.skip(str(error))
    _check_only_one_was_killed(result, "large", tmp_path / "out")


def test_gpu_that_is_not_there(tmp_path):
    result = faults.run_without_gpu(tmp_path)
    assert result.exit_code == 64
    assert result.lines[-1].startswith("Error: --device cuda cannot be used because ")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # region growing is compiled again
def test_home_and_package_that_cannot_be_written(tmp_path):
    """Numba's cache, nipype and matplotlib all look for a place to write."""
    try:
        start = commands.without_privileges()
    except PermissionError as error:
        pytest.skip(str(error))
    package = tmp_path / "code" / "qsm_pipeline"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(commands.ROOT / "qsm_pipeline", package, ignore=ignored)
    home = tmp_path / "home"
    home.mkdir()
    raw = commands.make_dataset(tmp_path, (SOUND,))
    for path in (*package.rglob("*"), package, home):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = _files(package)
    hidden = [f"HOME={home}", f"XDG_CACHE_HOME={home}/.cache", f"PYTHONPATH={package.parent}"]
    romeo = commands.command(raw, tmp_path / "out", "--unwrap", "romeo")
    result = commands.execute([*start, "env", *hidden, *romeo])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / SOUND_MAP).is_file()
    assert _files(package) == before
    assert not os.listdir(home)
