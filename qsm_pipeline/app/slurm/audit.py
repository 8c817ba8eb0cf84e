"""Who of a Slurm job array is done, and who is not and why, from the files that the tasks left."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.engine.slurm_log import told_by_slurm
from qsm_pipeline.exceptions import BIDSInputError

DONE, FAILED, KILLED, RUNNING, WAITING, NEVER, UNKNOWN = (
    "done",
    "failed",
    "killed",
    "running",
    "waiting",
    "never started",
    "unknown",
)
UNFINISHED = (FAILED, KILLED, NEVER)
"""States that only another submission ends."""
_TOLD = re.compile(r"^(FAILED|skipped|Error:) ?(.*)")
_BY_SIGNAL = tuple(str(128 + number) for number in (signal.SIGKILL, signal.SIGTERM))
"""Exit status that a shell gives to a command that was ended by a signal."""
_KILLED_NODE = "was killed (SIGKILL)"
_IN_QUEUE = {
    "PENDING": WAITING,
    "CONFIGURING": WAITING,
    "REQUEUED": WAITING,
    "SUSPENDED": WAITING,
    "REQUEUE_HOLD": WAITING,
    "SPECIAL_EXIT": WAITING,
    "RUNNING": RUNNING,
    "COMPLETING": RUNNING,
}
_MAX_TASKS, _MAX_BYTES = 10**5, 2**26
_QUEUE = "queue"
"""Stands in the place of a job where the queue could not be asked."""


@dataclass(frozen=True)
class Verdict:
    """What became of a participant.

    Parameters
    ----------
    label : str
        Without ``sub-``; ``01_ses-a`` for a session that had a task of its own.
    state : str
        ``done``, ``failed``, ``killed``, ``running``, ``waiting``, ``never started`` or
        ``unknown``.
    reason : str
        One line, empty if there is nothing to say.
    job : str
        Job and task of the latest attempt, such as ``12_3``.
    """

    label: str
    state: str
    reason: str
    job: str


@dataclass(frozen=True)
class _Event:
    job: str
    what: str
    value: str


def counted(participants: int) -> str:
    """Return a number of participants in words."""
    return f"{participants} participant{'s' * (participants != 1)}"


def audit(out_dir: Path, logs: Path) -> list[Verdict]:
    """Return what became of every participant of the array that was submitted last.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives.
    logs : pathlib.Path
        The files of the script that `qsm_pipeline.app.slurm.script` wrote.

    Returns
    -------
    list of Verdict
        In the order of the first submission.
    """
    said = (line.split("|", 1) for line in _lines(logs / "states.txt") if "|" in line)
    states = {job: state for jobs, state in said for job in _each(jobs)}
    jobs = _latest_jobs(logs)
    return [
        _verdict(label, out_dir, logs, jobs.get(label, ""), states)
        for label in _lines(logs / "participants.txt")
    ]


def _each(jobs: str) -> list[str]:
    """Return every task of ``12_[3-5,9]``, as sacct writes those that were never started."""
    match = re.fullmatch(r"(\d+_)\[([\d,-]+)(%\d+)?\]", jobs)
    if match is None:
        return [jobs]
    ranges = [part.partition("-") for part in match[2].split(",")]
    return [
        f"{match[1]}{n}"
        for first, _, last in ranges
        for n in range(int(first), min(int(last or first), int(first) + _MAX_TASKS) + 1)
    ]


def _latest_jobs(logs: Path) -> dict[str, str]:
    """Return the job and task that each participant was submitted as most recently."""
    jobs = {}
    for line in _lines(logs / "submitted.tsv"):
        job, _, labels = line.partition("\t")
        jobs |= {label: f"{job}_{n}" for n, label in enumerate(_lines(Path(labels)), 1)}
    return jobs


def _verdict(label: str, out_dir: Path, logs: Path, job: str, states: dict[str, str]) -> Verdict:
    array, _, _ = job.partition("_")  # sacct knows its tasks only after a while
    of_slurm = (states.get(job) or states.get(array, "")).split(" ")[0]  # "CANCELLED by 1000"
    if of_slurm in _IN_QUEUE:
        return Verdict(label, _IN_QUEUE[of_slurm], "", job)
    cells = (line.split("\t")[1:] for line in _lines(logs / f"sub-{label}.tsv"))
    events = [_Event(*each) for each in cells if len(each) == 3]  # a full disk cuts lines
    last = events[-1] if events else _Event("", "", "")
    log = _lines(logs / f"{job}.out")
    ended = last.job == job and last.what == "ended"
    if job and not (ended or of_slurm) and _QUEUE in states:
        return Verdict(label, UNKNOWN, "squeue gave no answer, so it may wait or run", job)
    if last.job != job or not job:
        reason = f"Slurm says {of_slurm}" if of_slurm else "it is in no queue"
        return Verdict(label, NEVER, reason if job else "it was not submitted", job)
    if last.what == "started":
        return Verdict(label, KILLED, _why_killed(log, of_slurm, last.value), job)
    if last.value in _BY_SIGNAL:  # of Slurm or the kernel, which left the shell of the task alive
        return Verdict(label, KILLED, _why_killed(log, of_slurm, _node(events)), job)
    if last.value != "0":
        reason = "; ".join(_told(log)) or f"exit status {last.value}, see {logs / job}.out"
        return Verdict(label, KILLED if _KILLED_NODE in reason else FAILED, reason, job)
    folder = out_dir / f"sub-{label}".replace("_ses-", "/ses-")
    if not any(folder.rglob("*_Chimap.nii.gz")):
        return Verdict(label, FAILED, f"no map is left in {folder}", job)
    return Verdict(label, DONE, "", job)


def _node(events: list[_Event]) -> str:
    """Return where the latest attempt was started."""
    return next((event.value for event in reversed(events) if event.what == "started"), "its node")


def _why_killed(log: list[str], of_slurm: str, node: str) -> str:
    parts = [f"Slurm says {of_slurm}"] if of_slurm else []
    parts += told_by_slurm(log) or [f"its job ended on {node} without a word"]
    return "; ".join(parts)


def _told(log: list[str]) -> list[str]:
    """Return the sentences in which the command said what failed or was left out."""
    return [match[2] for match in map(_TOLD.match, log) if match]


def _lines(path: Path) -> list[str]:
    try:
        return read_limited(path, _MAX_BYTES).decode(errors="replace").splitlines()
    except BIDSInputError:  # not there yet, or no file
        return []
