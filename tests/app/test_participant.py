"""The command from start to end on small simulated participants."""

import json
import os
import re
import shutil
import sys
import tomllib

import commands
import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from commands import run

from qsm_pipeline import __version__
from qsm_pipeline.cli.main import main
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.reports.figures import FIGURES

pytestmark = pytest.mark.command


def _maps(out, pattern="sub-*/anat/*_Chimap.nii.gz"):
    return sorted(p.relative_to(out).as_posix() for p in out.glob(pattern))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return raw data and output of a run over a participant, with its work."""
    folder = tmp_path_factory.mktemp("kept")
    raw = commands.make_dataset(folder, ("01",))
    result = run(raw, folder / "out", "--keep-work")
    assert result.exit_code == 0, result.output
    return raw, folder / "out"


@pytest.fixture
def copy(finished, tmp_path):
    """Return the raw data and a copy of the output that a test may change."""
    raw, out, _ = finished
    shutil.copytree(out, tmp_path / "out", copy_function=shutil.copy2)
    return raw, tmp_path / "out"


def _written(work, node):
    """Return when the node of the first participant last saved its result."""
    (result,) = work.glob(f"*/sub_01_wf/{node}/result_{node}.pklz")
    return result.stat().st_mtime_ns


def test_what_is_printed(finished):
    raw, out, lines = finished
    assert lines[0] == f"qsm-pipeline {__version__}: {raw} to {out}"
    ended = [line for line in lines if line.startswith("progress: ") and "run(s)" in line]
    assert [line.partition(";")[0] for line in ended] == [
        "progress: 1 of 2 run(s), sub-01 done",
        "progress: 2 of 2 run(s), sub-02 done",
    ]
    assert re.fullmatch(r".*; about \d+ (s|min) left", ended[0])
    told = [line for line in lines if not line.startswith("progress: ")]
    methods = "robust, phase-quality, laplacian, weighted, vsharp, tkd, brain"
    assert re.fullmatch(
        r"2 run\(s\) of 2 participant\(s\), on \w+ with 2 core\(s\) and .* GiB; "
        f"methods: {methods}",
        told[1],
    )
    last = [
        line for line in told[2:] if not line.startswith(("graph ", "warning on ", "verdict on "))
    ]
    assert last[:2] == ["done sub-01", "done sub-02"]
    assert last[2] == f"report {out}/sub-01.html and 1 more beside it"
    assert last[3].startswith("finished in ")
    assert last[4:] == [f"maps in {out}"]


def test_every_stage_is_a_line_where_there_is_no_terminal(finished):
    _, _, lines = finished
    stages = [line for line in lines if line.startswith("progress: sub-01, ")]
    assert stages[0].startswith("progress: sub-01, reading (1 of ")
    assert any(line.startswith("progress: sub-01, dipole inversion (") for line in stages)
    assert not any("figures" in line for line in stages)


def test_warnings_of_quality_say_what_to_do_before_the_failures(copy):
    raw, out = copy
    (out / "logs/done/sub-01.json").unlink()
    (out / "dataset_description.json").unlink()  # it names the raw data that are copied here
    limits = out.parent / "limits.toml"
    limits.write_text("[quality_limits]\nmax_rim_ratio = 0.001\n")
    shutil.rmtree(out / "sub-02")
    raw_copy = out.parent / "raw"
    shutil.copytree(raw, raw_copy)
    broken = raw_copy / "sub-02/anat/sub-02_echo-1_part-phase_MEGRE.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    lines = run(raw_copy, out, "--config-file", limits).lines
    kinds = [line.split()[0] for line in lines if not line.startswith("progress")]
    assert kinds[2:] == sorted(kinds[2:], key=_ORDER.index), lines
    (warning,) = (line for line in lines if "rim_ratio is" in line)
    assert "expected at most 0.001: look at the local field at the surface" in warning


_ORDER = ["skipped", "done", "verdict", "warning", "FAILED", "report", "finished", "exit"]


def test_figures_record_and_methods_are_written(finished):
    _, out, _ = finished
    drawn = {path.name for path in (out / "sub-01/figures").iterdir()}
    there = set(FIGURES) - {"uncertainty"}  # TKD does not know it
    there -= {"swi", "minip", "tswi"}  # only with --derive
    assert drawn == {f"sub-01_desc-{name}_MEGRE.webp" for name in there}
    seconds = json.loads((out / "logs/sub-01.json").read_text())["runs"]["sub-01"]["node_seconds"]
    assert {"read", "invert", "predict", "write", "draw_maps"} <= set(seconds)
    assert sum(seconds.values()) > 0
    methods = (out / "logs/CITATION.md").read_text()
    assert "## sub-01, sub-02" in methods
    assert "(TKD) [@shmueli2009]" in methods


def test_graph_without_graphviz(finished):
    _, out, lines = finished
    (line,) = (line for line in lines if line.startswith("graph "))
    if shutil.which("dot"):
        assert line == f"graph of sub-01 in {out}/logs/graph.svg"
    else:
        assert line.startswith(f"graph of sub-01 in {out}/logs/graph.dot; to draw it, install")
    assert "digraph" in (out / "logs/graph.dot").read_text()


def test_the_written_settings_make_the_same_run(finished, tmp_path):
    raw, out, _ = finished
    written = out / "logs" / "config.toml"
    settings = tomllib.loads(written.read_text())
    assert settings["inversion"] == "tkd"
    assert settings["device"] == "auto"
    assert "mem_gb" not in settings  # another machine has another one
    assert re.search(r"^# ran on \w+ with 2 core\(s\) and .* GiB$", written.read_text(), re.M)
    one = ("--participant-label", "02")
    again = commands.call(raw, tmp_path / "out", "participant", "--config-file", written, *one)
    assert again.exit_code == 0, again.output
    second = tomllib.loads((tmp_path / "out/logs/config_sub-02.toml").read_text())
    assert second == settings | {"participant_label": ["02"]}
    assert _maps(tmp_path / "out") == _maps(out)[1:]


def test_second_run_resumes_and_a_changed_option_recomputes_what_depends_on_it(kept):
    raw, out = kept
    nodes = ("read", "mask", "correct", "unwrap", "fit", "background", "invert", "reference")
    before = {node: _written(out / "work", node) for node in nodes}
    again = run(raw, out, "--keep-work")
    assert again.exit_code == 0
    assert "sub-01: already processed, inputs unchanged, skipped" in again.output
    assert {node: _written(out / "work", node) for node in nodes} == before
    assert run(raw, out, "--keep-work", "--inversion", "tikhonov").exit_code == 0
    after = {node: _written(out / "work", node) for node in nodes}
    assert {node for node in nodes if after[node] != before[node]} == {"invert", "reference"}
    sidecar = json.loads((out / "sub-01/anat/sub-01_Chimap.json").read_text())
    assert sidecar["Parameters"]["Inversion"] == "tikhonov"


def test_a_changed_scan_is_computed_again(kept):
    raw, out = kept
    before = _written(out / "work", "fit")
    os.utime(raw / "sub-01/anat/sub-01_echo-2_part-phase_MEGRE.nii.gz")
    assert run(raw, out, "--keep-work").exit_code == 0
    assert _written(out / "work", "fit") > before


def test_the_work_of_a_run_is_removed_after_success_and_kept_after_a_failure(copy, tmp_path):
    raw, out = tmp_path / "raw", copy[1]
    assert not list((out / "work").glob("*/*_wf"))
    assert len(list((out / "logs/done").iterdir())) == 2
    (out / "dataset_description.json").unlink()  # it names the raw data that are copied here
    shutil.copytree(copy[0], raw, copy_function=shutil.copy2)
    broken = raw / "sub-02/anat/sub-02_echo-1_part-phase_MEGRE.nii.gz"
    sound = broken.read_bytes()
    broken.write_bytes(sound[:2000])
    before = (out / "sub-01/anat/sub-01_Chimap.nii.gz").stat().st_mtime_ns
    result = run(raw, out)
    assert result.exit_code == 1
    assert "sub-01: already processed" in result.output
    assert [p.name for p in (out / "work").glob("*/*_wf")] == ["sub_02_wf"]
    assert [p.name for p in (out / "logs/done").iterdir()] == ["sub-01.json"]
    broken.write_bytes(sound)
    result = run(raw, out)
    assert result.exit_code == 0, result.output
    assert "done sub-02" in result.output.splitlines()
    assert not list((out / "work").glob("*/*_wf"))
    assert (out / "sub-01/anat/sub-01_Chimap.nii.gz").stat().st_mtime_ns == before


def test_what_was_removed_or_altered_is_made_again(copy):
    raw, out = copy
    (out / "sub-01/anat/sub-01_Chimap.nii.gz").unlink()
    damaged = out / "sub-02/anat/sub-02_desc-brain_mask.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100])
    result = run(raw, out)
    assert result.exit_code == 0, result.output
    assert "before" not in result.output
    assert (out / "sub-01/anat/sub-01_Chimap.nii.gz").is_file()
    assert damaged.read_bytes() == whole


def test_a_participant_that_another_process_works_on_is_left_out(copy):
    raw, out = copy
    shutil.rmtree(out / "logs/done")
    page = (out / "sub-01.html").read_bytes()
    other = NameLocks(out / "logs" / "locks.txt")
    assert other.acquire("01", deadline=0) == ""
    result = run(raw, out)
    assert result.exit_code == 1
    assert f"skipped sub-01: is being processed by process {os.getpid()} on " in result.output
    assert "done sub-02" in result.output.splitlines()
    assert (out / "sub-01.html").read_bytes() == page
    other.close()
    assert run(raw, out).exit_code == 0


def test_reports_only(copy):
    raw, out = copy
    shutil.rmtree(out / "work")
    for page in out.glob("*.html"):
        page.write_text("old")
    (out / "sub-02/anat/sub-02_Chimap.nii.gz").unlink()
    before = (out / "sub-01/anat/sub-01_Chimap.nii.gz").stat().st_mtime_ns
    result = run(raw, out, "--reports-only")
    assert result.exit_code == 1
    assert "FAILED sub-02 has no susceptibility map" in result.output
    last = result.output.splitlines()[-1]
    assert last == f"exit status 1: 1 of 2 run(s) failed, see above; maps in {out}"
    assert "data:image/webp" in (out / "sub-01.html").read_text()
    assert "sub-02 has no susceptibility map" in (out / "sub-02.html").read_text()
    assert (out / "sub-01/anat/sub-01_Chimap.nii.gz").stat().st_mtime_ns == before
    assert not (out / "work").exists()


def test_a_task_of_an_array_reads_nothing_of_the_other_participants(copy):
    """Or all tasks together would read as often as the square of their number."""
    raw, out = copy
    (out / "logs/done/sub-01.json").unlink()
    for file in out.glob("logs/CITATION.*"):
        file.unlink()
    opened, watching = [], [True]

    def note(event, arguments):  # a hook is for the rest of this process
        if watching and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    result = run(raw, out, "--participant-label", "01")
    watching.clear()
    names = {os.path.relpath(name, out) for name in opened if name.startswith(str(out))}
    assert result.exit_code == 0, result.output
    assert "done sub-01" in result.output.splitlines()
    assert "logs/sub-01.json" in names
    assert {name for name in names if "sub-02" in name} == set()
    assert not list(out.glob("logs/CITATION.*"))


def test_the_methods_text_is_of_all_whichever_command_wrote_it(copy):
    raw, out = copy
    assert run(raw, out, "--reports-only").exit_code == 0  # of what other tests have left there
    text = (out / "logs/CITATION.md").read_text()
    for file in out.glob("logs/CITATION.*"):
        file.unlink()
    result = CliRunner().invoke(main, [str(raw), str(out), "group"])
    assert result.exit_code == 0, result.output
    assert (out / "logs/CITATION.md").read_text() == text
    assert len(list(out.glob("logs/CITATION.*"))) == 3


def test_a_run_that_fails_shows_how_far_it_came(copy, tmp_path):
    raw, out = copy
    image = nib.load(raw / "sub-01/anat/sub-01_echo-1_part-phase_MEGRE.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[20:23, 20:23, 20:23] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "sub-01_mask.nii.gz")
    pattern = ("--mask-pattern", f"{tmp_path}/{{prefix}}_mask.nii.gz")
    result = run(raw, out, "--participant-label", "01", *pattern)
    assert result.exit_code == 1
    assert "FAILED sub-01 in mask" in result.output
    drawn = {path.name.split("_")[1] for path in (out / "sub-01/figures").iterdir()}
    assert drawn == {"desc-magnitude", "desc-phase", "desc-lastphase"}
    page = (out / "sub-01.html").read_text()
    for words in ("In the step brain mask", "try another --mask-method", "that of an earlier run"):
        assert words in page, words
    assert 'id="volumes"' not in page


def test_dry_run_says_who_and_why_not(finished, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(finished[0], raw)
    next((raw / "sub-02/anat").glob("*echo-2_part-mag*.nii.gz")).unlink()
    (raw / "sub-03" / "func").mkdir(parents=True)
    result = run(raw, tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("skipped sub-02_MEGRE: Echo 2 has a phase image but no magnitude")
    assert lines[1].startswith("skipped sub-03: No gradient-echo image")
    assert lines[2] == "would run sub-01: 3 echo(es), 3 T"
    result = run(raw, tmp_path / "out", "--dry-run", "--participant-label", "01")
    lines = result.output.splitlines()
    assert lines[0] == "left out sub-02: not named by --participant-label"
    assert lines[2] == "would run sub-01: 3 echo(es), 3 T"
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_a_failure(finished, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(finished[0], raw)
    for path in raw.rglob("*part-phase*.nii.gz"):
        path.unlink()
    result = run(raw, tmp_path / "out")
    assert result.exit_code == 66
    assert "Nothing to do: no gradient-echo run with phase" in result.output
    assert result.output.splitlines()[-1].startswith("exit status 66: 2 left out")
    assert not (tmp_path / "out").exists()


def test_stop_on_first_crash(finished, tmp_path):
    raw = tmp_path / "raw"
    shutil.copytree(finished[0], raw)
    broken = raw / "sub-01/anat/sub-01_echo-1_part-phase_MEGRE.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    result = run(raw, tmp_path / "out", "--stop-on-first-crash", "--nprocs", "1")
    assert result.exit_code == 1
    assert "FAILED sub-01 in read:" in result.output
    assert "FAILED sub-02 was not run to its end after another failure" in result.output
    assert result.output.splitlines()[-1] == "exit status 1: 2 of 2 run(s) failed, see above"
    assert _maps(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("linear.toml", 'plugin = "Linear"\n'),
        ("multiproc.json", '{"plugin": "MultiProc", "plugin_args": {"n_procs": 1}}'),
    ],
)
def test_plugin_file(finished, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    plugin = ("--nipype-plugin-file", tmp_path / name)
    result = run(finished[0], tmp_path / "out", "--participant-label", "02", *plugin)
    assert result.exit_code == 0, result.output
    assert _maps(tmp_path / "out") == ["sub-02/anat/sub-02_Chimap.nii.gz"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plugin: Linear", "cannot be read as TOML or JSON"),
        ("[1]", "must hold an object with keys"),
        ('{"plugin": "SLURMGraph"}', "plugin is 'SLURMGraph', expected one of MultiProc"),
    ],
)
def test_a_plugin_file_that_cannot_be_used(finished, tmp_path, text, words):
    (tmp_path / "plugin.json").write_text(text)
    file = ("--nipype-plugin-file", tmp_path / "plugin.json")
    result = run(finished[0], tmp_path / "out", *file)
    assert result.exit_code == 64
    assert words in result.output
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_said(copy):
    raw, out = copy
    (out / _maps(out)[0]).unlink()  # there is something to do
    result = run(raw, out, "--mem-gb", "0.1")
    assert result.exit_code == 0, result.output
    assert "GB, more than the 0.1 GB that may be used; it runs alone" in result.output


def test_version_and_help():
    assert CliRunner().invoke(main, ["--version"]).output.strip().endswith(__version__)
    shown = CliRunner().invoke(main, ["--help"]).output
    assert all(f"--{p.name.replace('_', '-')}" in shown for p in main.params[3:])
