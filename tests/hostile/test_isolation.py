"""One bad file never costs anybody else their map, page or row."""

import os
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
from bids_trees import AFFINE, SHAPE, add_megre, make_dataset, write_image
from click.testing import CliRunner
from hostile.damages import DAMAGES, SOUND
from report_tree import make_run, write_figures, write_maps
from simulated_cohort import make_cohort

from qsm_pipeline.app.execution import init_participants_wf
from qsm_pipeline.app.record import RunState, merge_record, record_path
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.run import Collection, GreRun
from qsm_pipeline.cli.main import main
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.exceptions import QSMPipelineError
from qsm_pipeline.workflows.memory import too_large
from qsm_pipeline.workflows.names import node_name

LABELS = (*DAMAGES, SOUND)
INPUTS = {
    "phase": "raw/sub-{}/anat/sub-{}_echo-2_part-phase_MEGRE.nii.gz",
    "magnitude": "raw/sub-{}/anat/sub-{}_echo-1_part-mag_MEGRE.nii.gz",
    "sidecar of phase": "raw/sub-{}/anat/sub-{}_echo-1_part-phase_MEGRE.json",
    "sidecar of magnitude": "raw/sub-{}/anat/sub-{}_echo-3_part-mag_MEGRE.json",
    "mask": "der/sub-{}/anat/sub-{}_desc-brain_mask.nii.gz",
    "segmentation": "der/sub-{}/anat/sub-{}_space-T1w_desc-aseg_dseg.nii.gz",
    "names": "der/sub-{}/anat/sub-{}_space-T1w_desc-aseg_dseg.tsv",
    "anatomy": "der/sub-{}/anat/sub-{}_desc-preproc_T1w.nii.gz",
}


def _link(model: Path, folder: Path, label: str) -> None:
    folder.mkdir(parents=True)
    for path in model.iterdir():
        os.link(path, folder / path.name.replace("sub-sound", f"sub-{label}"))


@pytest.fixture
def tree(tmp_path):
    """Return raw data and derivatives of a participant for each damage, and of a sound one."""
    add_megre(make_dataset(tmp_path / "raw"), sub=SOUND)
    anat = tmp_path / f"der/sub-{SOUND}/anat"
    brain = write_image(anat / f"sub-{SOUND}_desc-brain_mask.nii.gz", _ONES)
    other = 2 * AFFINE
    for name in ("space-T1w_desc-aseg_dseg", "desc-preproc_T1w"):
        write_image(anat / f"sub-{SOUND}_{name}.nii.gz", _ONES, other)
    (anat / f"sub-{SOUND}_space-T1w_desc-aseg_dseg.tsv").write_text(
        "index\tname\n1\tLeft-Caudate\n"
    )
    assert brain.is_file()
    for label in DAMAGES:
        for folder in ("raw", "der"):
            model = tmp_path / folder / f"sub-{SOUND}/anat"
            _link(model, tmp_path / folder / f"sub-{label}/anat", label)
    return tmp_path


_ONES = np.ones(SHAPE)


@pytest.mark.parametrize("which", INPUTS)
def test_damaged_input_is_told_before_or_when_its_own_nodes_are_built(tree, which):
    for label, damage in DAMAGES.items():
        damage(tree / INPUTS[which].format(label, label))
    found = collect_runs(index(tree / "raw"), derivatives=[tree / "der"])
    told = {each.subject: each.reason for each in found.skipped}
    told |= {each.subject: each.reason for each in too_large(found.runs, 4.0)}
    failed = {}
    workflow = init_participants_wf(
        runs=[run for run in found.runs if run.subject not in told],
        out_dir=tree / "out",
        work_dir=tree / "work",
        resources=Resources(1, 1, 4.0, "cpu"),
        fail=lambda run, error: failed.__setitem__(run.subject, error),
    )
    built = {run.subject for run in found.runs if workflow.get_node(node_name(run)) is not None}
    assert SOUND in built
    assert built | set(told) | set(failed) == set(LABELS)
    for label, reason in told.items():
        assert "unforeseen" not in reason, reason
        assert f"sub-{label}" in reason or "part-" in reason or "Echo" in reason, reason
        assert reason.isprintable()
    for label, error in failed.items():
        assert isinstance(error, QSMPipelineError) or label in str(error), error
    if which in ("phase", "magnitude"):  # the file system tells these before anything is read
        assert {
            "dangling",
            "annexLink",
            "annexPointer",
            "lfsPointer",
            "pipe",
            "loop",
            "empty",
        } <= (set(told))
        for label in ("annexLink", "annexPointer", "lfsPointer"):
            assert "datalad get" in told[label]


