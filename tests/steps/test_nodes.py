"""The table of nodes and the workflow of a run agree."""

import pytest
from bids_trees import add_megre, make_dataset

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.reports.advice import _ADVICE
from qsm_pipeline.reports.figures import STAGES
from qsm_pipeline.steps.nodes import DRAW, NODES, WRITE, label_of
from qsm_pipeline.workflows.run import init_run_wf


@pytest.fixture
def workflow(tmp_path):
    root = make_dataset(tmp_path / "raw")
    add_megre(root)
    (run,) = collect_runs(index(root)).runs
    atlas, template = tmp_path / "atlas.nii", tmp_path / "template.nii"
    atlas.touch()
    template.touch()
    return init_run_wf(
        run=run,
        out_dir=tmp_path / "out",
        two_pass=True,
        derive=True,
        omp_nthreads=3,
        atlas=atlas,
        atlas_template=template,
    )


def test_every_node_is_in_the_table(workflow):
    assert set(workflow.list_node_names()) == set(NODES)


def test_what_touches_files_alone_uses_one_core(workflow):
    for name, kind in NODES.items():
        node = workflow.get_node(name)
        assert node.n_procs == (1 if kind.serial else 3)
        assert node.mem_gb > (0.9 if kind.network else 0.29)


def test_names_and_labels_tell_nodes_apart():
    assert all(name == kind.name for name, kind in NODES.items())
    assert len({kind.label for kind in NODES.values()}) == len(NODES)
    assert label_of("unwrap") == "phase unwrapping"
    assert label_of("of another version") == "of another version"


def test_figures_have_a_node_for_each_stage():
    assert set(DRAW) == set(STAGES)
    assert {kind.figures for kind in NODES.values()} == {*STAGES, ""}
    assert not WRITE.optional
    assert set(_ADVICE) <= set(NODES.values())
