"""Help in groups, answers in words, and what every kind of typo is answered with."""

import commands
import pytest

from qsm_pipeline.app.checks import check_folders
from qsm_pipeline.cli import cycleqsm, simulate
from qsm_pipeline.cli.main import main
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.numerics.quality.limits import DEFAULT_LIMITS
from qsm_pipeline.steps.methods import METHODS, STAGES, methods
from qsm_pipeline.steps.quality import QUALITIES


def _told(result):
    return " ".join(result.output.split())


def test_every_option_has_a_group_and_a_text():
    options = [p for p in main.params if p.param_type_name == "option" and p.name != "version"]
    assert all(option.help for option in options)
    assert {option.group for option in options} == {
        "Which data",
        "Masks of your own",
        "Methods",
        "Further maps and regions",
        "This machine",
        "Slurm",
        "What is run",
    }


def test_help_has_its_groups_in_order_every_choice_and_examples():
    text = commands.call("-h").output
    assert text == commands.call("--help").output
    places = [text.index(f"\n{group}:") for group in ("Which data", "Methods", "What is run")]
    assert places == sorted(places)
    for stage in (stage for stage in STAGES if stage.setting):
        for name in methods(stage.name):
            assert f" {name}: " in text
    assert "qsm-pipeline raw out participant --dry-run" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("program", [cycleqsm.main, simulate.main])
def test_other_commands_have_short_help_and_examples(program):
    text = commands.call("-h", program=program).output
    assert "Examples:" in text


@pytest.mark.parametrize("command", cycleqsm.main.commands)
def test_commands_of_cycleqsm_answer_h_too(command):
    result = commands.call(command, "-h", program=cycleqsm.main)
    assert result.exit_code == 0
    for param in cycleqsm.main.commands[command].params:
        if param.param_type_name == "option" and param.name not in ("mask", "resume"):
            assert param.help, param.name


def test_methods_are_listed_with_their_defaults():
    text = commands.call("methods").output
    for each in METHODS:
        star = "*" if next(iter(methods(each.stage))) == each.name else " "
        assert f"\n  {star} {each.name:17}" in text


def test_one_method_has_its_parameters_with_unit_and_meaning():
    text = commands.call("methods", "TKD").output
    assert "Parameters, in [inversion_params]" in text
    assert "margin_mm = 16 mm (number)\n        Zero padding around the mask." in text
    assert "tikhonov" not in text
    assert "  tikhonov: " in commands.call("methods", "inversion").output


def test_a_folder_called_methods_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "methods").mkdir()
    assert "no BIDS data set" in _told(commands.call("methods", "out", "participant"))


def test_explain_says_meaning_limit_and_action_of_every_metric():
    text = commands.call("explain").output
    for each in QUALITIES:
        assert f"({each.name})" in text
    one = _told(commands.call("explain", "snr-echo-3"))
    assert one.startswith("Signal to noise, echo 3 (snr_echo_3)")
    assert (
        "good: every quality metric keeps its limits" in commands.call("explain", "verdict").output
    )
    one = _told(commands.call("explain", "mask_volume_ml"))
    assert "Expected: at least 250 and at most 2000 mL." in one


def test_every_limit_is_of_a_metric_with_words():
    assert {key[4:] for key in DEFAULT_LIMITS} == {each.name for each in QUALITIES}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["raw", "out", "participant", "--invrsion", "tkd"], "--inversion"),
        (["raw", "out", "participant", "--readout", "bipolr"], "did you mean 'bipolar'?"),
        (["raw", "out", "partcipant"], "did you mean 'participant'?"),
        (["rwa", "out", "participant"], "rwa does not exist; did you mean 'raw'?"),
        (["no/raw", "out", "participant"], "no/raw does not exist, nor does no."),
        (
            ["raw", "participant"],
            "OUT_DIR is missing: the command is qsm-pipeline BIDS_DIR OUT_DIR",
        ),
        (["raw", "out"], "{participant|group} is missing: the command is"),
        (["a.nii.gz", "out", "participant"], "a.nii.gz is one image, expected a folder; give the"),
        (
            ["raw", "out", "participant", "--config-file", "raw"],
            "raw is a folder, expected a file",
        ),
        (["raw", "out", "participant", "--config-file", "fst.toml"], "did you mean 'fast.toml'?"),
        (
            ["raw", "out", "participant", "--derive", "swi"],
            "argument (swi): --derive takes no value; the command is qsm-pipeline BIDS_DIR",
        ),
        (
            ["raw", "out", "group", "more"],
            "(more): the command is qsm-pipeline BIDS_DIR",
        ),
        (["methods", "cycelqsm"], "did you mean 'cycleqsm'?"),
        (["explain", "rimratio"], "did you mean 'rim_ratio'?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(tmp_path, monkeypatch, words, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "fast.toml").write_text("")
    (tmp_path / "a.nii.gz").write_bytes(b"")
    result = commands.call(*words)
    assert result.exit_code in (17, 64, 66)
    assert answer in _told(result)


def test_choices_are_taken_in_upper_case(tmp_path):
    (tmp_path / "raw").mkdir()
    words = ("out", "PARTICIPANT", "--readout", "Bipolar", "--inversion", "TKD")
    assert "is not one of" not in commands.call(tmp_path / "raw", *words).output


def test_an_unknown_preset_is_answered_with_the_presets(tmp_path):
    words = ("train", "smallest", "--out", tmp_path / "out")
    result = commands.call(*words, program=cycleqsm.main)
    assert result.exit_code == 1
    wanted = "smallest is neither a preset (default, paper, finetune) nor a TOML file"
    assert wanted in _told(result)
    result = commands.call("train", "defualt", *words[2:], program=cycleqsm.main)
    assert "did you mean 'default'?" in _told(result)


def _data_set(folder):
    (folder / "sub-01" / "anat").mkdir(parents=True)
    (folder / "dataset_description.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "below", "words"),
    [
        (_data_set, "sub-01", "is a part of the data set {}; give {} with --participant-label 01"),
        (_data_set, "sub-01/anat", "give {} with --participant-label 01"),
        (lambda f: (f / "sub-01").mkdir(parents=True), "", "it holds participants; add the file"),
        (
            lambda f: (f / "1").mkdir(parents=True) or (f / "1/x.IMA").touch(),
            "",
            "holds DICOM files",
        ),
        (
            lambda f: f.mkdir() or (f / "x").write_bytes(b"\0" * 128 + b"DICM"),
            "",
            "convert them with dcm2niix",
        ),
        (lambda f: f.mkdir() or (f / "x.nii.gz").touch(), "", "name them as BIDS does"),
        (lambda f: f.mkdir(), "", "has no dataset_description.json, so it is no BIDS data set"),
    ],
)
def test_a_folder_that_is_no_data_set_is_named_for_what_it_is(tmp_path, make, below, words):
    make(tmp_path / "raw")
    with pytest.raises(ConfigError) as error:
        check_folders(tmp_path / "raw" / below, output=tmp_path / "out")
    assert words.format(*[tmp_path / "raw"] * words.count("{}")) in str(error.value)
