"""The tables of a group: quality and regional values of all participants, outliers flagged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from qsm_pipeline.bids.cohort import FinishedRun
from qsm_pipeline.bids.naming import build_name
from qsm_pipeline.bids.regions import REGION_COLUMNS
from qsm_pipeline.bids.tables import Column, number
from qsm_pipeline.numerics.quality.outliers import MAX_ROBUST_Z, robust_z

Row = dict[str, Any]
Participants = Mapping[str, Mapping[str, str]]
Sessions = Mapping[tuple[str, str], Mapping[str, str]]

_RUN_COLUMNS = {
    "participant_id": Column("Participant."),
    "session_id": Column("Session."),
    "run": Column("Name shared by the files of the run."),
}
_OUTLIER_RULE = (
    f"more than {MAX_ROBUST_Z:g} robust standard deviations (1.4826 times the median absolute "
    "deviation) from the median of the runs with the same acquisition, version and methods"
)
REGION_STATISTICS = ("mean_ppm", "median_ppm", "sd_ppm", "volume_ml")
"""Columns of a table of regions whose outliers are looked for."""


def quality_table(
    runs: Sequence[FinishedRun],
    participants: Participants,
    sessions: Sessions,
    withdrawn: Collection[str],
) -> tuple[dict[str, Column], list[Row]]:
    """Return columns and rows of the table with one row for each run.

    Parameters
    ----------
    runs : sequence of FinishedRun
        All runs.
    participants : mapping
        From `qsm_pipeline.bids.cohort.read_participants`.
    sessions : mapping
        Rows of the tables of sessions, by participant and session.
    withdrawn : collection of str
        Prefixes of the runs that the raw data set has no longer.

    Returns
    -------
    columns : dict of str to Column
        Run, verdict, one column for each metric, what it was made with, ``outliers``,
        ``warnings``, and those of sessions and participants.
    rows : list of dict
        In the order of the runs.
    """
    described: dict[str, Column] = {}
    for run in runs:
        for name, metric in run.metrics.items():
            about = Column(str(metric.get("Description", "")), str(metric.get("Units", "")))
            described.setdefault(name, about)
    names = sorted(described, key=_natural)
    values = [[_number(run.metrics.get(name, {}).get("Value")) for name in names] for run in runs]
    z = _robust_z_by_acquisition(values, [_acquisition(run) for run in runs], len(names))
    rows = []
    for run, numbers, distances in zip(runs, values, z, strict=True):
        warnings = [str(m["Warning"]) for m in run.metrics.values() if m.get("Warning")]
        warnings = [*run.warnings, *warnings]
        judged = run.verdict
        row = _run_cells(run) | {
            "verdict": judged and judged.level,
            "reason": (judged and judged.reason) or None,
        }
        row |= dict(zip(names, numbers, strict=True))
        row |= {"version": run.version, "methods": run.methods, "model": run.model}
        row["in_raw"] = "no" if run.prefix in withdrawn else "yes"
        row |= {"outliers": _far(names, distances), "warnings": warnings}
        session = sessions.get((run.participant, row["session_id"]), {})
        row |= {f"sessions_{name}": value for name, value in session.items()}
        rows.append(_joined(row, participants))
    columns = _RUN_COLUMNS | {
        "verdict": Column("Whether the map is right: good, look or wrong."),
        "reason": Column("What is probably wrong, of maps that are not good."),
    }
    columns |= {name: described[name] for name in names}
    columns |= {
        "version": Column("Version of qsm-pipeline that made the map."),
        "methods": Column("Methods that it was made with."),
        "model": Column("Trained generator that it was made with."),
        "in_raw": Column("Whether the raw data set still has images of the run."),
        "outliers": Column(f"Metrics that are {_OUTLIER_RULE}."),
        "warnings": Column("What the run warns of, and limits that it does not keep."),
    }
    of_sessions = dict.fromkeys(name for row in sessions.values() for name in row)
    columns |= {f"sessions_{n}": Column(f"{n} of the sessions.tsv.") for n in of_sessions}
    return _with_participants(columns, participants), rows


def region_table(
    runs: Sequence[FinishedRun], participants: Participants
) -> tuple[dict[str, Column], list[Row]]:
    """Return columns and rows of the table with one row for each region of each run.

    Parameters and results as of the first two of :func:`quality_table`; a value is compared with
    those of the same region in the same segmentation.
    """
    rows: list[Row] = []
    groups: list[str] = []
    for run in runs:
        for region in run.regions:
            cells: Row = {"seg": region["seg"]}
            for name in REGION_COLUMNS:
                plain = name in ("name", "hemisphere")
                cells[name] = region.get(name) if plain else number(region.get(name))
            cells["index"], cells["n_voxels"] = region["index"], region.get("n_voxels")
            rows.append(_run_cells(run) | cells)
            groups.append(f"{_acquisition(run)} {region['seg']} {region['index']}")
    values = [[row[name] for name in REGION_STATISTICS] for row in rows]
    for row, distances in zip(
        rows, _robust_z_by_acquisition(values, groups, len(REGION_STATISTICS)), strict=True
    ):
        row["outliers"] = _far(REGION_STATISTICS, distances)
    columns = _RUN_COLUMNS | {"seg": Column("Segmentation.")} | REGION_COLUMNS
    columns |= {
        "index": Column("Label of the region in the segmentation."),
        "name": Column("Name of the region."),
    }
    columns |= {"outliers": Column(f"Statistics that are {_OUTLIER_RULE}, in the same region.")}
    return (
        _with_participants(columns, participants),
        [_joined(row, participants) for row in rows],
    )


def _far(names: Sequence[str], distances: Sequence[float]) -> list[str]:
    return [name for name, d in zip(names, distances, strict=True) if abs(d) > MAX_ROBUST_Z]


def _run_cells(run: FinishedRun) -> Row:
    session = f"ses-{run.entities['ses']}" if "ses" in run.entities else None
    return {"participant_id": run.participant, "session_id": session, "run": run.prefix}


def _acquisition(run: FinishedRun) -> str:
    """Return what comparable runs share: entities but person, session, repetition; how made."""
    kind = {k: v for k, v in run.entities.items() if k not in ("sub", "ses", "run")}
    return f"{build_name(kind, '')} {run.version} {run.methods} {run.model}"


def _robust_z_by_acquisition(
    values: Sequence[Sequence[float | None]], groups: Sequence[str], width: int
) -> list[list[float]]:
    filled = [[float("nan") if v is None else v for v in row] for row in values]
    table = torch.tensor(filled, dtype=torch.float64).reshape(len(values), width)
    members: dict[str, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    for positions in members.values():
        table[positions] = robust_z(table[positions])
    return table.tolist()


def _joined(row: Row, participants: Participants) -> Row:
    known = participants.get(row["participant_id"], {})
    return row | {_joined_name(name): value for name, value in known.items()}


def _with_participants(
    columns: dict[str, Column], participants: Participants
) -> dict[str, Column]:
    names: Iterable[str] = next(iter(participants.values()), {})
    joined = {_joined_name(n): Column(f"{n} of participants.tsv of the data set.") for n in names}
    return columns | joined


def _joined_name(name: str) -> str:
    return f"participants_{name}"


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _natural(name: str) -> list[str]:
    return [part.zfill(6) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
