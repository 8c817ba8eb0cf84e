import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bids_trees import SHAPE, add_megre, make_dataset, write_image

from qsm_pipeline.bids import derivatives
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.bids.naming import NOTES, OUTPUTS
from qsm_pipeline.exceptions import OutputError

VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
OBLIQUE = np.array(
    [[0.7, 0.1, 0.2, -30.1], [-0.1, 0.9, 0.4, 12.3], [-0.15, -0.35, 1.9, 4.7], [0, 0, 0, 1.0]]
)
BIDS_KEYS = {"Description", "Sources", "Units", "Type", "SkullStripped", "SpatialReference"}


@pytest.fixture
def raw(tmp_path):
    return make_dataset(tmp_path / "raw & co")


def header(affine=OBLIQUE, sform=1, qform=1):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    image.header["descrip"] = b"TE=4"
    return image.header


def write_everything(raw, out):
    derivatives.write_dataset_files(out, raw)
    for run in collect_runs(index(raw)).runs:
        loaded = load_run(run)
        for quantity in OUTPUTS:
            values = loaded.valid_mask if "mask" in quantity else loaded.phase_rad[0]
            metadata = derivatives.sidecar(
                run,
                quantity,
                sources=["sub-01/anat/x.nii.gz"] if quantity == "chi" else (),
                parameters={"tv": {"alpha": np.float32(1e-3), "radii": np.arange(2)}},
                inferred=loaded.inferred,
                reference="mean of the whole brain" if quantity == "chi" else "",
            )
            derivatives.write_output(out, run, quantity, values, loaded.header, metadata)


@pytest.mark.parametrize("sessions", [(None,), ("a", "b")])
def test_the_validator_finds_neither_error_nor_warning(raw, tmp_path, sessions):
    if VALIDATOR is None:
        pytest.skip("bids-validator-deno is not installed")
    for ses in sessions:
        for between in ("", "run-2", "acq-q_ce-gd_rec-x_run-1_chunk-2", "task-rest_run-2"):
            add_megre(raw, ses=ses, between=between)
    out = tmp_path / "out"
    write_everything(raw, out)
    (out / "logs").mkdir()
    (out / "logs" / "run.toml").touch()
    (out / "work" / "qsm").mkdir(parents=True)  # the default work folder
    (out / "work" / "qsm" / "chi.nii").write_bytes(b"intermediate")
    (out / "sub-01.html").write_text("<html/>")
    (out / "sub-01" / "figures").mkdir()
    (out / "sub-01" / "figures" / "sub-01_x.svg").write_text("<svg/>")
    environment = os.environ | {
        "PATH": f"{Path(VALIDATOR).parent}{os.pathsep}{os.environ['PATH']}"
    }
    done = subprocess.run(
        [VALIDATOR, out, "--format", "json"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["issues"]["issues"] == []


def test_a_raw_set_without_a_usable_description_still_gives_valid_authors(raw, tmp_path):
    (raw / "dataset_description.json").write_text('{"Name": 3, "Authors": "me", "License": ""}')
    derivatives.write_dataset_files(tmp_path / "out", raw, container={"Type": "docker"})
    data = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert data["Name"] == "QSM of raw & co"
    assert data["Authors"] == ["The authors of raw & co", "qsm-pipeline (software)"]
    assert data["GeneratedBy"][0]["Container"] == {"Type": "docker"}
    assert data["DatasetLinks"]["raw"].endswith("raw%20%26%20co")


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 0), (0, 1), (1, 2), (0, 0)])
def test_space_is_kept_to_the_bit(tmp_path, sform, qform):
    rotation = np.linalg.qr(OBLIQUE[:3, :3])[0]
    affine = OBLIQUE.copy()
    affine[:3, :3] = rotation * np.array([0.7, 0.9, 1.9])
    like = header(affine, sform, qform)
    path = tmp_path / "x.nii.gz"
    values = np.random.default_rng(0).normal(size=SHAPE)
    own = like.get_best_affine()
    derivatives.write_image(path, values, like)
    written = nib.load(path)
    for key in (
        "sform_code",
        "qform_code",
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(written.header[key], like[key], err_msg=key)
    np.testing.assert_array_equal(written.header["pixdim"][:4], like["pixdim"][:4])
    np.testing.assert_array_equal(written.affine, own)
    assert written.get_data_dtype() == np.float32
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(written.dataobj), values.astype(np.float32))
    assert bytes(written.header["descrip"]).strip(b"\0") == b""


