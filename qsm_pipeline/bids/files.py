"""Input files before they are opened: a pipe would hang and a device never end."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

from qsm_pipeline.exceptions import BIDSInputError

_CHUNK_BYTES = 2**22
_SPARE_BYTES = 2**24
"""For the header and its extensions."""
_GZIP_RATIO = 1032
"""The most that deflate can pack."""


def file_size(path: Path | str) -> int:
    """Return the size of an ordinary file in bytes.

    Raises
    ------
    BIDSInputError
        If it does not exist, cannot be reached, or is a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise BIDSInputError(f"{path} does not exist (or is a link to nothing)") from None
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise BIDSInputError(f"{path} cannot be read: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise BIDSInputError(f"{path} is no file but a folder, a pipe or a device; replace it")
    return status.st_size


def check_packing(path: Path | str, declared_bytes: int) -> None:
    """Unpack a gzip file to its end, where its checksum is; nibabel stops reading before it.

    Raises
    ------
    BIDSInputError
        If it holds much more than its header declares: a small file may unpack for hours.
    OSError, EOFError, zlib.error
        If the file is damaged.
    """
    if str(path).endswith(".gz"):
        left = 2 * declared_bytes + _SPARE_BYTES
        with gzip.open(path) as file:
            while left > 0 and (chunk := file.read(_CHUNK_BYTES)):
                left -= len(chunk)
        if left <= 0:
            raise BIDSInputError(
                f"{path} holds more than twice the {declared_bytes:.4g} bytes that its header "
                "declares; copy or convert it again"
            )


def check_declared_size(path: Path | str, declared_bytes: int) -> None:
    """Refuse a file whose header declares more than it can hold, before memory is asked for.

    Raises
    ------
    BIDSInputError
        With both sizes.
    """
    size = file_size(path)
    most = size * _GZIP_RATIO if str(path).endswith(".gz") else size
    if declared_bytes > most:
        raise BIDSInputError(
            f"{path} is damaged or was cut off: its header declares {declared_bytes:.4g} bytes, "
            f"which a file of {size} bytes cannot hold; copy or convert it again"
        )
