"""Prediction, scores, export and measured data, through files."""

import json
import shutil
import sys
import types

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_training import brain, config, write_pool

from qsm_pipeline.app.cycleqsm import export as exporting
from qsm_pipeline.bids.maps import find_local_fields, find_maps
from qsm_pipeline.cli.cycleqsm import main
from qsm_pipeline.cycleqsm.checkpoint import load_generator, save_generator
from qsm_pipeline.cycleqsm.data import measured
from qsm_pipeline.cycleqsm.data.samples import SampleConfig
from qsm_pipeline.cycleqsm.model.generator import Generator
from qsm_pipeline.exceptions import BIDSInputError, ConfigError
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import hz_per_ppm
from qsm_pipeline.training import data
from qsm_pipeline.training.data import read_fields, read_subjects

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
SAMPLE = SampleConfig(size=24)


def _run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _save(path, values, **sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    values = values.astype(np.uint8 if values.dtype == bool else np.float32)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    if sidecar:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def _generator(folder):
    torch.manual_seed(0)
    generator = Generator(config().generator)
    save_generator(generator.eval(), folder / "generator.safetensors")
    return generator


@pytest.fixture
def scan(tmp_path):
    truth = brain(0, (32, 36, 28))
    field = DipoleOperator(Grid((32, 36, 28)))(truth.chi_ppm) * truth.mask
    _generator(tmp_path)
    _save(tmp_path / "chi.nii.gz", truth.chi_ppm)
    _save(tmp_path / "field.nii.gz", field)
    _save(tmp_path / "mask.nii.gz", truth.mask)
    return tmp_path, field.numpy(), truth.mask.numpy()


def test_units_are_asked_for_and_all_give_the_same_map(scan):
    folder, field, mask = scan
    common = (
        "--mask",
        folder / "mask.nii.gz",
        "--generator",
        folder / "generator.safetensors",
        "--device",
        "cpu",
        "-o",
    )
    refused = _run("predict", folder / "field.nii.gz", *common, folder / "out.nii.gz")
    assert refused.exit_code == 1
    assert "--units" in refused.output
    assert not (folder / "out.nii.gz").exists()
    hz = _save(folder / "hz.nii.gz", field * hz_per_ppm(3.0))
    no_strength = _run("predict", hz, *common, folder / "out.nii.gz", "--units", "hz")
    assert no_strength.exit_code == 1
    assert "--b0" in no_strength.output
    angular = _save(
        folder / "angular.nii.gz",
        field * hz_per_ppm(3.0) * 2 * np.pi,
        Units="rad/s",
        MagneticFieldStrength=3,
    )
    runs = {
        "ppm": (folder / "field.nii.gz", "--units", "ppm"),
        "hz": (hz, "--units", "hz", "--b0", 3),
        "angular": (angular, "--uncertainty", folder / "error.nii.gz"),
        "edges": (folder / "field.nii.gz", "--units", "ppm", "--magnitude", folder / "chi.nii.gz"),
    }
    maps = {}
    for name, (path, *options) in runs.items():
        out = folder / f"out-{name}.nii.gz"
        result = _run("predict", path, *common, out, *options)
        assert result.exit_code == 0, result.output
        maps[name] = nib.load(out).get_fdata()
        assert (maps[name][~mask] == 0).all()
        sidecar = json.loads((folder / f"out-{name}.json").read_text())
        assert sidecar["Units"] == "ppm"
        assert sidecar["Generator"] == "generator.safetensors"
    norm = np.linalg.norm(maps["ppm"])
    assert len(sidecar["Sources"]) == 3
    assert np.linalg.norm(maps["edges"] - maps["ppm"]) > 1e-3 * norm
    for name in ("hz", "angular"):
        assert np.linalg.norm(maps[name] - maps["ppm"]) < 2e-2 * norm
    error = nib.load(folder / "error.nii.gz").get_fdata()
    assert (error[mask] > 0).all()
    assert (error[~mask] == 0).all()
    truth = nib.load(folder / "chi.nii.gz").get_fdata()
    assert np.corrcoef(maps["ppm"][mask], truth[mask])[0, 1] > 0.8


def test_a_mask_of_another_shape_is_refused(scan):
    folder = scan[0]
    _save(folder / "mask.nii.gz", np.ones((4, 4, 4)))
    result = _run(
        "predict",
        folder / "field.nii.gz",
        "--mask",
        folder / "mask.nii.gz",
        "--units",
        "ppm",
        "-o",
        folder / "out.nii.gz",
    )
    assert result.exit_code == 1
    assert "mask.nii.gz" in result.output


def test_scores_stand_side_by_side(scan):
    pytest.importorskip("qsm_ci", reason="qsm-ci is not installed")
    folder = scan[0]
    truth = nib.load(folder / "chi.nii.gz").get_fdata()
    labels = np.zeros(truth.shape)
    for label, box in enumerate(((8, 12), (12, 16), (16, 20)), 1):
        labels[box[0] : box[1], 12:20, 10:16] = label
    _save(folder / "seg.nii.gz", labels)
    _save(folder / "half.nii.gz", 0.5 * truth)
    result = _run(
        "evaluate",
        folder / "chi.nii.gz",
        f"same={folder / 'chi.nii.gz'}",
        f"half={folder / 'half.nii.gz'}",
        "--mask",
        folder / "mask.nii.gz",
        "--seg",
        folder / "seg.nii.gz",
        "-o",
        folder / "scores",
    )
    assert result.exit_code == 0, result.output
    table = (folder / "scores.tsv").read_text()
    assert result.output == table
    header, *lines = (line.split("\t") for line in table.splitlines())
    assert header == ["measure", "truth", "same", "half"]
    rows = {line[0]: line[1:] for line in lines}
    assert float(rows["nrmse"][1]) < 1e-4
    assert float(rows["nrmse"][2]) == pytest.approx(50, abs=0.1)
    slopes = [float(cell) for cell in rows["slope of deep grey regions"]]
    assert slopes == pytest.approx([1, 1, 0.5], abs=1e-3)
    assert "mean Globus pallidus ppm" in rows
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")
    units = json.loads((folder / "scores.json").read_text())["measure"]["Units"]
    assert units["nrmse"] == "%"
    wrong = _run(
        "evaluate", folder / "chi.nii.gz", "nameless.nii.gz", "--mask", folder / "mask.nii.gz"
    )
    assert wrong.exit_code == 64


def test_the_truth_of_the_simulator_brings_its_mask_and_maps_their_unit(scan, tmp_path):
    pytest.importorskip("qsm_ci", reason="qsm-ci is not installed")
    truth, mask = nib.load(scan[0] / "chi.nii.gz").get_fdata(), scan[0] / "mask.nii.gz"
    path = _save(tmp_path / "sub-01_Chimap.nii.gz", truth)
    ppb = _save(tmp_path / "ppb.nii.gz", 1000 * truth)
    (tmp_path / "ppb.json").write_text('{"Units": "ppb"}')
    words = ("evaluate", path, f"ppb={ppb}", "-o", tmp_path / "scores")
    assert "give --mask" in _run(*words).output
    shutil.copy(mask, tmp_path / "sub-01_desc-brain_mask.nii.gz")
    result = _run(*words)
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.output.splitlines() if line.startswith("nrmse\t"))
    assert float(row.split("\t")[2]) < 1e-2
    (tmp_path / "ppb.json").write_text('{"Units": "Hz"}')
    assert "'Hz', expected ppm" in _run(*words).output


