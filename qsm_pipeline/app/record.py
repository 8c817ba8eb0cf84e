"""What became of the runs of a participant, kept so that its page can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.command_log import command_line
from qsm_pipeline.app.units import Unit
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.exceptions import BIDSInputError


@dataclass(frozen=True)
class Problem:
    """Why a run has no map.

    Parameters
    ----------
    message : str
        One sentence.
    node : str
        Where, empty if in none.
    crash_file : str
        The whole error as text, empty if there is none.
    """

    message: str
    node: str = ""
    crash_file: str = ""

    def __str__(self) -> str:
        return f"in {self.node}: {self.message}" if self.node else self.message


@dataclass(frozen=True)
class RunState:
    """What is known of a run now.

    Parameters
    ----------
    run : GreRun
        The run.
    problems : sequence of Problem
        What failed.
    node_seconds : mapping of str to float
        Wall time of each node that has ended; that of the first time where its result was kept.
    ran : bool
        Whether it was run this time; if not, what was recorded before stays.
    """

    run: GreRun
    problems: Sequence[Problem]
    node_seconds: Mapping[str, float]
    ran: bool


def record_path(out_dir: Path, label: str) -> Path:
    """Return where the record of a unit is kept."""
    return out_dir / "logs" / f"sub-{label}.json"


def merge_record(
    records: Records, label: str, states: Sequence[RunState], left_out: Sequence[Skipped]
) -> dict[str, Any]:
    """Return the record of a participant, or of one session, with what is known now.

    Runs that this command did not look at, those of another session say, stay as they were.

    Parameters
    ----------
    records : Records
        Of the derivatives data set.
    label : str
        Of the participant, ``01``, or of one session of it, ``01_ses-a``.
    states : sequence of RunState
        Of the runs that were looked at.
    left_out : sequence of Skipped
        What was left out this time.
    """
    unit = Unit.of(label)
    try:
        told = records.read(unit.subject)
    except BIDSInputError:  # there is none, or it cannot be read and is replaced
        told = {"runs": {}, "command": ""}
    known, command = told["runs"], told["command"]
    if not command or any(state.ran for state in states):
        command = command_line()
    runs = {
        prefix: entry
        for prefix, entry in known.items()
        if entry["run"] and unit.has(GreRun.from_dict(entry["run"]))
    }
    for state in states:
        old = runs.get(state.run.prefix, {})
        entry = {
            "run": state.run.to_dict(),
            "problems": [asdict(problem) for problem in state.problems],
            "node_seconds": {name: round(s, 2) for name, s in state.node_seconds.items()},
        }
        if not state.ran:
            before = [p for p in old.get("problems", []) if p not in entry["problems"]]
            entry["problems"] = before + entry["problems"]
            entry["node_seconds"] = old.get("node_seconds", {})
        runs[state.run.prefix] = entry
    return {
        "subject": label,
        "version": __version__,
        "command": command,
        "runs": dict(sorted(runs.items())),
        "left_out": [{"what": s.what, "reason": s.reason} for s in left_out],
    }


def write_record(out_dir: Path, records: Records, unit: Unit, record: Mapping[str, Any]) -> None:
    """Write the record of a unit; that of a whole participant replaces those of its sessions.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_json(record_path(out_dir, unit.label), record)
    if not unit.session:
        for path in records.of_sessions(unit.subject):
            path.unlink(missing_ok=True)
            (out_dir / path.name).with_suffix(".html").unlink(missing_ok=True)
