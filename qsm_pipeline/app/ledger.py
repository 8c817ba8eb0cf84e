"""What each run was made from and what it wrote, so that finished work is not done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.run import GreRun

FOLDER = Path("logs") / "done"
"""Where the records of finished runs lie in the derivatives data set."""
_SEGMENTATION_FILES = ("labels", "names", "transform", "anatomy")


class Ledger:
    """The records of finished runs in ``logs/done``.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.
    methods : mapping
        Every key of `qsm_pipeline.steps.settings.METHOD_DEFAULTS`.
    """

    def __init__(self, out_dir: Path, methods: Mapping[str, Any]) -> None:
        self._out_dir = out_dir
        self._methods = dict(methods)

    def open_runs(self, runs: Iterable[GreRun]) -> list[GreRun]:
        """Return the runs that are to be done, and forget what was known of them.

        A run is finished if it was made from the same files with the same methods and version,
        and everything that it wrote is still there in its size.
        """
        unfinished = [run for run in runs if not self._is_finished(run)]
        for run in unfinished:  # a record must never stand beside files that are half renewed
            self._path(run).unlink(missing_ok=True)
        for subject in {run.subject for run in unfinished}:
            self._remove_partial_files(subject)
        return unfinished

    def close_run(self, run: GreRun, written: Sequence[str], seconds: float) -> None:
        """Write down that a run is finished.

        Parameters
        ----------
        run : GreRun
            The run.
        written : sequence of str
            Files that it wrote into the derivatives data set.
        seconds : float
            How long it took.

        Raises
        ------
        OutputError
            If the record cannot be written.
        """
        sizes = {os.path.relpath(path, self._out_dir): os.stat(path).st_size for path in written}
        record = {
            "Version": __version__,
            "Fingerprint": self._fingerprint(run),
            "Finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "Seconds": round(seconds, 1),
            "Written": sizes,
        }
        write_json(self._path(run), record)

    def _path(self, run: GreRun) -> Path:
        return self._out_dir / FOLDER / f"{run.prefix}.json"

    def _is_finished(self, run: GreRun) -> bool:
        try:
            record = json.loads(self._path(run).read_text())
            return bool(record["Fingerprint"] == self._fingerprint(run)) and all(
                os.stat(self._out_dir / name).st_size == size
                for name, size in record["Written"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _fingerprint(self, run: GreRun) -> str:
        """Hash all that the maps depend on; files count by size and time of change."""
        files = [*run.files, *(run.segmentation.get(key, "") for key in _SEGMENTATION_FILES)]
        files += [str(self._methods[key] or "") for key in ("atlas", "atlas_template")]
        for params in self._methods.values():
            files.append(params.get("generator", "") if isinstance(params, Mapping) else "")
        states = [_state(file) for file in files if file]
        facts = [__version__, run.to_dict(), self._methods, states]
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _remove_partial_files(self, subject: str) -> None:
        """Remove what `write_atomic` could not, because its process was killed."""
        for folder in (self._out_dir, self._out_dir / FOLDER):
            for path in folder.glob(f".sub-{subject}[._]*.tmp"):
                path.unlink(missing_ok=True)
        for path in (self._out_dir / f"sub-{subject}").rglob(".*.tmp"):
            path.unlink(missing_ok=True)


def _state(file: str) -> tuple[str, int, int]:
    with suppress(OSError):  # the node that reads it will say so
        status = os.stat(file)
        return file, status.st_size, status.st_mtime_ns
    return file, -1, -1
