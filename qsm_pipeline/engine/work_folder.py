"""What must hold of a work folder before nodes write to it and read from it.

nipype keeps results as pickles, and reading one that somebody else wrote runs their code. It also
empties and fills the folders of nodes, through links too.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.io.writing import cannot_write

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make a folder that this user alone can write to, or check one that is there.

    Parameters
    ----------
    folder : pathlib.Path
        Where intermediate files go; the folder above it may be anybody's.

    Raises
    ------
    OutputError
        If it is a link, is another user's, can be written by others or cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        new = _status_of_new(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from None
    what = ""
    if not stat.S_ISDIR(status.st_mode):
        what = "is a link or no folder"
    elif status.st_uid not in (os.geteuid(), new.st_uid):
        what = "belongs to another user"
    elif new.st_mode & _OTHERS_WRITE:
        what = "lies on a file system that keeps no permissions (CIFS, for example)"
    elif status.st_mode & _OTHERS_WRITE:
        what = "can be written by other users"
    if what:
        raise OutputError(
            f"{folder} {what}, and code in its files would be run; remove it, or choose another "
            "--work-dir"
        )


def refuse_links(folder: Path) -> None:
    """Refuse a folder of intermediate files that holds a link, which nothing of ours makes.

    Raises
    ------
    OutputError
        With the link.
    """
    for path in (
        folder,
        *(
            Path(parent) / name
            for parent, *names in os.walk(folder)
            for some in names
            for name in some
        ),
    ):
        if path.is_symlink():
            raise OutputError(
                f"{path} is a link, through which files elsewhere would be removed and "
                "overwritten; remove it"
            )


def _status_of_new(folder: Path) -> os.stat_result:
    """Return whose a new private folder is and who may write to it: shared file systems differ."""
    with tempfile.TemporaryDirectory(prefix=".owner-", dir=folder) as made:
        return os.lstat(made)
