"""Input files before they are opened: a pipe would hang, a pointer has no content."""

from __future__ import annotations

import gzip
import os
import stat
from contextlib import suppress
from pathlib import Path

from qsm_pipeline.exceptions import BIDSInputError, NoInputError

_SPARE_BYTES = 2**24
"""For the header and its extensions."""
_GZIP_RATIO = 1032
"""The most that deflate can pack."""
_ANNEX = "/annex/objects/"
_POINTERS = (_ANNEX.encode(), b"version https://git-lfs.github.com/spec/")
"""How files begin that git-annex and Git LFS leave in the place of what was not fetched."""
_POINTER_BYTES = 2**15
"""git-annex takes no larger file for one."""


def file_size(path: Path | str) -> int:
    """Return the size of an ordinary file in bytes.

    Raises
    ------
    NoInputError
        If it does not exist, cannot be reached, is a folder, a pipe or a device, or its content
        was not fetched by datalad, git-annex or Git LFS.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path) and _ANNEX in os.readlink(path):
            raise _not_fetched(path) from None
        raise NoInputError(f"{path} does not exist (or is a link to nothing)") from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise NoInputError(f"{path} cannot be read: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise NoInputError(f"{path} is no file but a folder, a pipe or a device; replace it")
    if status.st_size <= _POINTER_BYTES:
        with suppress(OSError), open(path, "rb") as file:
            if file.read(64).startswith(_POINTERS):
                raise _not_fetched(path)
    return status.st_size


def read_limited(path: Path | str, most_bytes: int) -> bytes:
    """Return the content of an ordinary file that is no larger than it can sensibly be.

    Raises
    ------
    BIDSInputError
        As of :func:`file_size`, and if it is larger or cannot be read.
    """
    size = file_size(path)
    if size > most_bytes:
        raise BIDSInputError(
            f"{path} has {size:.4g} bytes, expected at most {most_bytes:.4g}; replace it"
        )
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NoInputError(f"{path} cannot be read: {error.strerror or error}") from None


def check_content(path: Path | str) -> None:
    """Refuse an image that cannot be opened, as far as the file system tells.

    Raises
    ------
    BIDSInputError
        As of :func:`file_size`, and if it is empty or may not be read.
    """
    if not file_size(path):
        raise BIDSInputError(
            f"{path} is not a readable NIfTI file (it is empty); copy or convert it again"
        )
    if not os.access(path, os.R_OK):
        raise NoInputError(f"{path} cannot be read: no permission; change its mode")


def _not_fetched(path: Path | str) -> NoInputError:
    return NoInputError(
        f"The content of {path} was not fetched (a pointer of git-annex or Git LFS); fetch it "
        "with datalad get, git annex get or git lfs pull"
    )


def unpacked(path: Path | str, declared_bytes: int) -> bytes:
    """Return what a gzip file holds, to its end, where its checksum is; nibabel stops before it.

    Raises
    ------
    BIDSInputError
        If it holds much more than its header declares: a small file may unpack for hours.
    OSError, EOFError, zlib.error
        If the file is damaged.
    """
    most = 2 * declared_bytes + _SPARE_BYTES
    with gzip.open(path) as file:
        content = file.read(most)
    if len(content) == most:
        raise BIDSInputError(
            f"{path} holds more than twice the {declared_bytes:.4g} bytes that its header "
            "declares; copy or convert it again"
        )
    return content


def check_declared_size(path: Path | str, declared_bytes: int) -> None:
    """Refuse a file whose header declares more than it can hold, before memory is asked for.

    Raises
    ------
    BIDSInputError
        With both sizes.
    """
    size = file_size(path)
    most = size * _GZIP_RATIO if str(path).endswith((".gz", ".mgz")) else size
    if declared_bytes > most:
        raise BIDSInputError(
            f"{path} is damaged or was cut off: its header declares {declared_bytes:.4g} bytes, "
            f"which a file of {size} bytes cannot hold; copy or convert it again"
        )
