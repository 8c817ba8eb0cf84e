"""Generators, settings and descriptions that were tampered with."""

import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from bids_trees import add_megre, make_dataset, wrapped_phase, write_image
from click.testing import CliRunner
from hostile.damages import DAMAGES
from nipype.pipeline.engine import Node
from nipype.pipeline.engine.nodes import NodeExecutionError
from safetensors.torch import load_file, save_file

from qsm_pipeline.app.checks import check_methods
from qsm_pipeline.app.settings import read_mapping
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_dataset_files
from qsm_pipeline.bids.layout import index
from qsm_pipeline.cli.main import main
from qsm_pipeline.cycleqsm import checkpoint as weights
from qsm_pipeline.exceptions import BIDSInputError, ConfigError
from qsm_pipeline.interfaces.susceptibility import InvertDipole
from qsm_pipeline.steps.settings import METHOD_DEFAULTS

DEEP = "[" * 100_000


class _Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _shipped():
    with open(weights.shipped_path(), "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return load_file(weights.shipped_path()), json.loads(file.read(length))["__metadata__"]


def _generator_files(folder):
    tensors, metadata = _shipped()
    data = weights.shipped_path().read_bytes()
    first = next(name for name, tensor in tensors.items() if tensor.dim())
    (folder / "pickle.safetensors").write_bytes(pickle.dumps(_Bomb(folder / "pwned")))
    torch.save({"x": _Bomb(folder / "pwned")}, folder / "torch.safetensors")
    (folder / "half.safetensors").write_bytes(data[: len(data) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "length.safetensors").write_bytes((2**62).to_bytes(8, "little") + data[8:])
    save_file(tensors, folder / "bare.safetensors")
    fewer = {name: tensor for name, tensor in tensors.items() if name != first}
    save_file(fewer, folder / "fewer.safetensors", metadata)
    save_file({**tensors, first: tensors[first][:1]}, folder / "shape.safetensors", metadata)
    save_file(tensors, folder / "huge.safetensors", {"generator": '{"channels": 1000000000}'})
    save_file(tensors, folder / "deep.safetensors", {"generator": DEEP})
    return sorted(folder.glob("*.safetensors"))


def test_generators_that_are_none(tmp_path):
    files = _generator_files(tmp_path)
    assert len(files) == 10
    for path in files:
        with pytest.raises(ValueError, match=r"is no generator of CycleQSM: ") as caught:
            weights.load_generator(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_weights_that_are_no_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "set_flush_denormal", lambda _: None)  # it would outlive the test
    tensors, metadata = _shipped()
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}
    save_file(broken, tmp_path / "nan.safetensors", metadata)
    shape = (24, 20, 16)
    mask = np.zeros(shape)
    mask[4:-4, 4:-4, 4:-4] = 1
    files = {}
    for name, values in {"local_field": 0.01 * wrapped_phase(shape), "mask": mask}.items():
        files[name] = str(write_image(tmp_path / f"{name}.nii", values))
    node = Node(
        InvertDipole(
            **files,
            brain=files["mask"],
            method="cycleqsm",
            mean_rad_per_ppm=8.0,
            params={"generator": str(tmp_path / "nan.safetensors"), "uncertainty": False},
        ),
        name="invert",
        base_dir=str(tmp_path),
    )
    with pytest.raises(NodeExecutionError, match=r"nan\.safetensors is .* not finite"):
        node.run()


def test_tampered_weights_of_the_package(tmp_path, monkeypatch):
    data = bytearray(weights.shipped_path().read_bytes())
    data[-5] ^= 1
    (tmp_path / "tampered.safetensors").write_bytes(data)
    monkeypatch.setattr(weights, "shipped_path", lambda: tmp_path / "tampered.safetensors")
    with pytest.raises(ValueError, match=r"it has SHA-256 .*, expected .*; reinstall"):
        weights.load_generator()


SETTINGS = {
    "deep.toml": b"a = " + DEEP.encode(),
    "deep.json": DEEP.encode(),
    "latin1.toml": b'a = "\xe9"',
    "latin1.json": b'{"a": "\xe9"}',
    "digits.json": b'{"a": ' + b"9" * 5000 + b"}",
    "binary.toml": bytes(range(256)),
    "empty.json": b"",
    "list.json": b"[1]",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(SETTINGS[name])
    with pytest.raises(ConfigError, match=r"cannot be read as TOML or JSON|must hold an object"):
        read_mapping(path)
    if path.suffix == ".toml":
        raw = make_dataset(tmp_path / "raw")
        result = CliRunner().invoke(
            main, [str(raw), str(tmp_path / "out"), "participant", "--config-file", str(path)]
        )
        assert result.exit_code == 64, result.output
        assert "cannot be read as TOML" in result.output
        assert "Traceback" not in result.output


DESCRIPTIONS = {
    "deep": DEEP.encode(),
    "latin1": b'{"Name": "\xe9", "BIDSVersion": "1.8.0"}',
    "list": b"[1]",
    "huge": b'{"Name": "' + b"x" * 2**24 + b'"}',
    "empty": b"",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_cannot_be_read(tmp_path, name):
    raw = make_dataset(tmp_path / "raw")
    add_megre(raw)
    (raw / "dataset_description.json").write_bytes(DESCRIPTIONS[name])
    with pytest.raises(BIDSInputError, match=r"dataset_description\.json"):
        index(raw)
    result = CliRunner().invoke(
        main, [str(raw), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    )
    assert result.exit_code == 65
    assert "dataset_description.json" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "description",
    [
        {"Name": 1, "Authors": "one", "License": None, "HEDVersion": {}, "DatasetDOI": []},
        {"Name": "<script>\x1b[31m\n", "BIDSVersion": ["a"], "Authors": [1, {}]},
        {"Name": "a", "BIDSVersion": "99", "DatasetType": 7, "GeneratedBy": "me"},
        {},
    ],
)
def test_odd_descriptions_are_used_as_far_as_they_go(tmp_path, description):
    raw = make_dataset(tmp_path / "raw")
    add_megre(raw)
    (raw / "dataset_description.json").write_text(json.dumps(description))
    assert len(collect_runs(index(raw)).runs) == 1
    write_dataset_files(tmp_path / "out", raw)
    written = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert isinstance(written["Name"], str)
    assert all(isinstance(author, str) for author in written["Authors"])


@pytest.mark.parametrize(
    ("stage", "name", "value", "wanted"),
    [
        ("inversion", "max_iterations", "many", "a whole number"),
        ("inversion", "max_iterations", True, "a whole number"),
        ("inversion", "max_iterations", 1e9, "a whole number"),
        ("inversion", "noise_exponent", math.nan, "a finite number"),
        ("inversion", "regularisation", math.inf, "a finite number"),
        ("inversion", "regularisation", 10**400, "a finite number"),
        ("inversion", "margin_mm", [16.0], "a finite number"),
        ("background", "harmonic_start", 1, "true or false"),
    ],
)
def test_parameters_of_the_wrong_kind(stage, name, value, wanted):
    """They would fail in the nodes of every participant, hours later, or mean nothing."""
    chosen = {"inversion": "tv", "background": "pdf", f"{stage}_params": {name: value}}
    with pytest.raises(ConfigError, match=f"{name} is .*, expected {wanted}"):
        check_methods(METHOD_DEFAULTS | chosen)


def test_whole_numbers_may_stand_for_others():
    chosen = {"inversion": "tv", "inversion_params": {"margin_mm": 20, "max_iterations": 3}}
    check_methods(METHOD_DEFAULTS | chosen)


@pytest.mark.parametrize("damage", ["pipe", "huge", "deep", "utf16", "garbage"])
@pytest.mark.parametrize(
    "option",
    ["--config-file", "--bids-filter-file", "--nipype-plugin-file", "--participant-label"],
)
def test_a_file_of_settings_that_is_none_ends_in_a_sentence(tmp_path, option, damage):
    raw, path = make_dataset(tmp_path / "raw"), tmp_path / "file.toml"
    add_megre(raw)
    path.touch()
    DAMAGES[damage](path)
    value = f"@{path}" if option.endswith("label") else str(path)
    words = [str(raw), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    result = CliRunner().invoke(main, [*words, "--dry-run", option, value])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code not in (0, 1)
    assert len(result.output) < 1000


@pytest.mark.parametrize("text", ['{"gre": {"run": 1}, "gre": {}}', '{"gre": {"run": true}}'])
def test_filters_that_say_two_things_are_refused(tmp_path, text):
    raw, path = make_dataset(tmp_path / "raw"), tmp_path / "filter.json"
    add_megre(raw)
    path.write_text(text)
    words = [str(raw), str(tmp_path / "out"), "participant", "--skip-bids-validation"]
    result = CliRunner().invoke(main, [*words, "--dry-run", "--bids-filter-file", str(path)])
    assert result.exit_code == 64, result.output


def test_a_pipe_in_a_folder_that_is_no_data_set_is_not_waited_for(tmp_path):
    (tmp_path / "raw").mkdir()
    os.mkfifo(tmp_path / "raw/scan")
    result = CliRunner().invoke(main, [str(tmp_path / "raw"), str(tmp_path / "out"), "group"])
    assert result.exit_code == 16