def test_masks_are_bytes_and_the_header_is_not_touched(tmp_path):
    like = header()
    before = like.binaryblock
    derivatives.write_image(tmp_path / "m.nii.gz", np.ones(SHAPE, bool), like)
    assert nib.load(tmp_path / "m.nii.gz").get_data_dtype() == np.uint8
    assert like.binaryblock == before


def test_same_data_same_bytes(tmp_path):
    for name in "ab":
        derivatives.write_image(tmp_path / f"{name}.nii.gz", np.ones(SHAPE), header())
        derivatives.write_json(tmp_path / f"{name}.json", {"b": 1, "a": {"d": 1, "c": Path("x")}})
    for end in (".nii.gz", ".json"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\), expected \(10, 12, 8\)"),
        (np.full(SHAPE, np.nan), "some values are not finite"),
    ],
)
def test_bad_values_are_not_written(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        derivatives.write_image(tmp_path / "x.nii.gz", values, header())
    assert not list(tmp_path.iterdir())


def test_a_sidecar_that_json_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        derivatives.write_json(tmp_path / "x.json", {"a": float("nan")})
    with pytest.raises(TypeError, match="cannot hold a set"):
        derivatives.write_json(tmp_path / "x.json", {"a": {1}})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    derivatives.write_json(path, {"old": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(derivatives.os, "fsync", full)
    with pytest.raises(OutputError, match=r"x\.json cannot be written: No space left on device"):
        derivatives.write_json(path, {"new": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert json.loads(path.read_text()) == {"old": 1}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        derivatives.write_json(tmp_path / "file" / "sub" / "x.json", {})


def test_files_are_readable_by_the_group_as_the_umask_says(tmp_path):
    old = os.umask(0o027)
    try:
        derivatives.write_json(tmp_path / "x.json", {})
    finally:
        os.umask(old)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640


def test_sidecar_says_where_the_map_came_from(raw):
    add_megre(raw)
    mask = write_image(raw / "m.nii.gz", np.ones(SHAPE))
    (run,) = collect_runs(index(raw), mask_pattern="m.nii.gz").runs
    data = derivatives.sidecar(
        run, "chi", sources=["a.nii.gz"], parameters={"x": 1}, reference="CSF", extra={"E": 2}
    )
    assert data["Sources"][0] == "bids:raw:sub-01/anat/sub-01_echo-1_part-phase_MEGRE.nii.gz"
    assert data["Sources"][-2:] == [mask.as_uri(), "bids::a.nii.gz"]
    assert data["Units"] == "ppm"
    assert data["SkullStripped"] is True
    assert data["SusceptibilityReference"] == "CSF"
    assert data["Parameters"] == {"x": 1}
    assert data["E"] == 2
    assert data["Inferred"] == run.inferred
    assert "torch" in data["Software"]
    mask_data = derivatives.sidecar(run, "brain_mask")
    assert mask_data["Type"] == "Brain"
    assert "Units" not in mask_data


def test_what_steps_found_is_nested_and_rounded_apart_from_what_readers_look_up(raw):
    add_megre(raw)
    (run,) = collect_runs(index(raw)).runs
    found = {"BrainVolumeMl": 1234.5, "Warnings": ["w"], "SpreadRad": 0.0012156175216659904}
    data = derivatives.sidecar(run, "chi", findings=found | {"Masks": [{"LengthScale": 1 / 3}]})
    assert data["BrainVolumeMl"] == 1234.5
    assert data["Warnings"] == ["w"]
    assert data["Findings"] == {"SpreadRad": 0.00121562, "Masks": [{"LengthScale": 0.333333}]}
    assert set(data) <= BIDS_KEYS | set(derivatives.KEYS)
    assert "Findings" not in derivatives.sidecar(run, "chi")


def test_the_readme_describes_every_file_and_every_key(raw, tmp_path):
    derivatives.write_dataset_files(tmp_path, raw)
    text = (tmp_path / "README.md").read_text()
    for spec in (OUTPUTS | NOTES).values():
        assert f"| `{spec.pattern}` | {spec.units} | {spec.description}" in text
        assert spec.sign[1:] in text
    assert all(f"| `{key}` | " in text for key in derivatives.KEYS)
