"""What went wrong in a node, in one sentence."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from qsm_pipeline.exceptions import printable
from qsm_pipeline.io.writing import room_left

_ERROR_LINE = re.compile(r"^\s*(?P<type>[A-Za-z_][\w.]*)(: (?P<message>.*))?$")
_KINDS = ("error", "exception", "interrupt", "exit", "warning")
_NIPYPE_REMARK = "When creating this crashfile, the results file"
_PLAIN = {
    "BIDSInputError",
    "ConfigError",
    "MaskError",
    "OutputError",
    "ValueError",
    "RuntimeError",
}
"""Errors whose message is a sentence; others keep their type before it."""


@dataclass(frozen=True)
class Failure:
    """A node that failed.

    Parameters
    ----------
    run : str
        Name of the run's workflow.
    node : str
        Name of the node in it.
    message : str
        One sentence.
    crash_file : str
        The whole error as text, empty if it could not be written.
    """

    run: str
    node: str
    message: str
    crash_file: str


def failure_of(node: str, traceback: str, work_dir: Path, crash_file: str = "") -> Failure:
    """Describe the failure of a node.

    Parameters
    ----------
    node : str
        Full name, such as ``qsm.sub_01_wf.read``.
    traceback : str
        Of its error.
    work_dir : pathlib.Path
        Named where an error of the file system does not say what could not be written.
    crash_file : str
        Where the traceback was written.

    Returns
    -------
    Failure
    """
    parts = node.split(".")
    run = parts[-2] if len(parts) > 1 else node
    return Failure(run, parts[-1], printable(_sentence(traceback, work_dir)), crash_file)


def read_crash_file(path: Path, work_dir: Path) -> Failure:
    """Describe the failure in a crash file that nipype wrote as text."""
    text = path.read_text(errors="replace")
    named = re.search(r"^Node: (.+)$", text, re.MULTILINE)
    return failure_of(named.group(1).strip() if named else "", text, work_dir, str(path))


def _sentence(traceback: str, work_dir: Path) -> str:
    """Return the message of the last error of a traceback in one line."""
    lines = traceback.split(_NIPYPE_REMARK)[0].rstrip().splitlines()
    kind, message = "", " ".join(lines[-1].split()) if lines else "no message"
    for number in range(len(lines) - 1, -1, -1):
        match = _ERROR_LINE.match(lines[number])
        name = match["type"].rpartition(".")[2] if match else ""
        if match and name.lower().endswith(_KINDS):
            kind = name
            message = " ".join(" ".join([match["message"] or "", *lines[number + 1 :]]).split())
            break
    if kind == "MemoryError":
        return "not enough memory; give --mem-gb, fewer --nprocs or a smaller volume"
    without_file = re.fullmatch(r"\[Errno \d+\] ([^:]+)", message)
    if without_file:
        full = os.strerror(errno.ENOSPC) in without_file[1]
        room = room_left(work_dir) if full else ""
        return f"the work folder {work_dir} cannot be written: {without_file[1]}{room}"
    return message if kind in _PLAIN or not kind else f"{kind}: {message}"
