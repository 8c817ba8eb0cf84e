"""The files of workflows/ run as their README says."""

import json
import sys
import tomllib

import commands
import nibabel as nib
import pytest

from qsm_pipeline.app.checks import check_methods
from qsm_pipeline.app.settings import read_mapping
from qsm_pipeline.cli.main import main
from qsm_pipeline.engine.plugins import check_plugin
from qsm_pipeline.steps.settings import METHOD_DEFAULTS

pytestmark = pytest.mark.command

FOLDER = commands.ROOT / "workflows"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return commands.make_dataset(tmp_path_factory.mktemp("data"), ("01", "02"))


def _run(name, *arguments):
    return commands.execute([sys.executable, str(FOLDER / name), *map(str, arguments)])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_presets_hold_methods_that_exist(path):
    settings = tomllib.loads(path.read_text())
    check_methods(METHOD_DEFAULTS | settings)


def test_single_subject(raw, tmp_path):
    result = _run("single_subject.py", raw, tmp_path / "out", "01", FOLDER / "fast.toml")
    assert result.exit_code == 0, result.output
    assert result.lines[-1] == "done sub-01"
    sidecar = json.loads((tmp_path / "out/sub-01/anat/sub-01_Chimap.json").read_text())
    assert sidecar["Parameters"]["Inversion"] == "tkd"
    assert not (tmp_path / "out/sub-02").exists()


@pytest.mark.slow
def test_own_workflow(raw, tmp_path):
    result = _run("own_workflow.py", raw, tmp_path / "out", "01")
    assert result.exit_code == 0, result.output
    spread = nib.load(tmp_path / "out/sub-01_desc-spread_Chimap.nii.gz").get_fdata()
    assert 0 < spread.max() < 1


@pytest.mark.slow
def test_cohort(tmp_path):
    raw = commands.make_dataset(tmp_path, ("01",))
    quick = "skip_bids_validation = true\nnprocs = 2\nomp_nthreads = 1\n"
    for name, inversion in (("a", "tkd"), ("b", "tikhonov")):
        text = (FOLDER / "fast.toml").read_text().replace('"tkd"', f'"{inversion}"')
        (tmp_path / f"{name}.toml").write_text(quick + text)
    settings = [tmp_path / "a.toml", tmp_path / "b.toml"]
    result = _run("cohort.py", raw, tmp_path / "out", *settings)
    assert result.exit_code == 0, result.output
    for name, inversion in (("a", "tkd"), ("b", "tikhonov")):
        sidecar = json.loads((tmp_path / f"out/{name}/sub-01/anat/sub-01_Chimap.json").read_text())
        assert sidecar["Parameters"]["Inversion"] == inversion


def test_cohort_refuses_what_is_no_setting(raw, tmp_path):
    (tmp_path / "a.toml").write_text('inverson = "tkd"\n')
    result = _run("cohort.py", raw, tmp_path / "out", tmp_path / "a.toml")
    assert result.exit_code == 64
    assert result.lines[-1].startswith("Error: 'inverson' is no setting; known: ")


def test_files_for_slurm():
    settings = tomllib.loads((FOLDER / "slurm" / "site.toml").read_text())
    assert {"slurm_options", "slurm_container"} <= set(settings)
    assert set(settings) <= {option.name for option in main.params}
    plugin = FOLDER / "slurm" / "nipype.toml"
    assert check_plugin(read_mapping(plugin), plugin)["plugin"] == "SLURM"
