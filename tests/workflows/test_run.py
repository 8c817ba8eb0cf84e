"""The graph of one run."""

import pytest
from bids_trees import add_megre, add_single_echo, make_dataset

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.workflows.run import SINGLE_ECHO_SCREENING_MM, init_run_wf


@pytest.mark.parametrize(
    ("add", "given", "screening_mm"),
    [
        (add_single_echo, {}, SINGLE_ECHO_SCREENING_MM),
        (add_single_echo, {"screening_mm": 0.0}, 0.0),
        (add_megre, {}, 0.0),
    ],
)
def test_a_single_echo_keeps_its_phase_offset_which_screening_removes(
    tmp_path, add, given, screening_mm
):
    root = make_dataset(tmp_path / "raw")
    add(root)
    (run,) = collect_runs(index(root)).runs
    workflow = init_run_wf(run=run, out_dir=tmp_path / "out", background_params=given)
    used = workflow.get_node("write").inputs.parameters["BackgroundParameters"]
    assert used["screening_mm"] == screening_mm
    params = workflow.get_node("background").inputs.params
    assert params.get("screening_mm", 0.0) == screening_mm
