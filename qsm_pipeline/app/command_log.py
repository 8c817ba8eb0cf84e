"""What a command said, kept as text in the folder of logs."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import suppress
from datetime import datetime
from io import TextIOBase
from pathlib import Path
from types import TracebackType
from typing import Self

from qsm_pipeline import __version__
from qsm_pipeline.exceptions import printable


def command_line() -> str:
    """Return the command as it was typed."""
    program = Path(sys.argv[0]).name
    return printable(shlex.join([program, *sys.argv[1:]]))


class CommandLog:
    """Takes lines from the start, and writes them once it is known that the folder is ours.

    Parameters
    ----------
    level : str
        First word of the file's name; day, time and process follow.
    """

    def __init__(self, level: str) -> None:
        now = datetime.now().astimezone()
        self._name = f"{level}_{now:%Y%m%dT%H%M%S}_{os.getpid()}.log"
        self._lines = [f"qsm-pipeline {__version__}, {now.isoformat(timespec='seconds')}"]
        self._lines.append(command_line())
        self._file: TextIOBase | None = None

    def begin(self, folder: Path) -> None:
        """Write what was said so far to a new file, and from now on every line at once."""
        with suppress(OSError):  # of a full disk the command itself tells
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / self._name).open("x", encoding="utf-8", errors="replace")
            self._file.writelines(f"{line}\n" for line in self._lines)
            self._file.flush()

    def add(self, line: str) -> None:
        """Take a line."""
        line = f"{datetime.now():%H:%M:%S} {printable(line)}"
        if self._file is None:
            self._lines.append(line)
            return
        with suppress(OSError, ValueError):
            self._file.write(f"{line}\n")
            self._file.flush()

    def __enter__(self) -> Self:
        """Begin to take lines."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say what ended the command, if it did not end by itself."""
        if isinstance(error, KeyboardInterrupt):
            number = signal.Signals(*error.args or (signal.SIGINT,))
            self.add(f"stopped by {number.name}")
        elif error is not None:
            self.add(f"Error: {error}")
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
