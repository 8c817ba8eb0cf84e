"""Locks that a process holds through an open file, and that the kernel frees however it ends."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import signal
import socket
import stat
import struct
import time
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.io.writing import cannot_write

_UNSUPPORTED = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
_LOCK = "hhqqi4x"
_POLL_S = 0.1
_TAIL_BYTES = 2**20
_WAIT_S = 3.0
"""A command that is about to end may be waited for."""
_ORPHANS_S = 60.0
"""Nodes of a command that was killed end by themselves, once they have started."""


class NameLocks:
    """Locks on any number of names, all held through one open file.

    Each name locks a byte of the file, far behind its end. A name with a slash lies below
    another: ``01/a`` and ``01/b`` can be held at once, but neither beside ``01``. Child processes
    that this object is sent to hold the locks too: a name is free when the last of them has
    ended. (The package filelock needs an open file for each lock, and children cannot share it.)
    Where the file system or the platform has no such locks, every name counts as free.

    Parameters
    ----------
    path : pathlib.Path
        The file; it says in text who locked what, and stays.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lacking = ""  # why there are no locks here, once one was tried
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():  # datalad makes one of it; where it leads is not ours
                path.unlink()
            self._descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.close(self._descriptor)
            raise OutputError(f"{path} is no file but a pipe or a device; remove it")

    def acquire(self, name: str, deadline: float) -> str:
        """Lock a name.

        Parameters
        ----------
        name : str
            What is locked.
        deadline : float
            How long to wait for it, in `time.monotonic`.

        Returns
        -------
        str
            Empty, or who holds the lock.
        """
        above, _, _ = name.rpartition("/")
        for each, kind in ((above, fcntl.F_RDLCK), (name, fcntl.F_WRLCK)):
            while each and not self._lock(each, kind):
                if time.monotonic() >= deadline:
                    return self._holder(each)
                time.sleep(_POLL_S)
        who = f"{name}: process {os.getpid()} on {socket.gethostname()}\n"
        with suppress(OSError):  # the disk is full: then nobody can say who holds it
            os.write(self._descriptor, who.encode())
        return ""

    def holder(self, name: str) -> str:
        """Return who has locked a name, empty if nobody has; nothing is locked or written."""
        if not hasattr(fcntl, "F_OFD_GETLK"):
            return ""
        try:
            found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _lock_of(name, fcntl.F_WRLCK))
        except OSError:
            return ""
        return "" if struct.unpack(_LOCK, found)[0] == fcntl.F_UNLCK else self._holder(name)

    def close(self) -> None:
        """Give up all locks."""
        os.close(self._descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the open file to a child that is being started; it holds the locks to its end."""
        return _keep_open, (reduction.DupFd(self._descriptor),)

    def _lock(self, name: str, kind: int) -> bool:
        if not hasattr(fcntl, "F_OFD_SETLK"):  # Linux has it
            return True
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock_of(name, kind))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                return False
            self.lacking = error.strerror or str(error)
        return True

    def _holder(self, name: str) -> str:
        with suppress(OSError):
            last = max(0, os.fstat(self._descriptor).st_size - _TAIL_BYTES)
            tail = os.pread(self._descriptor, _TAIL_BYTES, last).decode(errors="replace")
            for line in reversed(tail.splitlines()):
                who, _, holder = line.partition(": ")
                if who == name or who.startswith(f"{name}/"):
                    return holder
        return "another process"


def _lock_of(name: str, kind: int) -> bytes:
    """Return the lock of a name as the kernel wants it, to be shared (F_RDLCK) or not."""
    byte = 2**40 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
    return struct.pack(_LOCK, kind, os.SEEK_SET, byte, 1, 0)


def lock_all(locks: list[NameLocks], names: list[str]) -> dict[str, str]:
    """Lock names in several files.

    Parameters
    ----------
    locks : list of NameLocks
        Each name is locked in all of them.
    names : list of str
        What is locked.

    Returns
    -------
    dict of str to str
        The names that somebody else holds, and who in which file.
    """
    start = time.monotonic()
    held = {}
    for name in names:
        for each in locks:
            holder = each.acquire(name, start + _WAIT_S)
            if holder and _has_ended(holder):
                holder = each.acquire(name, start + _ORPHANS_S)
            if holder:
                held[name] = f"{holder} ({each.path})"
                break
    return held


def end_with(lifeline: Connection) -> None:
    """Let the kernel kill this process as soon as the other end of a pipe is closed.

    A parent that is killed cannot end its children; they would go on and write to folders that
    the next command uses.
    """
    if not hasattr(fcntl, "F_SETSIG"):  # Linux has it
        return
    descriptor = lifeline.fileno()
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    if lifeline.poll(0):  # it was closed before
        os.kill(os.getpid(), signal.SIGKILL)


def _has_ended(holder: str) -> bool:
    """Return whether a process of this machine left a lock to children that outlive it."""
    found = re.fullmatch(r"process (\d+) on (.*)", holder)
    if not found or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is somebody else's
        pass
    return False


def _keep_open(duplicate: Any) -> int:
    return int(duplicate.detach())
