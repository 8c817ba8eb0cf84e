"""A run is finished only as long as nothing that it was made from has changed."""

from dataclasses import replace

import pytest
from report_tree import make_run

from qsm_pipeline.app.code import code_hash
from qsm_pipeline.app.execution import workflow_name
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.steps.settings import METHOD_DEFAULTS


@pytest.fixture
def files(tmp_path):
    names = ("atlas", "template", "labels", "names", "weights", "map")
    found = {name: tmp_path / name for name in names}
    for path in found.values():
        path.write_text("as it was")
    return found


@pytest.mark.parametrize("changed", ["", "atlas", "template", "labels", "names", "weights", "map"])
def test_every_file_counts(changed, files, tmp_path):
    segmentation = {"labels": str(files["labels"]), "name": "aseg", "names": str(files["names"])}
    run = replace(make_run(tmp_path), segmentation=segmentation)
    methods = METHOD_DEFAULTS | {
        "atlas": files["atlas"],
        "atlas_template": files["template"],
        "inversion_params": {"generator": str(files["weights"])},
    }
    ledger = Ledger(tmp_path, methods)
    assert ledger.open_run(run)
    ledger.close_run(run, [str(files["map"])], 1.0)
    if changed:
        files[changed].write_text("is another now")
    assert ledger.open_run(run) == bool(changed)


def test_results_of_other_code_of_the_same_version_are_not_used_again(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package/a.py").write_text("x = 1\n")
    hashes = [code_hash(tmp_path / "package")]
    for name, text in (("a.py", "x = 2\n"), ("b.py", "")):
        (tmp_path / "package" / name).write_text(text)
        hashes.append(code_hash.__wrapped__(tmp_path / "package"))
    assert len(set(hashes)) == 3
    run = make_run(tmp_path)
    ledger, before = Ledger(tmp_path, METHOD_DEFAULTS), workflow_name()
    ledger.close_run(run, [run.phase[0]], 1.0)
    assert not ledger.open_run(run)
    for module in ("ledger", "execution"):
        monkeypatch.setattr(f"qsm_pipeline.app.{module}.code_hash", lambda: hashes[1])
    assert workflow_name() != before
    assert ledger.open_run(run)


def test_a_run_is_finished_wherever_its_data_set_is_mounted(files, tmp_path):
    (tmp_path / "raw").mkdir()
    run = make_run(tmp_path / "raw")
    methods = METHOD_DEFAULTS | {"atlas": files["atlas"], "atlas_template": files["template"]}
    ledger = Ledger(tmp_path, methods)
    ledger.close_run(run, [str(files["map"])], 1.0)
    (tmp_path / "raw").rename(tmp_path / "mounted")
    there = str(tmp_path / "mounted" / "phase.nii.gz")
    moved = replace(run, bids_dir=str(tmp_path / "mounted"), phase=(there,), magnitude=(there,))
    assert not ledger.open_run(moved)
    assert ledger.open_run(replace(moved, magnitude=()))
