"""The level ``group``: tables of all participants, a page to look at them, the methods text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.checks import check_folders
from qsm_pipeline.app.display import duration
from qsm_pipeline.app.missing import MISSING_COLUMNS, missing_results
from qsm_pipeline.app.participant import collect
from qsm_pipeline.bids.cohort import (
    FinishedRun,
    finished_runs,
    raw_prefixes,
    read_participants,
    read_sessions,
)
from qsm_pipeline.bids.derivatives import write_atomic, write_dataset_files
from qsm_pipeline.bids.layout import index, participants
from qsm_pipeline.bids.ownership import check_owner
from qsm_pipeline.bids.selection import known_labels
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.bids.tables import write_table
from qsm_pipeline.exceptions import BIDSInputError, NoInputError
from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.reports.citations import write_citations
from qsm_pipeline.reports.group.page import render_group

_SHOWN = 20


def run_group(
    *,
    bids_dir: Path,
    out_dir: Path,
    echo: Callable[[str], None] = print,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filter_file: Path | None = None,
    bids_database_dir: Path | None = None,
    **_: Any,
) -> ExitCode:
    """Merge what the participant level has written.

    Parameters
    ----------
    bids_dir, out_dir : pathlib.Path
        Raw data set, and the derivatives that the participant level wrote.
    echo : callable
        Prints one line.
    participant_label, session_label, bids_filter_file, bids_database_dir
        As of `qsm_pipeline.app.participant.run_participants`; everything by default.
    **_
        The other options of the command belong to the participant level.

    Returns
    -------
    ExitCode
        OK unless somebody is missing.

    Raises
    ------
    NoInputError
        If no participant has a map yet.
    BIDSInputError
        If a participant does not exist, or ``participants.tsv`` is broken.
    OutputError
        If something cannot be written.
    """
    start = time.monotonic()
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    check_folders(bids_dir, output=out_dir)
    check_owner(out_dir, bids_dir)
    if not out_dir.is_dir():
        raise NoInputError(f"{out_dir} does not exist; start the participant level first")
    labels = known_labels(participant_label, "sub", participants(bids_dir), bids_dir)
    found = collect(
        bids_dir,
        labels if participant_label else (),
        session_label,
        bids_filter_file,
        bids_database_dir,
        "",
        (),
    )
    raw = raw_prefixes(index(bids_dir, labels).images)
    runs = finished_runs(out_dir, labels)
    if session_label:
        wanted = {label.removeprefix("ses-") for label in session_label}
        runs = [run for run in runs if run.entities.get("ses") in wanted]
    if bids_filter_file:
        passed = {run.prefix for run in found.runs}
        runs = [run for run in runs if run.prefix in passed]
    everything, runs = runs, [run for run in runs if not run.damaged]
    if not runs:
        raise NoInputError(
            f"{out_dir} holds no susceptibility map of the participants asked for; start the "
            "participant level first"
        )
    listed = read_participants(bids_dir)
    expected = [name for name in listed if not participant_label or name[4:] in labels]
    from qsm_pipeline.app.cohort_tables import quality_table, region_table  # loads torch

    write_dataset_files(out_dir, bids_dir)
    withdrawn = {run.prefix for run in runs if run.prefix not in raw}
    sessions = _sessions(bids_dir, runs, echo)
    quality = quality_table(runs, listed, sessions, withdrawn)
    regions = region_table(runs, listed)
    missing = missing_results(
        everything, labels, expected, out_dir, found.runs, _in_progress(out_dir, labels)
    )
    about = {"GeneratedBy": [{"Name": "qsm-pipeline", "Version": __version__}]}
    for name, (columns, rows) in {
        "quality": quality,
        "regions": regions,
        "missing": (MISSING_COLUMNS, missing),
    }.items():
        path = out_dir / f"group_{name}.tsv"
        write_table(path, columns, rows, about)
        echo(f"{len(rows)} row(s) in {path}")
    page = out_dir / "group.html"
    title = str(read_json_object(bids_dir / "dataset_description.json").get("Name", bids_dir.name))
    write_atomic(page, render_group(title, runs, quality, regions, missing, out_dir).encode())
    write_citations(out_dir)
    echo(f"report {page}")
    if withdrawn:
        names = ", ".join(sorted(withdrawn)[:_SHOWN])
        more = ", ..." if len(withdrawn) > _SHOWN else ""
        echo(f"note: {len(withdrawn)} run(s) are no longer in the raw data set: {names}{more}")
    for row in missing:
        echo(f"missing {row['run'] or row['participant_id']}: {row['reason']}")
    echo(f"finished in {duration(time.monotonic() - start)}")
    if missing:
        people = len({row["participant_id"] for row in missing})
        echo(f"exit status 1: something is missing of {people} participant(s), see above")
        return ExitCode.FAILED
    return ExitCode.OK


def _sessions(
    bids_dir: Path, runs: Sequence[FinishedRun], echo: Callable[[str], None]
) -> dict[tuple[str, str], dict[str, str]]:
    """Return what the tables of sessions say; one that is broken is told and left out."""
    found = {}
    for label in sorted({run.entities["sub"] for run in runs if "ses" in run.entities}):
        try:
            of_one = read_sessions(bids_dir, label)
        except BIDSInputError as error:
            echo(f"note on sub-{label}: {error}")
        else:
            found |= {(f"sub-{label}", session): row for session, row in of_one.items()}
    return found


def _in_progress(out_dir: Path, labels: Sequence[str]) -> dict[str, str]:
    """Return the participants that another command works on now."""
    if not (out_dir / "logs" / "locks.txt").is_file():
        return {}
    locks = NameLocks(out_dir / "logs" / "locks.txt")
    try:
        holders = {label: locks.holder(label) for label in labels}
    finally:
        locks.close()
    return {label: f"processed by {holder}" for label, holder in holders.items() if holder}
