"""What the participant level has left in a folder of derivatives."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.layout import participants
from qsm_pipeline.bids.naming import RUN_ENTITIES, build_name, output_path, parse_name
from qsm_pipeline.bids.records import read_record
from qsm_pipeline.bids.regions import region_tables
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.bids.tables import read_table
from qsm_pipeline.exceptions import BIDSInputError

_FOLDERS = ("anat", "ses-*/anat")


@dataclass(frozen=True)
class FinishedRun:
    """A run that has a susceptibility map.

    Parameters
    ----------
    entities : dict of str to str
        Of the run.
    metrics : dict of str to dict
        ``Metrics`` of its quality file; empty if it has none.
    regions : tuple of dict
        Rows of its tables of regions, with ``seg``.
    problems : tuple of str
        What could not be read, one sentence each.
    warnings : tuple of str
        ``Warnings`` of its map's sidecar.
    """

    entities: dict[str, str]
    metrics: dict[str, dict[str, Any]]
    regions: tuple[dict[str, str], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Name shared by all files of the run."""
        return build_name(self.entities, "")

    @property
    def participant(self) -> str:
        """Label with ``sub-``."""
        return f"sub-{self.entities['sub']}"


def finished_runs(out_dir: Path, labels: Sequence[str] = ()) -> list[FinishedRun]:
    """Return every run with a susceptibility map, sorted by name.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.
    labels : sequence of str
        Participants without ``sub-``; all by default.
    """
    found = []
    for label in participants(out_dir):
        if labels and label not in labels:
            continue
        for pattern in _FOLDERS:
            for chi in (out_dir / f"sub-{label}").glob(f"{pattern}/*_Chimap.nii.gz"):
                try:
                    entities = parse_name(chi.name).entities
                except ValueError:
                    continue
                if set(entities) <= set(RUN_ENTITIES):  # no desc, so it is the map itself
                    found.append(_read(out_dir, entities))
    return sorted(found, key=lambda run: run.prefix)


def _read(out_dir: Path, entities: dict[str, str]) -> FinishedRun:
    problems: list[str] = []
    metrics: dict[str, dict[str, Any]] = {}
    path = out_dir / output_path(entities, "qc", extension=".json")
    try:
        found = read_json_object(path, finite=True).get("Metrics")
        if not isinstance(found, dict) or not all(isinstance(m, dict) for m in found.values()):
            raise BIDSInputError(f"{path} holds no Metrics; run the participant level again")
        metrics = found
    except BIDSInputError as error:
        problems.append(str(error))
    rows: list[dict[str, str]] = []
    for table in region_tables(out_dir, entities):
        seg = parse_name(table.name).entities["seg"]
        try:
            rows += [{"seg": seg, **row} for row in read_table(table, ("index", "name"))]
        except BIDSInputError as error:
            problems.append(str(error))
    sidecar = out_dir / output_path(entities, "chi", extension=".json")
    warnings: Any = None
    with contextlib.suppress(BIDSInputError):
        warnings = read_json_object(sidecar, finite=True).get("Warnings")
    told = tuple(str(each) for each in warnings) if isinstance(warnings, list) else ()
    return FinishedRun(entities, metrics, tuple(rows), tuple(problems), told)


def read_participants(bids_dir: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``participants.tsv`` by participant with ``sub-``; empty without one.

    Raises
    ------
    BIDSInputError
        If the file is broken or names a participant twice.
    """
    path = bids_dir / "participants.tsv"
    if not path.is_file():
        return {}
    table: dict[str, dict[str, str]] = {}
    for row in read_table(path, ("participant_id",)):
        label = "sub-" + row.pop("participant_id").strip().removeprefix("sub-")
        if label in table:
            raise BIDSInputError(f"{path} has {label} twice; keep one line for each participant")
        table[label] = row
    return table


def recorded_problems(out_dir: Path, label: str) -> dict[str, list[str]]:
    """Return what the last run of a participant has noted down as failed or left out.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.
    label : str
        Without ``sub-``.

    Returns
    -------
    dict of str to list of str
        Sentences by run, and by ``sub-<label>`` what was left out; empty if nothing failed.

    Raises
    ------
    BIDSInputError
        If there is no record of a run, or it cannot be read.
    """
    path = out_dir / "logs" / f"sub-{label}.json"
    if not path.is_file():
        raise BIDSInputError("no output and no record of a run: start the participant level")
    record = read_record(path)
    reasons: dict[str, list[str]] = {}
    for prefix, run in record["runs"].items():
        for problem in run["problems"]:
            node = f"in {problem['node']}: " if problem["node"] else ""
            reasons.setdefault(prefix, []).append(f"{node}{problem['message']}")
    for item in record["left_out"]:
        sentence = f"{item['what']}: {item['reason']}"
        reasons.setdefault(f"sub-{label}", []).append(sentence)
    return reasons
