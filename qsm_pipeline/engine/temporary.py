"""Folders for temporary files: those of a command that was killed go at the next start."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from multiprocessing import util
from pathlib import Path

FOLDER = "qsm-pipeline-"
_FOLDERS = (FOLDER, "pymp-")
"""How the names of ours begin, and of those that multiprocessing makes for its sockets."""
_LOCK = "qsm-pipeline.lock"


@cache
def claim_sockets() -> None:
    """Mark the folder of the sockets of nodes as ours, and remove what is left of others.

    Python removes it when the process ends, but not if it is killed.
    """
    remove_left_behind()
    claim(Path(util.get_temp_dir()))


def claim(folder: Path) -> None:
    """Hold a lock in a folder until this process has ended, however it ends."""
    with suppress(OSError):  # without a lock it stays for good if this process is killed
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fcntl.flock(os.open(folder / _LOCK, flags, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_left_behind() -> None:
    """Remove the folders of this user's commands that were killed."""
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if entry.name.startswith(_FOLDERS):
                with suppress(OSError):
                    _remove_if_left(Path(entry.path))


def _remove_if_left(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