def test_onnx_gives_what_torch_gives(tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    generator = _generator(tmp_path)
    written = exporting.export(generator, tmp_path / "generator.onnx")
    assert [path.name for path in written] == ["generator_stage-1.onnx"]
    assert exporting.check(generator.networks[0], written[0]) < 1e-5
    described = json.loads((tmp_path / "generator.json").read_text())
    assert described["Stride"] == generator.networks[0].stride
    for step, written_step in zip(generator.data_steps, described["DataSteps"], strict=True):
        assert set(written_step) == {name for name, _ in step.named_parameters()}
        assert written_step["noise_power"] == pytest.approx(float(step.noise_power))
    torch.nn.init.normal_(generator.networks[0].head.weight, std=0.1)
    with pytest.raises(Exception, match="differs from torch"):
        exporting.check(generator.networks[0], written[0])


def test_a_network_that_onnx_gets_wrong_has_no_file_of_its_name(tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript"):  # what they do is replaced
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))

    def check(network, path):
        assert path.read_text() == "network"
        raise ConfigError("differs from torch")

    monkeypatch.setattr(exporting, "_export", lambda network, path: path.write_text("network"))
    monkeypatch.setattr(exporting, "check", check)
    with pytest.raises(ConfigError, match="differs from torch"):
        exporting.export(_generator(tmp_path), tmp_path / "out.onnx")
    assert not list(tmp_path.glob("out*"))


