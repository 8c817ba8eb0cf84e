"""The records of what became of runs, as `qsm_pipeline.app.record` writes them, read back.

They lie in a folder that anybody may have changed: what is not as it must be is left out, and
its run counts as one that was never looked at.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a participant.

    Parameters
    ----------
    path : pathlib.Path
        ``logs/sub-<label>.json``, or that of a session.

    Returns
    -------
    dict
        ``runs``: by prefix ``run`` (as `GreRun.to_dict` has it, or None where it is damaged),
        ``problems`` (``message``, ``node``, ``crash_file``) and ``node_seconds``; ``left_out``:
        ``what`` and ``reason``; ``command``. Nothing else, and all of these types.

    Raises
    ------
    BIDSInputError
        If there is none, or it is no JSON object.
    """
    data = read_json_object(path, finite=True)
    runs = data.get("runs")
    return {
        "runs": {
            prefix: _run(entry)
            for prefix, entry in (runs if isinstance(runs, dict) else {}).items()
            if isinstance(entry, dict)
        },
        "left_out": [
            {"what": str(item["what"]), "reason": str(item["reason"])}
            for item in _tables(data.get("left_out"))
            if "what" in item and "reason" in item
        ],
        "command": str(data.get("command", "")),
    }


class Records:
    """The records in the logs of a folder of derivatives.

    They are listed once: to look for the sessions of each participant anew would take time that
    grows with the square of their number.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.
    """

    def __init__(self, out_dir: Path) -> None:
        self._logs = out_dir / "logs"
        self._stems: dict[str, list[str]] = {}
        for path in sorted(self._logs.glob("sub-*.json")):
            subject = path.stem.removeprefix("sub-").partition("_ses-")[0]
            self._stems.setdefault(subject, []).append(path.stem)

    def __contains__(self, subject: object) -> bool:
        """Return whether there is a record of a participant or of one of its sessions."""
        return subject in self._stems

    def participants(self) -> list[str]:
        """Return the labels of all that have a record, without ``sub-``, sorted."""
        return sorted(self._stems)

    def of_sessions(self, subject: str) -> list[Path]:
        """Return the records of those sessions of a participant that had jobs of their own."""
        stems = (stem for stem in self._stems.get(subject, ()) if stem != f"sub-{subject}")
        return [self._logs / f"{stem}.json" for stem in stems]

    def read(self, subject: str) -> dict[str, Any]:
        """Return all that is recorded of a participant, as `read_record` does.

        What the record of a session says is newer than what that of the participant says of it.
        One that is damaged counts as not there, unless it is the only one.

        Parameters
        ----------
        subject : str
            Label without ``sub-``.

        Raises
        ------
        BIDSInputError
            If there is none, or it cannot be read.
        """
        of_sessions = self.of_sessions(subject)
        whole = self._logs / f"sub-{subject}.json"
        if not of_sessions:
            return read_record(whole)
        runs: dict[str, Any] = {}
        left_out: list[dict[str, str]] = []
        command = ""
        for path in (whole, *of_sessions):
            with contextlib.suppress(BIDSInputError):
                record = read_record(path)
                replaced = "" if path == whole else path.stem
                runs = {name: run for name, run in runs.items() if not _is_of(name, replaced)}
                left_out = [item for item in left_out if not _is_of(item["what"], replaced)]
                runs |= record["runs"]
                left_out += [item for item in record["left_out"] if item not in left_out]
                command = record["command"] or command
        return {"runs": runs, "left_out": left_out, "command": command}


def _is_of(name: str, session: str) -> bool:
    return bool(session) and (name == session or name.startswith(f"{session}_"))


def _run(entry: dict[str, Any]) -> dict[str, Any]:
    seconds = entry.get("node_seconds")
    return {
        "run": _known(entry.get("run")),
        "problems": [
            {key: str(each.get(key, "")) for key in ("message", "node", "crash_file")}
            for each in _tables(entry.get("problems"))
            if each.get("message")
        ],
        "node_seconds": {
            name: value
            for name, value in (seconds if isinstance(seconds, dict) else {}).items()
            if isinstance(value, int | float)
        },
    }


def _known(run: Any) -> dict[str, Any] | None:
    try:
        GreRun.from_dict(run)
    except (ValueError, TypeError):
        return None
    return dict(run)


def _tables(listed: Any) -> list[dict[str, Any]]:
    return [x for x in listed if isinstance(x, dict)] if isinstance(listed, list) else []
