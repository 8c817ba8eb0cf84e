"""What the wheel holds."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile

import commands
import pytest
import yaml

from qsm_pipeline.reports.citations import bibliography


@pytest.mark.slow
def test_wheel(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    done = subprocess.run(
        [*build, str(commands.ROOT)], capture_output=True, text=True, check=False
    )
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("the build backend hatchling cannot be fetched")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len({name.partition("/")[0] for name in names}) == 3  # package, metadata, shared data
    shared = f"{'-'.join(wheel.name.split('-')[:2])}.data/data/share/qsm-pipeline/workflows/"
    for path in (commands.ROOT / "workflows").iterdir():
        if path.is_file():
            assert shared + path.name in names
    for path in (commands.ROOT / "qsm_pipeline").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(commands.ROOT).as_posix() in names
    assert not [name for name in names if "test" in name or "__pycache__" in name]
    (entry,) = (name for name in names if name.endswith("entry_points.txt"))
    scripts = zipfile.ZipFile(wheel).read(entry).decode()
    assert "qsm-pipeline = qsm_pipeline.cli.main:main" in scripts


def test_a_release_names_one_version(tmp_path):
    path = commands.ROOT / "tools" / "release_check.py"
    spec = importlib.util.spec_from_file_location("release_check", path)
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    names = (
        "pyproject.toml",
        "CITATION.cff",
        "CHANGELOG.md",
        "contrib/boutiques/qsm-pipeline.json",
    )
    names += ("contrib/nipoppy/descriptor.json", "contrib/nipoppy/config.json")
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    here = project["version"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (commands.ROOT / name).read_text()
        text = re.sub(r'(?<="VERSION": )"[\d.]+"', '"9.8.7"', text).replace(f'"{here}"', '"9.8.7"')
        if name.endswith("cff"):
            text = re.sub(r"^(version|date-released): .*\n", "", text, flags=re.M)
            text += "version: 9.8.7\ndate-released: 2026-12-01\n"
        text = re.sub(r"^## \[.*\].*", "## [9.8.7] - 2026-12-01", text, count=1, flags=re.M)
        (tmp_path / name).write_text(text)
    assert list(check.faults("9.8.7", tmp_path)) == []
    assert len(list(check.faults("9.8.8", tmp_path))) == 6
    assert "is no version of a release" in next(check.faults("9.8.8.dev0", tmp_path))


def test_what_is_bundled_has_its_licence():
    listed = (commands.ROOT / "LICENSES.md").read_text()
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    for name in project["license-files"]:
        assert (commands.ROOT / name).is_file()
    for each in project["dependencies"] + project["optional-dependencies"]["regions"]:
        assert re.match(r"[\w-]+", each)[0] in listed
    data = commands.ROOT / "qsm_pipeline" / "data"
    for path in data.iterdir():
        if path.is_dir():
            assert path.name in listed


def test_the_citation_holds_every_method():
    citation = yaml.safe_load((commands.ROOT / "CITATION.cff").read_text())
    assert {each["doi"] for each in citation["references"]} == {
        each.doi for each in bibliography().values()
    }
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]


def test_the_images_are_built_from_what_the_wheel_needs():
    project = tomllib.loads((commands.ROOT / "pyproject.toml").read_text())["project"]
    ignored = (commands.ROOT / ".dockerignore").read_text().splitlines()
    definition = (commands.ROOT / "containers" / "apptainer.def").read_text()
    for name in (*project["license-files"], project["readme"]):
        top = name.partition("/")[0]
        assert f"!{top}" in ignored
        assert f"{top} /src/{top}" in definition
