"""The records of what became of runs, as `qsm_pipeline.app.record` writes them, read back.

They lie in a folder that anybody may have changed: what is not as it must be is left out, and
its run counts as one that was never looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.sidecar import read_json_object


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of a participant.

    Parameters
    ----------
    path : pathlib.Path
        ``logs/sub-<label>.json``.

    Returns
    -------
    dict
        ``runs``: by prefix ``run`` (as `GreRun.to_dict` has it, or None where it is damaged),
        ``problems`` (``message``, ``node``, ``crash_file``) and ``node_seconds``; ``left_out``:
        ``what`` and ``reason``. Nothing else, and all of these types.

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
    }


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
