"""The TOML file and the command line lead to the same call."""

import tomllib

import click
import pytest
from click.testing import CliRunner

from qsm_pipeline.app.settings import to_toml
from qsm_pipeline.cli.config_file import NO_KEYS, TABLES
from qsm_pipeline.cli.main import main
from qsm_pipeline.steps.settings import METHOD_DEFAULTS

OPTIONS = {p.name: p for p in main.params if isinstance(p, click.Option) and p.name not in NO_KEYS}


def _example(option, folder):
    """Return a value that is not the default, as TOML has it."""
    if option.count:
        return 2
    if option.is_flag:
        return True
    if isinstance(option.type, click.Choice):
        return next(c for c in option.type.choices if c != option.default)
    if isinstance(option.type, click.IntRange):
        return 3
    if isinstance(option.type, click.FloatRange):
        return 2.5
    if isinstance(option.type, click.Path):
        path = folder / option.name
        path.touch() if option.type.dir_okay is False else path.mkdir()
        return [str(path)] if option.multiple else str(path)
    return ["01", "02"] if option.multiple else "text"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Return a function that gives the keywords a command leads to, or its output."""
    (tmp_path / "raw").mkdir()
    seen = {}

    def note(**keywords):
        seen.update(keywords)
        return False

    monkeypatch.setattr("qsm_pipeline.app.participant.run_participants", note)

    def run(*arguments):
        seen.clear()
        result = CliRunner().invoke(
            main, [str(tmp_path / "raw"), str(tmp_path / "out"), "participant", *arguments]
        )
        return dict(seen) if result.exit_code == 0 else result.output

    return run


def _on_command_line(values):
    arguments = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if OPTIONS[name].count:
            arguments += [flag] * value
        elif value is True:
            arguments.append(flag)
        else:
            arguments += [flag, *map(str, value if isinstance(value, list) else [value])]
    return arguments


# those of the job array write a script and run nothing: tests/app/slurm/test_script.py
@pytest.mark.parametrize("name", [name for name in OPTIONS if not name.startswith("slurm_")])
def test_each_option_has_its_key(name, call, tmp_path):
    value = {name: _example(OPTIONS[name], tmp_path)}
    config = tmp_path / "config.toml"
    config.write_text(to_toml(value))
    by_file, by_option = call("--config-file", str(config)), call(*_on_command_line(value))
    assert isinstance(by_option, dict), by_option
    assert by_file == by_option
    assert name == "verbose" or by_option != call()


def test_all_options_at_once(call, tmp_path):
    values = {name: _example(option, tmp_path) for name, option in OPTIONS.items()}
    config = tmp_path / "config.toml"
    config.write_text(to_toml({key.replace("_", "-"): value for key, value in values.items()}))
    assert call("--config-file", str(config)) == call(*_on_command_line(values))


def test_the_command_line_wins(call, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('inversion = "tkd"\nnprocs = 3\n')
    keywords = call("--config-file", str(config), "--inversion", "tikhonov")
    assert (keywords["inversion"], keywords["nprocs"]) == ("tikhonov", 3)


def test_tables_of_parameters(call, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('inversion = "tkd"\n[inversion_params]\nthreshold = 0.2\n')
    assert call("--config-file", str(config))["inversion_params"] == {"threshold": 0.2}


def test_defaults_of_the_command_are_those_of_the_workflow(call):
    defaults = {k: v for k, v in call().items() if k in METHOD_DEFAULTS}
    assert defaults == {k: v for k, v in METHOD_DEFAULTS.items() if k in defaults}
    missing = set(METHOD_DEFAULTS) - set(defaults)
    assert missing == set(TABLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inverson = 'tkd'", "unknown key 'inverson'; known: atlas"),
        ("nprocs = 2.5", "nprocs is 2.5, expected a whole number"),
        ("nprocs = true", "nprocs is True, expected a whole number"),
        ("nprocs = 0", "0 is not in the range"),
        ("dry_run = 'yes'", "dry_run is 'yes', expected true or false"),
        ("mem_gb = '4'", "mem_gb is '4', expected a number"),
        ("participant_label = [1]", "participant_label is [1], expected a text or a list"),
        ("work_dir = 3", "work_dir is 3, expected a text"),
        ("inversion = 'magic'", "'magic' is not one of"),
        ("inversion_params = 3", "inversion_params is 3, expected a table [inversion_params]"),
        ("config_file = 'other.toml'", "unknown key 'config_file'"),
        ("nprocs = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_refused(call, tmp_path, text, words):
    config = tmp_path / "config.toml"
    config.write_text(text)
    output = call("--config-file", str(config))
    assert words in " ".join(output.replace("│", " ").split())


def test_one_label_may_be_a_text(call, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("participant_label = '01'")
    assert call("--config-file", str(config))["participant_label"] == ("01",)


def test_toml_keeps_awkward_values():
    values = {"a": 'back\\slash "quoted"\tü 🧠', "b": [1, 2.5, True], "t": {"x": 1e-9}}
    assert tomllib.loads(to_toml(values | {"none": None})) == values