def _derivatives(folder, subjects=("01", "02")):
    for number, subject in enumerate(subjects):
        truth = brain(number, (40, 36, 34))
        field = DipoleOperator(Grid((40, 36, 34)))(truth.chi_ppm) * truth.mask
        base = folder / f"sub-{subject}"
        name = f"sub-{subject}"
        _save(
            base / "fmap" / f"{name}_acq-qsmGre_desc-local_fieldmap.nii.gz",
            field * hz_per_ppm(2.89),
            Units="Hz",
            FieldStrengthUsed=2.89,
        )
        _save(base / "anat" / f"{name}_desc-qsm_mask.nii.gz", truth.mask)
        _save(base / "anat" / f"{name}_Chimap.nii.gz", truth.chi_ppm, Units="ppm")
        _save(base / "anat" / f"{name}_desc-uncertainty_Chimap.nii.gz", truth.mask, Units="ppm")
    return folder


def test_derivatives_are_read_in_ppm(tmp_path):
    derivatives = _derivatives(tmp_path)
    assert len(find_local_fields(derivatives)) == len(find_maps(derivatives)) == 2
    truth = brain(0, (40, 36, 34))
    grid = Grid((40, 36, 34))
    expected = DipoleOperator(grid)(truth.chi_ppm) * truth.mask
    expected = BoundingBox.of(truth.mask, grid).cut(expected)
    first = read_fields(derivatives)[0]
    assert (first.field_ppm - expected).norm() < 1e-5 * expected.norm()
    subject = read_subjects(derivatives, SAMPLE)[0]
    chi = BoundingBox.of(truth.mask, grid).cut(truth.chi_ppm)
    assert (subject.volumes[0, 0] - chi).norm() < 1e-4 * chi.norm()
    thin = torch.zeros(40, 36, 34)
    thin[..., :20] = 0.1
    second = tmp_path / "sub-02"
    _save(second / "anat" / "sub-02_Chimap.nii.gz", thin, Units="ppm")
    with pytest.raises(BIDSInputError, match=r"sub-02_Chimap.*20 mm.*expected.*30 mm"):
        read_subjects(derivatives, SAMPLE)
    hollow = torch.zeros(40, 36, 34)
    hollow[[1, -1], [1, -1], [1, -1]] = 0.1
    _save(second / "anat" / "sub-02_Chimap.nii.gz", hollow, Units="ppm")
    with pytest.raises(BIDSInputError, match=r"sub-02_Chimap.*2 voxels.*39 x 35 x 33 mm"):
        read_subjects(derivatives, SAMPLE)
    field = second / "fmap" / "sub-02_acq-qsmGre_desc-local_fieldmap.nii.gz"
    thin[..., 1:] = 0
    thin[4:] = 0
    _save(field, thin, Units="ppm")
    with pytest.raises(BIDSInputError, match=r"sub-02.*\d+ voxels.*expected at least 1000"):
        read_fields(derivatives)
    with pytest.raises(BIDSInputError, match="no local field"):
        find_local_fields(tmp_path / "sub-01" / "anat")
    (tmp_path / "sub-01" / "anat" / "sub-01_Chimap.json").write_text('{"Units": "ppb"}')
    with pytest.raises(BIDSInputError, match="'ppb'"):
        find_maps(derivatives)


