"""The registry is complete, true to its functions, and answers typos."""

import re
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass
from inspect import signature

import pytest

from qsm_pipeline.reports.citations import bibliography
from qsm_pipeline.reports.method_reference import method_reference
from qsm_pipeline.steps.methods import METHODS, STAGES, default, method, methods, stage
from qsm_pipeline.steps.parameter_docs import described
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.run import init_run_wf

every_method = pytest.mark.parametrize("each", METHODS, ids=lambda m: f"{m.stage}:{m.name}")
COMPUTING = [each for each in METHODS if each.reference]


def test_the_stages_are_those_of_the_workflow():
    built = {
        name: parameter.default
        for name, parameter in signature(init_run_wf).parameters.items()
        if name not in ("run", "out_dir", "device", "omp_nthreads")
    }
    assert built == METHOD_DEFAULTS
    assert {each.stage for each in METHODS} == {each.name for each in STAGES}
    for each in STAGES:
        assert len(methods(each.name)) == len([m for m in METHODS if m.stage == each.name])
        assert bool(each.setting) == (len(methods(each.name)) > 1)
        assert default(each.name) == next(m.name for m in METHODS if m.stage == each.name)


@pytest.mark.parametrize("each", COMPUTING, ids=lambda m: f"{m.stage}:{m.name}")
def test_functions_are_there_and_take_the_parameters(each):
    function = each.function
    assert callable(function)
    if fields(each.params):
        annotation = signature(function).parameters["params"].annotation.split(" | ")[0]
        assert issubclass(each.params, function.__globals__[annotation])


@every_method
def test_parameters_are_frozen_documented_and_have_defaults(each):
    assert is_dataclass(each.params)
    params = each.params()
    for parameter in described(each.params):
        assert len(parameter.meaning.split()) >= 3, parameter
        assert parameter.kind
        with pytest.raises(FrozenInstanceError):
            setattr(params, parameter.name, parameter.default)
    assert [p.name for p in described(each.params)] == [f.name for f in fields(each.params)]


@every_method
def test_help_and_sentence(each):
    assert each.name == each.name.lower()
    assert re.fullmatch(r"[A-Z].*[a-z0-9)]\.", each.help), each.help
    assert len(each.help) < 100
    if each.reference:
        assert re.fullmatch(r"[A-Z].*[^. ]", each.sentence)
    assert set(each.citations) <= set(bibliography())


@pytest.mark.parametrize(
    "each",
    [m for m in COMPUTING if m.stage in ("unwrap", "background", "inversion")],
    ids=lambda m: m.name,
)
def test_sentences_cite_what_the_functions_themselves_cite(each):
    dois = re.findall(r"doi:(\S+?)[,;.]?\s", (each.function.__doc__ or "") + " ")
    cited = {bibliography()[key].doi for key in each.citations}
    assert cited
    if dois:
        assert dois[0] in cited


def test_case_does_not_matter_and_typos_are_answered():
    assert method("inversion", "TKD") is methods("inversion")["tkd"]
    with pytest.raises(ValueError, match=r"inversion method is 'tvk', expected one of cycle.*"):
        method("inversion", "tvk")
    with pytest.raises(ValueError, match=r"; did you mean 'resharp'\?$"):
        method("background", "resharpp")
    with pytest.raises(ValueError, match=r"stage is 'inverson'.*did you mean 'inversion'\?"):
        stage("inverson")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"thresold": 0.1},
            r"inversion method tkd: there is no parameter 'thresold'; it has "
            r"threshold, correct_underestimation, margin_mm; did you mean 'threshold'\?$",
        ),
        ({"threshold": "big"}, "tkd: threshold is 'big', expected a finite number$"),
        ({"threshold": True}, "threshold is True, expected a finite number"),
        ({"threshold": 1e999}, "threshold is inf, expected a finite number"),
        ({"threshold": 7}, "tkd: Expected 0 < threshold < 1/3, got 7"),
        ({"correct_underestimation": 1}, "is 1, expected true or false"),
    ],
)
def test_values_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        method("inversion", "tkd").with_values(values)


def test_values_that_fit_are_taken():
    tkd = method("inversion", "tkd")
    assert asdict(tkd.with_values({"threshold": 0.2})) == {
        "threshold": 0.2,
        "correct_underestimation": False,
        "margin_mm": 16.0,
    }
    assert tkd.with_values() == tkd.params()
    with pytest.raises(ValueError, match="laplacian: it has no parameters, got 'x'"):
        method("unwrap", "laplacian").with_values({"x": 1})


def test_the_reference_holds_every_method_and_parameter():
    text = method_reference()
    for each in METHODS:
        assert f"### `{each.name}`" in text
        assert each.help in text
        for parameter in described(each.params):
            assert f"| `{parameter.name}` | `" in text
            assert parameter.meaning in text
    alone = method_reference("TKD")
    assert "## Dipole inversion" in alone
    assert "Option `--inversion`. Parameters in the table `[inversion_params]`" in alone
    assert "| `threshold` | `none` |  | Where the dipole kernel" in alone
    assert "| `margin_mm` | `16` | mm | Zero padding" in alone
    assert "Shmueli et al. 2009, doi:10.1002/mrm.22135." in alone
    assert "tikhonov" not in alone
    assert method_reference("field_fit").count("### ") == 2
    with pytest.raises(ValueError, match=r"called 'tkdd'; .*; did you mean 'tkd'\?"):
        method_reference("tkdd")
