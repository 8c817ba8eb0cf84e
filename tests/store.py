"""Things that are made once for all tests, and for all processes that run tests side by side."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

FOLDER = "QSM_TEST_STORE"
"""Environment variable with the folder, which ``conftest.py`` makes and removes."""


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` that ``make`` has filled; what lies there may not be changed.

    Parameters
    ----------
    name : str
        One name for one content.
    make : callable
        Fills the empty folder that it is given. Called by the first process that asks.
    """
    folder = Path(os.environ[FOLDER]) / name
    done = folder.with_name(f"{name}.done")
    with FileLock(folder.with_name(f"{name}.lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
