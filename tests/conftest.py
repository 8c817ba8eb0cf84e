"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # before torch and numba are imported
    os.environ.setdefault(f"{_name}_NUM_THREADS", "1")  # the cores are for pytest-xdist

import commands  # noqa: E402
import store  # noqa: E402
import torch  # noqa: E402
from browser import CHROMIUM  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FIRST = (
    "test_faults",
    "test_resume",
    "test_environment",
    "test_participant",
    "test_notebooks",
    "test_loop",
    "test_field_error",
    "test_end_to_end",
    "test_run_files",
    "test_strong_sources",
    "test_assessment",
    "test_options",
)
"""Modules that take longest, which begin first, so that no process waits for one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    if not hasattr(config, "workerinput"):  # the processes of pytest-xdist inherit it
        os.environ[store.FOLDER] = tempfile.mkdtemp(prefix="qsm-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(store.FOLDER), ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def order(item: pytest.Item) -> int:
        if item.path.stem in FIRST:
            return FIRST.index(item.path.stem)
        return len(FIRST) + (item.get_closest_marker("command") is None)

    items.sort(key=order)  # keeps the order within modules
    if CHROMIUM is None:
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # as commands in this process leave it, hypothesis cannot draw


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate trainings on the first scan alone, and draw nothing of it."""
    from small_training import first_case

    from qsm_pipeline.training import loop

    monkeypatch.setattr(loop, "_cases", first_case)
    monkeypatch.setattr(loop.Logs, "image", lambda *given: None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the developers' real scans, which do not ship with the product."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real test data not present: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def finished() -> tuple[Path, Path, list[str]]:
    """Return raw data, output and printed lines of two participants; none may be changed."""

    def make(folder: Path) -> None:
        raw = commands.make_dataset(folder, ("01", "02"))
        result = commands.run(raw, folder / "out", "--write-graph")
        assert result.exit_code == 0, result.output
        (folder / "printed.txt").write_text(result.output)

    folder = store.once("finished", make)
    printed = (folder / "printed.txt").read_text()
    return folder / "raw", folder / "out", printed.splitlines()
