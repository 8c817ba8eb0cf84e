"""What is refused before anything runs."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qsm_pipeline.app.checks import (
    check_folders,
    check_methods,
    check_reference,
    check_regions,
    too_few_echoes,
    with_absolute_paths,
)
from qsm_pipeline.bids.derivatives import write_dataset_files
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.segmentations import Segmentation
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.steps.settings import METHOD_DEFAULTS

ATLAS = {"atlas": Path("a.nii.gz"), "atlas_template": Path("t.nii.gz")}


def _run(**segmentation):
    found = asdict(Segmentation("x", "aseg", **segmentation)) if segmentation else {}
    return GreRun("/raw", "MEGRE", {"sub": "01"}, (0.01,), 3.0, segmentation=found)


@pytest.fixture
def without_simpleitk(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_the_maps_of_this_product_are_no_raw_data(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    write_dataset_files(out, raw)
    check_folders(raw, output=out)
    with pytest.raises(ConfigError, match="holds the maps of qsm-pipeline, expected the raw data"):
        check_folders(out, output=raw)


def test_limits_that_are_none_are_named():
    check_methods(METHOD_DEFAULTS | {"quality_limits": {"max_rim_ratio": 3}})
    with pytest.raises(ConfigError, match="quality_limits: 'max_rim' is no limit; known:"):
        check_methods(METHOD_DEFAULTS | {"quality_limits": {"max_rim": 3}})


@pytest.mark.parametrize("missing", ["atlas", "atlas_template"])
def test_atlas_and_template_belong_together(missing):
    with pytest.raises(ConfigError, match="belong together"):
        check_regions([_run()], METHOD_DEFAULTS | ATLAS | {missing: None})


@pytest.mark.usefixtures("without_simpleitk")
@pytest.mark.parametrize(
    ("runs", "methods"),
    [([_run(anatomy="t1")], {}), ([_run(transform="x")], {}), ([_run()], ATLAS)],
)
def test_labels_from_elsewhere_need_simpleitk_before_the_start(runs, methods):
    with pytest.raises(ConfigError, match="need SimpleITK"):
        check_regions(runs, METHOD_DEFAULTS | methods)


@pytest.mark.usefixtures("without_simpleitk")
@pytest.mark.parametrize(
    ("runs", "methods"), [([_run(same_grid=True)], {}), ([_run(same_grid=True)], ATLAS), ([], {})]
)
def test_labels_of_the_run_do_not(runs, methods):
    check_regions(runs, METHOD_DEFAULTS | methods)


@pytest.mark.parametrize(
    ("methods", "option"),
    [({"reference": "csf"}, "--reference csf"), ({"field_fit": "nonlinear"}, "--field-fit non")],
)
def test_one_echo_is_skipped_where_two_are_needed(methods, option):
    one, two = _run(), replace(_run(), entities={"sub": "02"}, echo_times_s=(0.01, 0.02))
    (skipped,) = too_few_echoes((one, two), METHOD_DEFAULTS | methods)
    assert skipped.what == "sub-01_MEGRE"
    assert option in skipped.reason


def test_one_echo_is_enough_by_default():
    assert not too_few_echoes((_run(),), METHOD_DEFAULTS)


def test_nodes_find_a_generator_that_was_given_relative_to_the_current_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    params = with_absolute_paths({"generator": "site.safetensors", "memory_gb": 3.0})
    assert params == {"generator": str(tmp_path / "site.safetensors"), "memory_gb": 3.0}
    assert with_absolute_paths({"generator": ""}) == {"generator": ""}


def test_a_reference_region_and_its_masks_go_together():
    check_reference("region", "masks/{prefix}.nii.gz")
    check_reference("brain", "")
    with pytest.raises(ConfigError, match="needs masks of the region"):
        check_reference("region", "")
    with pytest.raises(ConfigError, match="the reference is csf"):
        check_reference("csf", "masks/{prefix}.nii.gz")
