"""The BIDS validator, and what its verdict means for the participants that were asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.exceptions import InvalidBIDSError, OutputError, printable
from qsm_pipeline.exit_codes import ExitCode

_PROGRAM = "bids-validator-deno"
_MAX_BYTES = 2**28
_SHOWN_KINDS, _SHOWN_FILES = 12, 3


def validate_bids(
    bids_dir: Path,
    echo: Callable[[str], None],
    out_dir: Path | None = None,
    subjects: Collection[str] = (),
    sessions: Collection[str] = (),
) -> None:
    """Run bids-validator-deno where it is installed.

    Errors in the participants and sessions asked for and in what belongs to all of them count.
    Everything that the validator says of errors is kept in ``logs/bids_validation.json`` of
    ``out_dir``, or in a temporary file if there is no such folder yet.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The raw data set.
    echo : callable
        Prints one line.
    out_dir : pathlib.Path, optional
        Derivatives.
    subjects, sessions : collection of str
        Labels without ``sub-`` and ``ses-`` that were asked for; all by default.

    Raises
    ------
    InvalidBIDSError
        If errors count. That the validator itself fails is no verdict, and only told.
    """
    # it and the deno that it starts lie beside this Python even if the environment is not active
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    validator = shutil.which(_PROGRAM, path=path)
    if validator is None:
        echo(f"BIDS validation skipped: {_PROGRAM} is not installed")
        return
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                [validator, str(bids_dir), "--format", "json"],
                stdout=output,
                stderr=errors,
                check=False,
                env=os.environ | {"PATH": path},
            )
            why = _ending(done.returncode)
        except OSError as error:
            why = str(error.strerror)
        said, complaint = _content(output), _content(errors)
    issues = None if why else _issues(said)
    if issues is None:
        last = (complaint.decode(errors="replace").strip().splitlines() or [""])[0]
        told = "; ".join(filter(None, (why or "what it wrote is no report", last[:200])))
        echo(printable(f"BIDS validation gave no verdict, the validator failed: {told}; going on"))
        return
    errors_of_all = [each for each in issues if each.get("severity") == "error"]
    counted = [each for each in errors_of_all if _is_asked_for(each, subjects, sessions)]
    if len(counted) < len(errors_of_all):
        other = len(errors_of_all) - len(counted)
        echo(f"note: {other} error(s) of BIDS in participants or sessions not asked for")
    if not errors_of_all:
        return
    kept = _keep(said, out_dir)
    if counted:
        for line in _grouped(counted):
            echo(line)
        raise InvalidBIDSError(
            f"{bids_dir} is not valid BIDS, see above{kept}; correct it or use "
            "--skip-bids-validation"
        )


def _ending(status: int) -> str:
    """Return how the validator failed; 0 and 16 are its verdicts."""
    if status in (0, ExitCode.INVALID_BIDS):
        return ""
    return f"it was killed by signal {-status}" if status < 0 else f"its exit status is {status}"


def _content(file: Any) -> bytes:
    file.seek(0)
    return bytes(file.read(_MAX_BYTES))


def _issues(said: bytes) -> list[dict[str, Any]] | None:
    """Return the issues of a report, None if it is none."""
    with suppress(ValueError, RecursionError, KeyError, TypeError):
        issues = json.loads(said)["issues"]["issues"]
        if isinstance(issues, list):
            return [each for each in issues if isinstance(each, dict)]
    return None


def _is_asked_for(
    issue: Mapping[str, Any], subjects: Collection[str], sessions: Collection[str]
) -> bool:
    match = re.match(r"/sub-([^/]+)(?:/ses-([^/]+))?/", str(issue.get("location", "")))
    if match is None:
        return True
    other_session = sessions and match[2] and match[2] not in sessions
    return not ((subjects and match[1] not in subjects) or other_session)


def _grouped(issues: list[dict[str, Any]]) -> list[str]:
    """Return a line for each kind of error, the most frequent first."""
    kinds = Counter(_kind(each) for each in issues)
    lines = []
    for kind, number in kinds.most_common(_SHOWN_KINDS):
        places = [str(each.get("location") or "") for each in issues if _kind(each) == kind]
        named = ", ".join(filter(None, dict.fromkeys(places[: _SHOWN_FILES + 1])))
        more = ", ..." if number > _SHOWN_FILES + 1 else ""
        lines.append(printable(f"BIDS error {kind}, {number} time(s): {named}{more}"))
    if len(kinds) > _SHOWN_KINDS:
        lines.append(f"and {len(kinds) - _SHOWN_KINDS} more kinds of BIDS errors")
    return lines


def _kind(issue: Mapping[str, Any]) -> str:
    words = (issue.get("code"), issue.get("subCode"))
    return " ".join(str(word) for word in words if word)


def _keep(said: bytes, out_dir: Path | None) -> str:
    """Keep a report and return where, in words; where no file can be made it is not kept."""
    with suppress(OSError, OutputError):
        if out_dir is not None and out_dir.is_dir():
            path = out_dir / "logs" / "bids_validation.json"
            write_atomic(path, said)
        else:
            number, name = tempfile.mkstemp(prefix="bids_validation_", suffix=".json")
            with open(number, "wb") as file:
                file.write(said)
            path = Path(name)
        return f" and {path}"
    return ""
