"""The script of a job array: what stands in it, without a Slurm."""

import shutil
import subprocess
import tomllib

import bids_trees
import pytest
from click.testing import CliRunner

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.cli.main import main
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
        capture_output=True, text=True, check=True,
    )  # fmt: skip
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
    assert needed >= node_memory_gb("mask", volume_size_gb(runs["02"]), 3)
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
    (raw.parent / "own/sub-01.nii.gz").touch()
    _, out, script = _write(
        raw, "--slurm-container", image, "--derivatives", masks, "--device", "cuda",
        "--mask-pattern", f"{raw.parent}/own/{{prefix}}.nii.gz",
    )  # fmt: skip
    stub = 'apptainer() { printf "%s\\n" "$@"; }; '
    text = script.read_text().partition("case ${1:-}")[0]
    done = subprocess.run(
        ["bash", "-c", stub + text + '\nlaunch "$python" -m x "a b"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = done.stdout.splitlines()
    assert words[:3] == ["exec", "--containall", "--nv"]
    assert words[-5:] == [str(image), "python3", "-m", "x", "a b"]
    binds = [words[i + 1] for i, word in enumerate(words) if word == "--bind"]
    assert binds == [
        *(f"{path}:{path}:ro" for path in (raw, masks, raw.parent / "own")),
        str(out), str(out / "work"), str(out / "work/index"),
    ]  # fmt: skip


def test_nothing_to_do(tmp_path):
    root = bids_trees.make_dataset(tmp_path / "raw")
    (root / "sub-01" / "anat").mkdir(parents=True)
    result, _, script = _write(root)
    assert result.exit_code == 2
    assert "Nothing to do" in result.output
    assert not script.exists()


def test_an_atlas_without_its_template_is_refused_before_anything_is_submitted(raw):
    atlas = raw.parent / "atlas.nii.gz"
    atlas.touch()
    result, _, script = _write(raw, "--atlas", atlas)
    assert result.exit_code == 2
    assert "--atlas and --atlas-template belong together" in result.output
    assert not script.exists()
