"""What to say when something cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.exit_codes import ExitCode

_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN_OFF = (*_FULL, errno.EIO, errno.EFBIG, errno.ESTALE)


def cannot_write(path: Path | str | None, error: OSError, needed_bytes: int = 0) -> OutputError:
    """Return an error that names what could not be written and what to do.

    Parameters
    ----------
    path : pathlib.Path or str, optional
        File or folder; that of the error by default.
    error : OSError
        What the system said.
    needed_bytes : int
        Size of what was to be written, if it is known.
    """
    place = Path(path or error.filename or ".")
    sentence = f"{place} cannot be written: {error.strerror or error}"
    if error.errno in _FULL:
        sentence += room_left(place, needed_bytes)
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        sentence += "; choose a folder that you may write to"
    found = OutputError(sentence)
    if error.errno in _BROKEN_OFF:
        found.exit_code = ExitCode.IO
    return found


def room_left(place: Path, needed_bytes: int = 0) -> str:
    """Return how much room there is where a file was to be written, to go on a sentence with."""
    folder = place.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        left = f"{shutil.disk_usage(folder).free / 1e6:.1f} MB left"
    except OSError:
        left = "no room left"
    needed = f", {needed_bytes / 1e6:.1f} MB are needed for this file" if needed_bytes else ""
    return (
        f"; {os.fspath(folder)} has {left} or your quota is used up{needed}; make room and start "
        "again, which goes on from there"
    )