def test_names_of_other_tools_end_with_no_traceback(tmp_path):
    path = _save(tmp_path / "my_first_Chimap.nii.gz", np.ones((4, 4, 4)), Units="ppm")
    assert find_maps(tmp_path) == [path]
    _save(tmp_path / "my_first_desc-qsm_mask.nii.gz", np.ones((4, 4, 4)))
    with pytest.raises(BIDSInputError, match=r"my_first_desc-qsm_mask.*rename"):
        find_local_fields(tmp_path)


@pytest.mark.usefixtures("one_case")
def test_a_site_adapts_the_generator_to_its_fields(tmp_path, monkeypatch):
    derivatives = _derivatives(tmp_path / "derivatives")
    write_pool(tmp_path / "pool")
    _generator(tmp_path)
    preset = tmp_path / "quick.toml"
    preset.write_text(
        "seed = 1\n"  # whose fresh network is not the given one
        "[sample]\nsize = 24\n[optim]\nmaps = 1\nfields = 1\nprecision = 'fp32'\n"
        "[validation]\nevery = 1000\nvoxel_mm = 3.0\n"
    )
    volumes = []

    def draw_measured(source, *arguments):
        volumes.append(len(source))
        return measured.draw_measured(source, *arguments)

    monkeypatch.setattr(data, "draw_measured", draw_measured)
    common = (
        "--fields",
        derivatives,
        "--data",
        tmp_path / "pool",
        "--steps",
        2,
        "--device",
        "cpu",
    )
    result = _run(
        "finetune",
        *common,
        "--weights",
        tmp_path / "generator.safetensors",
        "--preset",
        preset,
        "--out",
        tmp_path / "site",
    )
    assert result.exit_code == 0, result.output
    assert volumes == [2, 2]  # each step has a field of the site, which has two
    adapted = load_generator(tmp_path / "site" / "generator.safetensors")
    given = load_generator(tmp_path / "generator.safetensors")
    pairs = list(zip(given.parameters(), adapted.parameters(), strict=True))
    assert any(not torch.equal(before, after) for before, after in pairs)
    assert all((before - after).abs().max() < 0.01 for before, after in pairs)
    row = (tmp_path / "site" / "training.csv").read_text().splitlines()
    losses = dict(zip(row[0].split(","), map(float, row[1].split(",")), strict=True))
    assert losses["field_cycle"] > 0


@pytest.mark.usefixtures("one_case")
def test_a_training_begins_with_given_weights(tmp_path):
    write_pool(tmp_path / "pool")
    old = _generator(tmp_path)
    weights, preset = tmp_path / "generator.safetensors", tmp_path / "still.toml"
    preset.write_text(
        "seed = 1\n[generator]\nwidths = [4, 8]\nstages = 1\ntv_iterations = 2\n"
        "[sample]\nsize = 24\n"
        "[optim]\nprecision = 'fp32'\nlearning_rate = 1e-9\n[validation]\nvoxel_mm = 3.0\n"
    )
    common = ("--data", tmp_path / "pool", "--steps", 1, "--device", "cpu")
    result = _run("train", preset, *common, "--start", weights, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    new = load_generator(tmp_path / "new" / "generator.safetensors")
    for before, after in zip(old.parameters(), new.parameters(), strict=True):
        assert (before - after).abs().max() < 1e-6
    result = _run("train", preset, "--start", preset, "--out", tmp_path / "other")
    assert result.exit_code == 1
    assert "still.toml is no generator" in result.output


def test_help_needs_no_torch():
    import subprocess

    code = "import sys, qsm_pipeline.cli.cycleqsm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert _run("--help").exit_code == 0
