"""The documentation says what is so: numbers, settings, examples, links."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import types

import commands
import pytest
import torch

import qsm_pipeline as qsm
from qsm_pipeline.steps import methods as registry

ROOT = commands.ROOT
README = (ROOT / "README.md").read_text()
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text()


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rows(text, heading):
    """Return the cells of the first table after a heading."""
    table = text.partition(heading)[2].partition("\n|")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_readme_keeps_its_commands_and_markers():
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    named = [line.partition(":")[0] for line in markers["ini_options"]["markers"]]
    assert "`make demo`" in README
    assert "`make test`" in README
    for marker in set(named) - {"command", "smoke"}:
        assert f"`{marker}`" in README


def test_the_numbers_of_the_readme_are_those_of_the_benchmarks():
    measured = {
        (row[0], row[2]): row
        for row in _rows(BENCHMARKS, "## Accuracy of the whole command")[2:]
        if row[1] == "deepbet"
    }
    shown = _rows(README, "over the whole\nbrain:\n")[2:]
    for row, scan in zip(shown, ("axial", "tilted", "oblique"), strict=True):
        ours, tv = measured[scan, "cycleqsm"], measured[scan, "tv"]
        assert row[1:] == [ours[6], ours[8], tv[6], tv[8]]
    (chain,) = (row for row in _rows(BENCHMARKS, "## Time") if row[:2] == ["chain", "cycleqsm"])
    assert f"take {float(chain[2]):.0f} s of one core" in README
    (peak,) = re.findall(r"the peak is ([\d.]+) GiB", BENCHMARKS)
    assert f"{peak} GiB of memory" in README


def test_the_figure_shows_the_table():
    tool = _tool("accuracy_figure")
    found = tool.rows(BENCHMARKS)
    drawn = re.findall(r">(\d+\.\d)</text>", tool.TARGET.read_text())
    expected = [f"{found[name, *case]:.1f}" for name in tool.SHOWN for case in tool.CASES]
    assert sorted(drawn) == sorted(expected)


def test_the_table_of_methods_is_that_of_the_benchmarks():
    text = (ROOT / "docs" / "choosing.md").read_text()
    table = _rows(BENCHMARKS, "With noise that follows the inverse of the magnitude")
    accuracy = {row[0]: row for row in table if row[1:3] == ["axial", "0.001"]}
    seconds = {row[1]: row[2] for row in _rows(BENCHMARKS, "## Time") if row[0] == "inversion"}
    rows = _rows(text, "5 echoes:\n")[2:]
    assert len(rows) == 7
    for row in rows:
        names = re.findall(r"`(\w+)`", row[0])
        assert row[1:4] == accuracy[names[0]][3:6]
        assert row[4] == ", ".join(seconds[name] for name in names)
    removal = {
        row[1]: row
        for row in _rows(BENCHMARKS, "## Accuracy of background removal")
        if row[0] == "axial"
    }
    rows = _rows(text, "counts what is dropped as zero):\n")[2:]
    assert [row[0].strip("`") for row in rows] == sorted(
        (name for name in removal if name in registry.methods("background")),
        key=lambda name: float(removal[name][2]),
    )
    for row in rows:
        assert row[1:] == removal[row[0].strip("`")][2:6]


def test_the_consensus_preset_is_what_its_table_says():
    settings = tomllib.loads((ROOT / "workflows" / "consensus.toml").read_text())
    rows = _rows((ROOT / "docs" / "consensus.md").read_text(), "consensus.toml\n")
    table = {row[0]: row for row in rows}
    names = {"deepbet": "mask", "ROMEO": "phase", "V-SHARP": "background", "TV": "inversion"}
    for shown, step in names.items():
        key = {"mask": "mask_method", "phase": "unwrap"}.get(step, step)
        assert settings[key] == shown.lower().replace("-", "")
        assert shown in table[step][2]
    assert settings["field_fit"] == "nonlinear"
    assert "nonlinear" in table["echoes"][2]
    assert settings["reference"] == registry.default("reference") == "brain"
    assert registry.default("inversion") == table["inversion"][3].lower()
    assert registry.default("field_fit") == "weighted"


def test_the_examples_of_the_library_page():
    result = doctest.testfile(
        str(ROOT / "docs" / "library.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert result.attempted > 10
    assert not result.failed


def test_a_method_is_added_as_the_page_says(monkeypatch):
    text = (ROOT / "docs" / "extending.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    name = "qsm_pipeline.numerics.inversion.smooth"
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, "extending.md", "exec"), module.__dict__)
    monkeypatch.setattr(registry, "METHODS", (*registry.METHODS, module.SMOOTH))
    field = qsm.LocalField(
        module.field, module.everywhere, torch.eye(4).numpy(), b0_dir=(0, 0.2, 1)
    )
    chi = qsm.invert(field, method="smooth", weight=0.02)
    assert chi.provenance.parameters["InversionParameters"] == {"weight": 0.02, "margin_mm": 16.0}
    assert float(chi.chi_ppm[14:18, 14:18, 14:18].mean()) > 0.05


def test_links_lead_to_pages_of_the_site():
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    site = _tool("site_pages")
    text = "[a](docs/install.md#pip) [b](LICENSE) ![c](docs/pictures/x.svg) [d](https://x.org)"
    (ROOT / "docs/pictures").mkdir(exist_ok=True)
    mended = site.with_links(text.replace("x.svg", "accuracy.svg"), "README.md", "index.md")
    assert mended == "[a](install.md#pip) b ![c](pictures/accuracy.svg) [d](https://x.org)"
    options = site.options_page()
    for command in site.COMMANDS.values():
        for option in getattr(command, "params", ()):
            assert f"`{option.opts[0]}`" in options or option.param_type_name == "argument"


def test_files_that_pages_show_are_named_so_that_they_are_found():
    """A formatter takes the short form within a fence for Python, and the page then shows that."""
    pages = [page.read_text() for page in (ROOT / "docs").glob("*.md")]
    assert not [page for page in pages if re.search(r"^-*8 ?< ?-- ?\"", page, re.MULTILINE)]
    shown = [name for page in pages for name in re.findall(r"^--8<--\n(.*)\n--8<--$", page, re.M)]
    assert shown == ["workflows/own_workflow.py"]
    assert (ROOT / shown[0]).is_file()


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_leads_nowhere_else(tmp_path):
    pytest.importorskip("mkdocs_jupyter")
    pytest.importorskip("mkdocstrings")
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"EXECUTE_NOTEBOOKS": "false"},
    )
    assert done.returncode == 0, done.stderr
    assert "make_local_field" in (tmp_path / "site" / "workflow.html").read_text()
    assert list(_tool("check_site").faults(tmp_path / "site")) == []
