"""The script of a job array: what stands in it, without a Slurm."""

import fcntl
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import bids_trees
import commands
import pytest
from click.testing import CliRunner

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.cli.main import main
from qsm_pipeline.steps.nodes import MASK
from qsm_pipeline.workflows.memory import node_memory_gb, run_memory_gb, volume_size_gb


@pytest.fixture
def raw(tmp_path):
    root = bids_trees.make_dataset(tmp_path / "it's raw")
    bids_trees.add_megre(root, "01")
    bids_trees.add_megre(root, "02", shape=(64, 64, 32))
    (root / "sub-03" / "anat").mkdir(parents=True)
    return root


def _write(raw, *more):
    out = raw.parent / "out"
    script = raw.parent / "array.sh"
    arguments = [raw, out, "participant", "--skip-bids-validation", "--slurm-array", script, *more]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    return result, out, script


def _array(script, name):
    """Return what bash makes of an array of the script."""
    lines = [line for line in script.read_text().splitlines() if line.startswith(f"{name}=(")]
    done = subprocess.run(
        ["bash", "-c", lines[0] + f'; printf "%s\\n" "${{{name}[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_nothing_runs_but_everything_is_prepared(raw):
    result, out, script = _write(raw, "--inversion", "tkd", "--nprocs", "2")
    assert result.exit_code == 0, result.output
    assert "will fail as it is: sub-03: No gradient-echo image" in result.output
    assert "3 participants, for each 2 core(s)" in result.output
    assert not list(out.glob("sub-*"))
    assert (out / "work/index/layout_index.sqlite").is_file()
    assert (out / "logs/slurm/participants.txt").read_text() == "01\n02\n03\n"
    settings = tomllib.loads((out / "logs/slurm/config.toml").read_text())
    assert settings["inversion"] == "tkd"
    assert settings["skip_bids_validation"] is True
    assert not {"participant_label", "work_dir", "slurm_array"} & set(settings)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    if shutil.which("shellcheck"):
        assert subprocess.run(["shellcheck", str(script)], check=False).returncode == 0


def test_tasks_accept_the_settings(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(raw.parent)
    (raw.parent / "filter.json").write_text('{"megre": {"run": null}}')
    paths = ["--derivatives", "it's raw", "--bids-filter-file", "filter.json"]
    result, out, _ = _write(raw, *paths, "--two-pass")
    assert result.exit_code == 0, result.output
    monkeypatch.chdir("/")
    arguments = [raw, tmp_path / "other", "participant", "--dry-run", "--config-file"]
    arguments = [*arguments, out / "logs/slurm/config.toml", "--participant-label", "01"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "would run sub-01: 3 echo(es)" in result.output


def test_memory_is_that_of_the_largest_run(raw):
    _, _, script = _write(raw)
    runs = {run.subject: run for run in collect_runs(index(raw)).runs}
    assert run_memory_gb(runs["02"]) > run_memory_gb(runs["01"])
    needed = run_memory_gb(runs["02"])
    assert needed >= node_memory_gb(MASK, volume_size_gb(runs["02"]), 3)
    (option,) = (o for o in _array(script, "task_options") if o.startswith("--mem="))
    asked_gb = int(option.removeprefix("--mem=").removesuffix("M")) / 1024
    assert asked_gb == pytest.approx(1.25 * (1.0 + needed), abs=1 / 1024)


def test_time_is_that_of_the_participant_with_most_data(raw):
    for number in range(3):
        bids_trees.add_megre(raw, "04", between=f"run-{number + 1}", shape=(64, 64, 32))
    _, _, script = _write(raw)
    # three runs of 3 x 131,072 values
    assert f"--time={3 * 20 + 1}" in _array(script, "task_options")


def test_new_settings_start_from_nothing(raw):
    """Or the audit would take the maps of other settings for those that were asked for."""
    _, out, _ = _write(raw, "--inversion", "tkd")
    submitted = out / "logs/slurm/submitted.tsv"
    submitted.write_text("7\tlist\n")
    _write(raw, "--inversion", "tv")
    assert not submitted.exists()


def test_sessions_are_tasks_where_they_are_asked_for(tmp_path):
    root = bids_trees.make_dataset(tmp_path / "raw")
    for session in ("a", "b"):
        bids_trees.add_megre(root, "01", ses=session)
    bids_trees.add_megre(root, "02", ses="b")
    result, out, script = _write(root, "--session-label", "a", "b")
    assert result.exit_code == 0, result.output
    tasks = out / "logs/slurm/participants.txt"
    assert tasks.read_text() == "01_ses-a\n01_ses-b\n02_ses-b\n"
    said = re.sub("^python=.*", "python=echo", script.read_text(), flags=re.MULTILINE)
    script.write_text(said)
    array = {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "2"}
    done = _bash(script, "task", str(tasks), env=os.environ | array)
    assert "--participant-label=01 --session-label=b" in done.stdout
    assert "/sub-01_ses-b" in done.stdout
    assert (out / "logs/slurm/sub-01_ses-b.tsv").is_file()


def test_gpu_is_asked_for(raw):
    result, _, script = _write(raw, "--device", "cuda")
    assert result.exit_code == 0, result.output  # the machine that submits needs none
    assert "--gres=gpu:1" in _array(script, "task_options")
    _, _, script = _write(raw)
    assert "--gres=gpu:1" not in _array(script, "task_options")


def test_options_of_the_site(raw):
    _, _, script = _write(raw, "--slurm-options", "--account=x --comment='a b'")
    assert _array(script, "options") == ["--export=ALL", "--account=x", "--comment=a b"]


def test_container_sees_only_what_it_needs(raw):
    image = raw.parent / "im age.sif"
    image.touch()
    masks = raw.parent / "masks"
    masks.mkdir()
    (raw.parent / "own").mkdir()
    (raw.parent / "own/sub-01.nii.gz").write_text("a mask")
    _, out, script = _write(
        raw,
        "--slurm-container",
        image,
        "--derivatives",
        masks,
        "--device",
        "cuda",
        "--mask-pattern",
        f"{raw.parent}/own/{{prefix}}.nii.gz",
    )
    stub = 'apptainer() { printf "%s\\n" "$@"; }; '
    text = script.read_text().partition("case ${1:-}")[0]
    done = subprocess.run(
        ["bash", "-c", stub + text + '\nlaunch "$python" -m x "a b"'],
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    assert words[:3] == ["exec", "--containall", "--nv"]
    assert words[-5:] == [str(image), "python3", "-m", "x", "a b"]
    binds = [words[i + 1] for i, word in enumerate(words) if word == "--bind"]
    assert binds == [
        *(f"{path}:{path}:ro" for path in (raw, masks, raw.parent / "own")),
        str(out),
        str(out / "work"),
        str(out / "work/index"),
    ]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put commands on the path that note what they are asked; arrays have two tasks at most."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, body in {
        "scontrol": "echo MaxArraySize = 3",
        "sbatch": f'printf "%s\\n" "$*" >>{folder}/jobs; wc -l <{folder}/jobs',
        "squeue": "exit ${NO_QUEUE:-0}",
        "sacct": "exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(commands.ROOT), prepend=os.pathsep)
    return folder


def _bash(script, *arguments, **options):
    return subprocess.run(
        ["bash", str(script), *arguments], capture_output=True, text=True, check=False, **options
    )


def _submitted(slurm):
    """Return how many tasks each array has that was submitted, and forget them."""
    jobs = (slurm / "jobs").read_text() if (slurm / "jobs").exists() else ""
    (slurm / "jobs").unlink(missing_ok=True)
    return [int(n) for n in re.findall(r"--array=1-(\d+) ", jobs)]


def test_who_left_the_data_set_is_not_submitted_again(raw, slurm):
    """The lists of an earlier submission, of more participants, lie beside the new ones."""
    _, _, script = _write(raw)
    assert _bash(script, "submit").returncode == 0
    assert _submitted(slurm) == [2, 1]
    shutil.rmtree(raw / "sub-03")
    shutil.rmtree(raw.parent / "out/work/index")
    _write(raw)
    assert _bash(script, "submit").returncode == 0
    assert _submitted(slurm) == [2]


def test_resubmission_without_the_first_participant(raw, slurm):
    _, out, script = _write(raw)
    _bash(script, "submit")
    _submitted(slurm)
    shutil.rmtree(raw / "sub-01")
    done = _bash(script, "resubmit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "submitted 2 participants as job" in done.stdout
    assert "submitted 1 participant as job" in done.stdout
    assert len((out / "logs/slurm/submitted.tsv").read_text().splitlines()) == 4


def test_nothing_is_resubmitted_while_the_queue_is_unknown(raw, slurm, monkeypatch):
    _, _, script = _write(raw)
    _bash(script, "submit")
    _submitted(slurm)
    monkeypatch.setenv("NO_QUEUE", "1")
    done = _bash(script, "resubmit")
    assert "3 participants: 3 unknown" in done.stdout
    assert _submitted(slurm) == []


def test_two_submissions_at_once(raw, slurm):
    _, out, script = _write(raw)
    with (out / "logs/slurm/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = _bash(script, "submit")
    assert done.returncode == 75
    assert "another submit or resubmit is at work" in done.stderr
    assert _submitted(slurm) == []


def test_the_script_may_be_moved(raw, slurm):
    _, _, script = _write(raw)
    moved = raw.parent / "else where" / "run me.sh"
    moved.parent.mkdir()
    script.rename(moved)
    assert "submit [OPTION...]" in _bash(moved).stdout
    assert _bash("run me.sh", "submit", cwd=moved.parent).returncode == 0
    assert f"{moved} task " in (slurm / "jobs").read_text()


def test_two_arrays_of_one_output_folder_keep_their_own_files(tmp_path, slurm):
    root = bids_trees.make_dataset(tmp_path / "raw")
    scripts = {session: root.parent / session / "array.sh" for session in ("a", "b")}
    for session in scripts:
        bids_trees.add_megre(root, "01", ses=session)
    for inversion in ("tkd", "tv"):  # again: to the same folders
        for session, script in scripts.items():
            more = ("--session-label", session, "--slurm-array", script)
            result, out, _ = _write(root, *more, "--inversion", inversion)
            assert result.exit_code == 0, result.output
    for session, script in scripts.items():
        assert _bash(script, "submit").returncode == 0
        done = _bash(script, "audit")
        assert f"never started sub-01_ses-{session}" in done.stdout, done.stderr
        assert "1 participant: 1 never started" in done.stdout
    folders = [Path(s.read_text().partition("logs=")[2].splitlines()[0]) for s in scripts.values()]
    for folder, session in zip(folders, scripts, strict=True):
        for name in ("participants.txt", "unfinished.txt"):
            assert (folder / name).read_text() == f"01_ses-{session}\n"
        assert "sub-01_ses-" + session in (folder / "audit.tsv").read_text()
    inversions = [
        tomllib.loads((folder / "config.toml").read_text())["inversion"] for folder in folders
    ]
    assert inversions == ["tv", "tv"]
    assert [folder.relative_to(out).as_posix() for folder in folders] == [
        "logs/slurm",
        "logs/slurm/array",
    ]


def test_the_folder_of_an_array_does_not_lead_elsewhere(raw):
    (raw.parent / "out/logs").mkdir(parents=True)
    (raw.parent / "out/logs/slurm").symlink_to(raw)
    result, _, script = _write(raw)
    assert result.exit_code != 0
    assert "logs/slurm is a link to" in result.output
    assert not script.exists()


@pytest.mark.usefixtures("slurm")
def test_modules_where_the_user_stands_are_not_imported(raw, tmp_path):
    _, _, script = _write(raw)
    (tmp_path / "click.py").write_text("raise SystemExit('hijacked')")
    done = _bash(script, "audit", cwd=tmp_path)
    assert "3 participants: 3 never started" in done.stdout, done.stderr


def test_options_that_cannot_be_split(raw):
    result, _, script = _write(raw, "--slurm-options", "--comment=it's")
    assert result.exit_code == 64
    assert "cannot be split: No closing quotation" in result.output
    assert not script.exists()


def test_the_script_stays_out_of_the_raw_data(raw):
    result, _, _ = _write(raw, "--slurm-array", raw / "array.sh")
    assert result.exit_code == 64
    assert "The script folder" in result.output
    assert not (raw / "array.sh").exists()


def test_a_script_that_cannot_be_written_leaves_the_array_before(raw):
    _, out, _ = _write(raw)
    submitted = out / "logs/slurm/submitted.tsv"
    submitted.write_text("7\tlist\n")
    (raw.parent / "file").touch()
    result, _, _ = _write(raw, "--slurm-array", raw.parent / "file" / "array.sh")
    assert result.exit_code == 73
    assert submitted.exists()


def test_labels_that_are_no_line_get_no_task(raw):
    for label in ("a\nb", "a b"):
        (raw / f"sub-{label}" / "anat").mkdir(parents=True)
    result, out, _ = _write(raw)
    assert "gets no task: sub-a\\nb: No gradient-echo image" in result.output
    assert "will fail as it is: sub-a b: No gradient-echo image" in result.output
    assert (out / "logs/slurm/participants.txt").read_text() == "01\n02\n03\na b\n"


def test_nothing_to_do(tmp_path):
    root = bids_trees.make_dataset(tmp_path / "raw")
    (root / "sub-01" / "anat").mkdir(parents=True)
    result, _, script = _write(root)
    assert result.exit_code == 66
    assert "Nothing to do" in result.output
    assert not script.exists()


def test_an_atlas_without_its_template_is_refused_before_anything_is_submitted(raw):
    atlas = raw.parent / "atlas.nii.gz"
    atlas.touch()
    result, _, script = _write(raw, "--atlas", atlas)
    assert result.exit_code == 64
    assert "--atlas and --atlas-template belong together" in result.output
    assert not script.exists()
