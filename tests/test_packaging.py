"""What the wheel holds."""

import subprocess
import sys
import zipfile

import commands
import pytest


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
