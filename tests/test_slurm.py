"""A job array on a real Slurm: who fails, is killed or never starts is named and run again."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import commands
import faults
import nibabel as nib
import pytest
import slurm_node

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm():
    if reason := slurm_node.why_not():
        pytest.skip(reason)
    with slurm_node.one_node_slurm(largest_array=4) as environment:
        yield environment


def _bash(environment, script, *arguments):
    done = subprocess.run(
        ["bash", str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=commands.environment() | environment,
    )
    return commands.Result(done.returncode, done.stdout + done.stderr)


def _audit(out):
    with (out / "logs/slurm/audit.tsv").open() as file:
        return {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture(scope="module")
def cohort(slurm, tmp_path_factory):
    """Run four participants in arrays of at most three: one has bad data, one too much of it."""
    folder = tmp_path_factory.mktemp("a cohort")
    raw = commands.make_dataset(folder, ("bad", "good", "late", "large"))
    whole = {path: path.read_bytes() for path in raw.glob("sub-bad/anat/*")}
    script, out = folder / "out" / "slurm.sh", folder / "out"
    made = commands.execute(
        commands.command(raw, out, "--nprocs", "1", "--slurm-array", script, "--derivatives", raw)
    )
    assert made.exit_code == 0, made.output
    assert "4 participants, for each 1 core(s)" in made.lines[-1]
    faults.PARTICIPANTS["truncated"].provoke(raw / "sub-bad" / "anat")
    faults.enlarge(raw / "sub-large" / "anat", 5)
    submitted = _bash(slurm, script, "submit", "--mem=1500")
    assert submitted.exit_code == 0, submitted.output
    slurm_node.wait_for_jobs(slurm)
    audited = _bash(slurm, script, "audit")
    return out, script, whole, audited


def test_audit_names_the_bad_and_the_killed(cohort):
    out, _, _, audited = cohort
    rows = _audit(out)
    assert {name: row["state"] for name, row in rows.items()} == {
        "sub-bad": "failed",
        "sub-good": "done",
        "sub-late": "done",
        "sub-large": "killed",
    }
    assert "is damaged or was cut off" in rows["sub-bad"]["reason"]
    assert "memory" in rows["sub-large"]["reason"]
    assert audited.exit_code == 1
    assert audited.lines[-1] == "4 participants: 1 failed, 2 done, 1 killed"


def test_large_arrays_are_split(cohort):
    out, *_ = cohort
    submitted = (out / "logs/slurm/submitted.tsv").read_text().splitlines()
    assert len(submitted) == 2  # of three and of one, as no index may be 4


def test_tasks_do_not_share_files(cohort):
    out, *_ = cohort
    for label in ("good", "late"):
        assert (out / f"logs/config_sub-{label}.toml").is_file()
        assert (out / f"work/sub-{label}").is_dir()
    assert not (out / "logs/config.toml").exists()
    assert (out / "work/index/layout_index.sqlite").is_file()


def test_group_level_waits_for_the_array(cohort):
    out, *_ = cohort
    (log,) = (out / "logs/slurm").glob("group_*.out")
    assert "4 participants: 1 failed, 2 done, 1 killed" in log.read_text()


def test_submitting_twice_is_refused(cohort, slurm):
    result = _bash(slurm, cohort[1], "submit")
    assert result.exit_code == 64
    assert result.lines == ["has been submitted before; use audit and resubmit"]


def test_resubmission_does_only_what_is_left(cohort, slurm):
    out, script, whole, _ = cohort
    for path, content in whole.items():
        path.write_bytes(content)
    maps = {label: out / f"sub-{label}/anat/sub-{label}_Chimap.nii.gz" for label in _LABELS}
    before = {label: maps[label].stat().st_mtime_ns for label in ("good", "late")}
    result = _bash(slurm, script, "resubmit", "--mem=3000")
    assert "submitted 2 participants" in result.output
    slurm_node.wait_for_jobs(slurm)
    audited = _bash(slurm, script, "audit")
    assert audited.lines == ["4 participants: 4 done"]
    assert audited.exit_code == 0
    events = {label: (out / f"logs/slurm/sub-{label}.tsv").read_text() for label in _LABELS}
    starts = {label: text.count("started") for label, text in events.items()}
    assert starts == {"bad": 2, "good": 1, "late": 1, "large": 2}
    assert {label: maps[label].stat().st_mtime_ns for label in before} == before
    assert nib.load(maps["large"]).shape == (210, 250, 190)
    assert _bash(slurm, script, "resubmit").lines == ["4 participants: 4 done"]


_LABELS = ("bad", "good", "late", "large")


@pytest.mark.smoke
def test_an_array_from_script_to_audit(slurm, tmp_path):
    """One participant is damaged, repaired and run again; the other is not touched twice."""
    raw = commands.make_dataset(tmp_path, ("bad", "good"))
    whole = {path: path.read_bytes() for path in raw.glob("sub-bad/anat/*")}
    script, out = tmp_path / "slurm.sh", tmp_path / "out"
    made = commands.run(raw, out, "--slurm-array", script, "--nprocs", "1")
    assert made.exit_code == 0, made.output
    faults.PARTICIPANTS["truncated"].provoke(raw / "sub-bad" / "anat")
    submitted = _bash(slurm, script, "submit", "--mem=3000")
    assert submitted.exit_code == 0, submitted.output
    slurm_node.wait_for_jobs(slurm)
    audited = _bash(slurm, script, "audit")
    assert audited.lines[-1] == "2 participants: 1 failed, 1 done"
    assert "is damaged or was cut off" in _audit(out)["sub-bad"]["reason"]
    for path, content in whole.items():
        path.write_bytes(content)
    assert "submitted 1 participant as" in _bash(slurm, script, "resubmit", "--mem=3000").output
    slurm_node.wait_for_jobs(slurm)
    assert _bash(slurm, script, "audit").lines == ["2 participants: 2 done"]
    events = {
        label: (out / f"logs/slurm/sub-{label}.tsv").read_text() for label in ("bad", "good")
    }
    assert {label: text.count("started") for label, text in events.items()} == {
        "bad": 2,
        "good": 1,
    }


def test_who_was_never_started(slurm, tmp_path):
    raw = commands.make_dataset(tmp_path, ("01", "02"))
    script, out = tmp_path / "slurm.sh", tmp_path / "out"
    made = commands.run(raw, out, "--slurm-array", script, "--nprocs", "1")
    assert made.exit_code == 0, made.output
    assert _bash(slurm, script, "submit", "--hold").exit_code == 0
    _bash(slurm, script, "audit")
    assert {row["state"] for row in _audit(out).values()} == {"waiting"}
    subprocess.run(["scancel", "--user=root"], check=True, env=slurm)
    slurm_node.wait_for_jobs(slurm)
    _bash(slurm, script, "audit")
    rows = _audit(out)
    assert {row["state"] for row in rows.values()} == {"never started"}
    assert (out / "logs/slurm/unfinished.txt").read_text() == "01\n02\n"


def _main_process(words):
    """Return the process that Slurm started with these words on its command line."""
    for _ in range(600):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    arguments = Path(entry.path, "cmdline").read_bytes().decode().split("\0")
                    if set(words) <= set(arguments):
                        return int(entry.name)
        time.sleep(0.1)
    raise TimeoutError("the task was never started")


def test_a_task_that_reaches_its_time_limit(slurm, tmp_path):
    """It is stopped, so that it takes for ever, and does not react to a polite end."""
    raw = commands.make_dataset(tmp_path, ("slow",))
    script, out = tmp_path / "slurm.sh", tmp_path / "out"
    made = commands.run(raw, out, "--slurm-array", script, "--nprocs", "1")
    assert made.exit_code == 0, made.output
    assert _bash(slurm, script, "submit", "--time=1").exit_code == 0
    os.kill(_main_process(["qsm_pipeline", str(out), "--work-dir"]), signal.SIGSTOP)
    slurm_node.wait_for_jobs(slurm)
    audited = _bash(slurm, script, "audit")
    row = _audit(out)["sub-slow"]
    assert row["state"] == "killed", audited.output
    assert "DUE TO TIME LIMIT" in row["reason"]
    assert "submitted 1 participant as" in _bash(slurm, script, "resubmit", "--time=5").output
    slurm_node.wait_for_jobs(slurm)
    assert _bash(slurm, script, "audit").lines == ["1 participant: 1 done"]


def test_what_the_accounting_of_slurm_says(tmp_path):
    """A task cancelled while it ran, and one before it was started."""
    if reason := slurm_node.why_not(accounting=True):
        pytest.skip(reason)
    raw = commands.make_dataset(tmp_path, ("01", "02"))
    script, out = tmp_path / "slurm.sh", tmp_path / "out"
    made = commands.run(raw, out, "--slurm-array", script, "--nprocs", "1")
    assert made.exit_code == 0, made.output
    with slurm_node.one_node_slurm(accounting=True) as slurm:
        assert _bash(slurm, script, "submit", "--hold").exit_code == 0
        subprocess.run(["scontrol", "release", "1_1"], check=True, env=slurm)
        os.kill(_main_process(["qsm_pipeline", str(out), "--work-dir"]), signal.SIGSTOP)
        subprocess.run(["scancel", "--user=root"], check=True, env=slurm)
        slurm_node.wait_for_jobs(slurm)
        _bash(slurm, script, "audit")
        rows = _audit(out)
        assert [row["state"] for row in rows.values()] == ["killed", "never started"]
        assert rows["sub-01"]["reason"].startswith("Slurm says CANCELLED; *** JOB ")
        assert rows["sub-02"]["reason"] == "Slurm says CANCELLED"
        assert "submitted 2 participants" in _bash(slurm, script, "resubmit").output
        slurm_node.wait_for_jobs(slurm)
        assert _bash(slurm, script, "audit").lines == ["2 participants: 2 done"]
        known = (out / "logs/slurm/states.txt").read_text().splitlines()
    assert sum(line.endswith("|COMPLETED") for line in known) >= 2


def _plugin(folder, options):
    file = folder / "slurm.json"
    file.write_text(json.dumps({"plugin": "SLURM", "plugin_args": {"sbatch_args": options}}))
    return file


def test_nodes_as_jobs_of_slurm(slurm, tmp_path):
    """nipype's own plugin, without what it insists on, and with settings that it fails on."""
    raw = commands.make_dataset(tmp_path, ("01",))
    settings = "[logging]\nlog_to_file = true\nlog_directory = /nowhere\n"
    (tmp_path / "nipype.cfg").write_text(settings)
    plugin = _plugin(tmp_path, "--mem=1500")
    command = commands.command(raw, tmp_path / "out", "--nipype-plugin-file", plugin)
    start = ["env", "--chdir", str(tmp_path), "--unset=LOGNAME"]
    there = [f"SLURM_CONF={slurm['SLURM_CONF']}", f"NIPYPE_CONFIG_DIR={tmp_path}"]
    result = commands.execute([*start, *there, *command])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/sub-01/anat/sub-01_Chimap.nii.gz").is_file()


def test_a_node_whose_job_is_killed(slurm, tmp_path):
    raw = commands.make_dataset(tmp_path, ("01",))
    faults.enlarge(raw / "sub-01" / "anat", 4)
    plugin = _plugin(tmp_path, "--mem=300")
    command = commands.command(raw, tmp_path / "out", "--nipype-plugin-file", plugin)
    result = commands.execute(["env", f"SLURM_CONF={slurm['SLURM_CONF']}", *command])
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.lines if line.startswith("FAILED "))
    assert line.startswith("FAILED sub-01 in mask: job ")
    assert "exceeded memory limit" in line
    assert not (tmp_path / "out/sub-01/anat").exists()
