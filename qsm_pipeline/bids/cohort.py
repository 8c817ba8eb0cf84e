"""What the participant level has left in a folder of derivatives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.coils import coil_number, without_coil
from qsm_pipeline.bids.images import open_image
from qsm_pipeline.bids.layout import participants
from qsm_pipeline.bids.naming import RUN_ENTITIES, build_name, output_path, parse_name
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.regions import region_tables
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.bids.tables import read_table
from qsm_pipeline.bids.verdicts import Verdict
from qsm_pipeline.exceptions import BIDSInputError, unforeseen

_FOLDERS = ("anat", "ses-*/anat")
_METHODS = ("MaskMethod", "Unwrapping", "FieldFit", "BackgroundRemoval", "Inversion")


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
    verdict : Verdict, optional
        Of its quality file.
    version, methods, model : str
        What it was made with, by that sidecar; empty where it does not say.
    damaged : str
        Why its map cannot be read, so that the run counts as missing.
    """

    entities: dict[str, str]
    metrics: dict[str, dict[str, Any]]
    regions: tuple[dict[str, str], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    verdict: Verdict | None = None
    version: str = ""
    methods: str = ""
    model: str = ""
    damaged: str = ""

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
    wanted = set(labels)
    for label in participants(out_dir):
        if wanted and label not in wanted:
            continue
        for pattern in _FOLDERS:
            for chi in (out_dir / f"sub-{label}").glob(f"{pattern}/*_Chimap.nii.gz"):
                try:
                    entities = parse_name(chi.name).entities
                except ValueError:
                    continue
                if set(entities) <= set(RUN_ENTITIES):  # no desc, so it is the map itself
                    found.append(_read_or_say(out_dir, entities))
    return sorted(found, key=lambda run: run.prefix)


def _read_or_say(out_dir: Path, entities: dict[str, str]) -> FinishedRun:
    try:
        open_image(str(out_dir / output_path(entities, "chi")))
        return _read(out_dir, entities)
    except BIDSInputError as error:
        return FinishedRun(entities, {}, (), (), damaged=f"its map is damaged: {error}")
    except Exception as error:  # noqa: BLE001, it must cost nobody else their row
        return FinishedRun(entities, {}, (), (), damaged=unforeseen(error))


def _read(out_dir: Path, entities: dict[str, str]) -> FinishedRun:
    problems: list[str] = []
    metrics: dict[str, dict[str, Any]] = {}
    verdict: Verdict | None = None
    path = out_dir / output_path(entities, "qc", extension=".json")
    try:
        quality = read_json_object(path, finite=True)
        verdict = Verdict.of(quality.get("Verdict"))
        found = quality.get("Metrics")
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
    facts: dict[str, Any] = {}
    if os.path.lexists(sidecar):
        try:
            facts = read_json_object(sidecar, finite=True)
        except BIDSInputError as error:
            problems.append(f"how its map was made is not known: {error}")
    warnings = facts.get("Warnings")
    told = tuple(str(each) for each in warnings) if isinstance(warnings, list) else ()
    software, used = (
        found if isinstance(found := facts.get(key), dict) else {}
        for key in ("Software", "Parameters")
    )
    return FinishedRun(
        entities,
        metrics,
        tuple(rows),
        tuple(problems),
        told,
        verdict,
        version=str(software.get("qsm-pipeline", "")),
        methods=", ".join(str(used[key]) for key in _METHODS if key in used),
        model=str(used.get("Generator", "")).partition(",")[0],
    )


def raw_prefixes(images: Iterable[Path]) -> set[str]:
    """Return the names of the runs that images of a raw data set belong to."""
    found = set()
    for path in images:
        with contextlib.suppress(ValueError):
            entities = parse_name(path.name).entities
            own = {k: v for k, v in entities.items() if k not in ("echo", "part")}
            if coil_number(own) is not None:
                found.add(build_name(without_coil(own), ""))
            found.add(build_name(own, ""))
    return found


def read_sessions(bids_dir: Path, label: str) -> dict[str, dict[str, str]]:
    """Return the rows of ``sub-<label>_sessions.tsv`` by session; empty without one.

    Raises
    ------
    BIDSInputError
        If the file is broken or names a session twice.
    """
    path = bids_dir / f"sub-{label}" / f"sub-{label}_sessions.tsv"
    return _rows_by(path, "ses-", "session")


def read_participants(bids_dir: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``participants.tsv`` by participant with ``sub-``; empty without one.

    Raises
    ------
    BIDSInputError
        If the file is broken or names a participant twice.
    """
    return _rows_by(bids_dir / "participants.tsv", "sub-", "participant")


def _rows_by(path: Path, prefix: str, what: str) -> dict[str, dict[str, str]]:
    """Return the rows of a table by the label of a session or participant; empty without one."""
    if not os.path.lexists(path):  # a link to nothing is a fault
        return {}
    column = f"{what}_id"
    table: dict[str, dict[str, str]] = {}
    for row in read_table(path, (column,)):
        label = prefix + row.pop(column).strip().removeprefix(prefix)
        if label in table:
            raise BIDSInputError(f"{path} has {label} twice; keep one line for each {what}")
        table[label] = row
    return table


def recorded_problems(records: Records, label: str) -> dict[str, list[str]]:
    """Return what the last run of a participant has noted down as failed or left out.

    Parameters
    ----------
    records : Records
        Of the derivatives data set.
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
    if label not in records:
        raise BIDSInputError("no output and no record of a run: start the participant level")
    record = records.read(label)
    reasons: dict[str, list[str]] = {}
    for prefix, run in record["runs"].items():
        for problem in run["problems"]:
            node = f"in {problem['node']}: " if problem["node"] else ""
            reasons.setdefault(prefix, []).append(f"{node}{problem['message']}")
    for item in record["left_out"]:
        sentence = f"{item['what']}: {item['reason']}"
        reasons.setdefault(f"sub-{label}", []).append(sentence)
    return reasons
