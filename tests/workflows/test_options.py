"""Every choice of every option leads to a graph, and the rarer ones to maps."""

import csv
import json
from pathlib import Path

import click
import commands
import nibabel as nib
import numpy as np
import pytest
import store
from bids_trees import add_megre, add_single_echo, make_dataset

from qsm_pipeline.app.checks import check_methods
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.cli.main import main
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.run import init_run_wf

CHOICES = [
    {option.name: choice}
    for option in main.params
    if option.name in METHOD_DEFAULTS and isinstance(option.type, click.Choice)
    for choice in option.type.choices
]
SWITCHES = [
    {"two_pass": True},
    {"two_pass": True, "background": "pdf"},
    {"derive": True},
    {"quality_limits": {"max_rim_ratio": 3.0}},
    {"atlas": Path(__file__), "atlas_template": Path(__file__)},  # some files
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = make_dataset(tmp_path_factory.mktemp("runs") / "raw")
    add_megre(root, "01")
    add_single_echo(root, "02")
    return collect_runs(index(root)).runs


@pytest.mark.parametrize("chosen", CHOICES + SWITCHES, ids=str)
def test_every_choice_builds_its_graph(runs, tmp_path, chosen):
    methods = METHOD_DEFAULTS | chosen
    check_methods(methods)
    for run in runs:
        graph = init_run_wf(run=run, out_dir=tmp_path / "out", **methods)
        nodes = {node.name for node in graph._create_flat_graph()}
        assert {"read", "mask", "unwrap", "fit", "background", "invert", "write"} <= nodes
        assert ("combine" in nodes) == methods["two_pass"]


def test_there_are_choices_for_every_step():
    stages = (
        "mask_method",
        "mask_refinement",
        "readout",
        "unwrap",
        "field_fit",
        "background",
        "inversion",
        "reference",
    )
    assert {name for choice in CHOICES for name in choice} == set(stages)
    assert len(CHOICES) > 20


def test_two_passes_over_an_eroding_background_removal_are_refused():
    with pytest.raises(ConfigError, match="two-pass"):
        check_methods(METHOD_DEFAULTS | {"two_pass": True, "background": "vsharp"})


def _simulate(folder):
    (scan,) = write_simulated_dataset(
        folder / "raw",
        shape=(56, 68, 50),
        voxel_size_mm=(3.4, 3.4, 3.4),
        tilt_deg=12,
        params=ScanParams(echo_times_s=(0.004, 0.009, 0.014)),
    )
    affine = nib.load(next((folder / "raw").rglob("*phase*.nii.gz"))).affine
    moved = affine.copy()
    moved[:3, 3] += (6.0, -4.0, 5.0)  # the space of the template is another
    for name, values in (
        ("truth", scan.labels.numpy()),
        ("atlas", scan.labels.numpy()),
        ("template", scan.magnitude[0].numpy() * scan.brain.numpy()),
    ):
        place = affine if name == "truth" else moved
        nib.save(nib.Nifti1Image(values, place), folder / f"{name}.nii.gz")


@pytest.mark.command
def test_two_passes_and_an_atlas(tmp_path):
    """Both in one command: they do not touch each other."""
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    given = store.once("atlas", _simulate)
    names = "".join(f"{n} region{n}\n" for n in range(1, 40))
    (tmp_path / "atlas.txt").write_text(names)
    atlas = tmp_path / "atlas.nii.gz"
    atlas.write_bytes((given / "atlas.nii.gz").read_bytes())
    options = (
        "--background",
        "pdf",
        "--two-pass",
        "--atlas",
        atlas,
        "--atlas-template",
        given / "template.nii.gz",
        "--keep-work",
    )
    result = commands.run(given / "raw", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    anat = tmp_path / "out/sub-01/anat"
    sidecar = json.loads((anat / "sub-01_Chimap.json").read_text())
    assert sidecar["Parameters"]["TwoPass"]
    brain = np.asarray(nib.load(anat / "sub-01_desc-brain_mask.nii.gz").dataobj) > 0
    chi = nib.load(anat / "sub-01_Chimap.nii.gz").get_fdata()
    assert (chi[brain] != 0).mean() > 0.95  # the second pass fills what is not reliable
    first, second, both = (
        nib.load(next((tmp_path / "out/work").glob(f"*/*/{node}/chi.nii*"))).get_fdata()
        for node in ("invert_reliable", "invert", "combine")
    )
    reliable = first != 0
    assert 0.3 < reliable.sum() / brain.sum() < 1
    np.testing.assert_allclose(both[reliable], first[reliable], atol=1e-6)
    assert np.abs(both - second)[reliable].max() > 1e-3
    (brought,) = anat.glob("*_dseg.nii.gz")
    labels = np.asarray(nib.load(brought).dataobj)
    truth = np.asarray(nib.load(given / "truth.nii.gz").dataobj)
    inside = brain & (truth > 0) & (labels > 0)
    assert inside.sum() > 0.8 * (brain & (truth > 0)).sum()
    with open(next(anat.glob("*_dseg.tsv")), newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    measured = [row for row in rows if row["mean_ppm"] != "n/a"]
    assert len(measured) > 10
    for row in measured:
        found = chi[(labels == int(row["index"])) & (chi != 0)]
        assert float(row["mean_ppm"]) == pytest.approx(found.mean(), abs=1e-4)