OUTPUTS = {
    "record": "logs/sub-{}.json",
    "quality": "sub-{}/anat/sub-{}_desc-qc_Chimap.json",
    "sidecar": "sub-{}/anat/sub-{}_Chimap.json",
    "map": "sub-{}/anat/sub-{}_Chimap.nii.gz",
    "mask": "sub-{}/anat/sub-{}_desc-qsm_mask.nii.gz",
    "field": "sub-{}/fmap/sub-{}_acq-qsmGre_desc-local_fieldmap.nii.gz",
    "figure": "sub-{}/figures/sub-{}_desc-chi_MEGRE.webp",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the output of a sound participant and its run."""
    folder = tmp_path_factory.mktemp("model")
    run = make_run(folder)
    out = folder / "out"
    write_maps(run, out)
    write_figures(run, out, ("chi",))
    write_json(out / output_path(run.entities, "qc", extension=".json"), {"Metrics": {}})
    return run, out


@pytest.mark.parametrize("which", OUTPUTS)
def test_damaged_output_costs_nobody_else_their_page(model, tmp_path, which):
    from qsm_pipeline.app.pages import write_pages

    run, made = model
    runs, out = [], tmp_path / "out"
    for label in LABELS:
        for path in [p for p in made.rglob("*") if p.is_file()]:
            copy = out / str(path.relative_to(made)).replace("sub-01", f"sub-{label}")
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
        runs.append(GreRun.from_dict({**run.to_dict(), "entities": {"sub": label}}))
        record = merge_record(
            Records(out), label, [RunState(runs[-1], [], {"read": 1.0}, True)], ()
        )
        write_json(record_path(out, label), record)
    for label, damage in DAMAGES.items():
        path = out / OUTPUTS[which].format(label, label)
        assert path.is_file()
        damage(path)
    lines = []
    summary = Summary(Collection(tuple(runs)), lines.append)
    summary.note_warnings(out)
    write_pages(summary, out, whole=True)
    summary.close(out, 1.0)
    assert not any("unforeseen" in line for line in lines), lines
    failed = [line for line in lines if line.startswith("FAILED page")]
    allowed = {"folder"} if which == "record" else set()  # no file can take its place
    assert len(failed) == len(allowed), failed
    assert "sub-sound" in (out / f"sub-{SOUND}.html").read_text()
    assert (out / "logs/CITATION.md").is_file()
    shutil.rmtree(out)


@pytest.mark.parametrize(
    "which", ["record", "quality", "sidecar", "map", "regions", "participants", "sessions"]
)
def test_damaged_output_costs_nobody_else_their_row(tmp_path, which):
    raw, out, labels = make_cohort(tmp_path, len(DAMAGES) + 1)
    patterns = OUTPUTS | {"regions": "sub-{}/anat/sub-{}_seg-aseg_desc-chi_dseg.tsv"}
    whose = dict(zip(labels, DAMAGES, strict=False))
    if which in ("participants", "sessions"):
        whose = {}
    for label, damage in whose.items():
        path = out / patterns[which].format(label, label)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        DAMAGES[damage](path)
    result = CliRunner().invoke(main, [str(raw), str(out), "group"])
    assert result.exit_code in (0, 1), result.output
    assert "unforeseen" not in result.output
    rows = (out / "group_quality.tsv").read_text()
    missing = (out / "group_missing.tsv").read_text()
    assert f"sub-{labels[-1]}\t" in rows
    for label in whose:
        assert f"sub-{label}\t" in rows or f"sub-{label}\t" in missing, whose[label]
    if which == "map":
        assert all(f"sub-{label}\t" in missing for label in whose)
    if which in ("quality", "regions"):
        assert f"sub-{labels[list(DAMAGES).index('huge')]}\t" in missing


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d not in ("missing", "half")])
def test_a_damaged_table_of_participants_ends_in_a_sentence(tmp_path, damage):
    raw, out, _ = make_cohort(tmp_path, 1)
    DAMAGES[damage](raw / "participants.tsv")
    result = CliRunner().invoke(main, [str(raw), str(out), "group"])
    assert result.exit_code not in (0, 1)
    assert "participants.tsv" in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.command
def test_the_command_over_all_damages(tmp_path):
    files = {"I": INPUTS["phase"], "S": INPUTS["sidecar of phase"]}
    raw = commands.make_dataset(
        tmp_path, (SOUND, *(f"{damage}{kind}" for damage in DAMAGES for kind in files))
    )
    out = tmp_path / "out"
    for damage, do in DAMAGES.items():
        for kind, pattern in files.items():
            label = f"{damage}{kind}"
            do(tmp_path / pattern.format(label, label))
    planned = commands.run(raw, out, "--dry-run")
    result = commands.run(raw, out)
    assert result.exit_code == 1, result.output
    for said in (planned.output, result.output):
        assert "Traceback" not in said
        assert "unforeseen" not in said
    assert f"done sub-{SOUND}" in result.lines, result.output
    for damage in DAMAGES:
        assert not list(out.glob(f"sub-{damage}I/anat/*_Chimap.nii.gz"))
        page = (out / f"sub-{damage}I.html").read_text()
        assert f"sub-{damage}I" in page
        told = [
            line
            for line in result.lines
            if line.startswith((f"skipped sub-{damage}I_", f"FAILED sub-{damage}I in read"))
        ]
        assert len(told) == 1, (damage, told)
        if told[0].startswith("skipped"):
            assert told[0] in planned.lines
