"""What each run was made from and what it wrote, so that finished work is not done again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.code import code_hash
from qsm_pipeline.app.units import Unit
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.files import file_size
from qsm_pipeline.bids.naming import NOTES, OUTPUTS, figure_path, output_path, parse_name
from qsm_pipeline.bids.regions import region_tables
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, OutputError
from qsm_pipeline.reports.figures import FIGURES

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

    def open_run(self, run: GreRun) -> bool:
        """Return whether a run is to be done, and forget then what was known of it.

        A run is finished if it was made from the same files with the same methods and version,
        and everything that it wrote is still there as it was.

        Raises
        ------
        OutputError
            If its record cannot be replaced.
        """
        if self._is_finished(run):
            return False
        try:  # a record must never stand beside files that are half renewed
            self._path(run).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self._path(run)} cannot be replaced: {error.strerror}") from None
        return True

    def close_run(self, run: GreRun, written: Sequence[str], seconds: float) -> None:
        """Write down that a run is finished, and remove what it wrote earlier and not now.

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
        states = {os.path.relpath(path, self._out_dir): file_state(path) for path in written}
        for path in _outputs(run, self._out_dir):  # of other methods, or by another version
            if os.path.relpath(path, self._out_dir) not in states:
                path.unlink(missing_ok=True)
        record = {
            "Version": __version__,
            "Fingerprint": self._fingerprint(run),
            "Finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "Seconds": round(seconds, 1),
            "Written": states,
        }
        write_json(self._path(run), record)

    def remove_partial_files(self, runs: Sequence[GreRun]) -> None:
        """Remove what `write_atomic` could not, because its process was killed.

        Those of another session stay: a job of its own may be writing them.
        """
        labels = {Unit(run.subject, run.session or "").label for run in runs}
        starts = tuple(f".sub-{label}{end}" for label in labels for end in "._")
        shared = (self._out_dir, self._out_dir / FOLDER, self._out_dir / FOLDER.parent)
        own = {self._out_dir / f"sub-{run.subject}" for run in runs}
        found = [path for folder in shared for path in folder.glob(".sub-*.tmp")]
        found += [path for folder in own for path in folder.rglob(".sub-*.tmp")]
        for path in found:
            if path.name.startswith(starts):
                with suppress(OSError):
                    path.unlink()

    def _path(self, run: GreRun) -> Path:
        return self._out_dir / FOLDER / f"{run.prefix}.json"

    def _is_finished(self, run: GreRun) -> bool:
        try:
            record = read_json_object(self._path(run), finite=True)
        except BIDSInputError:
            return False
        written = record.get("Written")
        if record.get("Fingerprint") != self._fingerprint(run) or not isinstance(written, dict):
            return False
        return bool(written) and all(
            is_unchanged(self._out_dir / name, state) for name, state in written.items()
        )

    def _fingerprint(self, run: GreRun) -> str:
        """Hash all that the maps depend on; files count by size and time of change.

        Where they lie does not count: in a container they are mounted elsewhere.
        """
        files = [*run.files, *(run.segmentation.get(key, "") for key in _SEGMENTATION_FILES)]
        files += [str(self._methods[key] or "") for key in ("atlas", "atlas_template")]
        for params in self._methods.values():
            files.append(params.get("generator", "") if isinstance(params, Mapping) else "")
        states = [_state(file) for file in files if file]
        facts = [__version__, code_hash(), run.to_dict(), self._methods, states]
        text = json.dumps(_without_places(facts, run.bids_dir), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def _outputs(run: GreRun, out_dir: Path) -> list[Path]:
    """Return the files in the derivatives that bear the name of an output of a run."""
    paths = [
        out_dir / output_path(run.entities, quantity, extension=extension)
        for quantity in (*OUTPUTS, *NOTES)
        if quantity not in ("labels", "regions")
        for extension in (".nii.gz", ".json")
    ]
    for table in region_tables(out_dir, run.entities):
        seg = {"seg": parse_name(table.name).entities["seg"]}
        for quantity, extensions in {
            "labels": (".nii.gz", ".json"),
            "regions": (".tsv", ".json"),
        }.items():
            paths += [
                out_dir / output_path(run.entities, quantity, extra=seg, extension=extension)
                for extension in extensions
            ]
    paths += [out_dir / figure_path(run.entities, name, run.suffix) for name in FIGURES]
    return [path for path in paths if os.path.lexists(path)]


def file_state(path: Path | str) -> dict[str, Any]:
    """Return size, time of change and hash of a file."""
    status = os.stat(path)
    return {"Size": status.st_size, "Changed": status.st_mtime_ns, "SHA256": _hash(path)}


def is_unchanged(path: Path, state: Any) -> bool:
    """Return whether a file is what it was; only one that was touched since is read."""
    try:
        if file_size(path) != state["Size"]:
            return False
        same_time = os.stat(path).st_mtime_ns == state["Changed"]
        return bool(same_time or _hash(path) == state["SHA256"])
    except (OSError, KeyError, TypeError, BIDSInputError):
        return False


def _hash(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_places(value: Any, root: str) -> Any:
    """Return facts with paths relative to a data set, and of other absolute paths the name."""
    if isinstance(value, Mapping):
        return {key: _without_places(each, root) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(each, root) for each in value]
    if isinstance(value, str | os.PathLike) and os.path.isabs(value):
        path = os.path.relpath(value, root)
        return os.path.basename(value) if path.startswith(os.pardir) else path
    return value


def _state(file: str) -> tuple[str, int, int]:
    with suppress(OSError):  # the node that reads it will say so
        status = os.stat(file)
        return file, status.st_size, status.st_mtime_ns
    return file, -1, -1
