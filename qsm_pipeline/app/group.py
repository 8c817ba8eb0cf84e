"""The level ``group``: tables of all participants, a page to look at them, the methods text."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.checks import check_folders
from qsm_pipeline.app.choice import chosen_participants, collect
from qsm_pipeline.app.command_log import CommandLog
from qsm_pipeline.app.display import Display, command_began, duration
from qsm_pipeline.app.missing import MISSING_COLUMNS, missing_results
from qsm_pipeline.bids.cohort import (
    FinishedRun,
    finished_runs,
    raw_prefixes,
    read_participants,
    read_sessions,
)
from qsm_pipeline.bids.derivatives import write_atomic, write_dataset_files
from qsm_pipeline.bids.field_maps import field_map_files
from qsm_pipeline.bids.layout import index, participants
from qsm_pipeline.bids.ownership import check_owner, leading_out
from qsm_pipeline.bids.selection import with_files
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.bids.tables import write_table
from qsm_pipeline.exceptions import BIDSInputError, NoInputError
from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.reports.citations import write_citations
from qsm_pipeline.reports.group.page import render_group
from qsm_pipeline.reports.page import link_to_group

_SHOWN = 20


def run_group(
    *,
    bids_dir: Path,
    out_dir: Path,
    echo: Callable[[str], None] = print,
    participant_label: Sequence[str] = (),
    exclude_participant_label: Sequence[str] = (),
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
    participant_label, exclude_participant_label, session_label : sequence of str
    bids_filter_file, bids_database_dir : pathlib.Path, optional
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
    start = command_began()
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    with CommandLog("group") as log, Display(echo, log=log) as display:
        display.echo(f"qsm-pipeline {__version__}: {bids_dir} and {out_dir}")
        check_folders(bids_dir, output=out_dir)
        check_owner(out_dir, bids_dir)
        if not out_dir.is_dir():
            raise NoInputError(f"{out_dir} does not exist; start the participant level first")
        leading_out(out_dir, ())
        log.begin(out_dir / "logs")
        participant_label, exclude_participant_label, session_label = map(
            with_files, (participant_label, exclude_participant_label, session_label)
        )
        display.stage("reading the data set")
        chosen = chosen_participants(bids_dir, participant_label, exclude_participant_label)
        labels = participants(bids_dir) if chosen is None else chosen
        layout = index(bids_dir, chosen, bids_database_dir and Path(bids_database_dir))
        found = collect(layout, chosen, session_label, bids_filter_file)
        display.stage(f"reading the results of {len(labels)} participant(s)")
        everything = finished_runs(out_dir, labels)
        if session_label:
            wanted = {label.removeprefix("ses-") for label in session_label}
            everything = [run for run in everything if run.entities.get("ses") in wanted]
        if bids_filter_file:
            passed = {run.prefix for run in found.runs}
            everything = [run for run in everything if run.prefix in passed]
        runs = [run for run in everything if not run.damaged]
        if not runs:
            raise NoInputError(
                f"{out_dir} holds no susceptibility map of the participants asked for; start the "
                "participant level first"
            )
        listed = read_participants(bids_dir)
        display.stage("making the tables")
        from qsm_pipeline.app.cohort_tables import quality_table, region_table  # loads torch

        write_dataset_files(out_dir, bids_dir)
        raw = raw_prefixes(layout.images)
        others = {run.entities["sub"] for run in runs if run.prefix not in raw}
        raw |= raw_prefixes(field_map_files(bids_dir, sorted(others)))
        withdrawn = {run.prefix for run in runs if run.prefix not in raw}
        quality = quality_table(runs, listed, _sessions(bids_dir, runs, display.echo), withdrawn)
        regions = region_table(runs, listed)
        asked = set(labels)
        expected = [name for name in listed if chosen is None or name[4:] in asked]
        running = _in_progress(out_dir, labels)
        missing = missing_results(everything, labels, expected, out_dir, found.runs, running)
        about = {"GeneratedBy": [{"Name": "qsm-pipeline", "Version": __version__}]}
        for name, (columns, rows) in {
            "quality": quality,
            "regions": regions,
            "missing": (MISSING_COLUMNS, missing),
        }.items():
            path = out_dir / f"group_{name}.tsv"
            write_table(path, columns, rows, about)
            display.echo(f"{len(rows)} row(s) in {path}")
        display.stage("making the page")
        page = out_dir / "group.html"
        title = _title(bids_dir)
        html = render_group(title, runs, quality, regions, missing, out_dir)
        write_atomic(page, html.encode())
        for one in out_dir.glob("sub-*.html"):
            link_to_group(one)
        display.stage("writing the methods text")
        write_citations(out_dir)
        display.echo(f"report {page}")
        _tell_withdrawn(withdrawn, display.echo)
        for row in missing:
            display.echo(f"missing {row['run'] or row['participant_id']}: {row['reason']}")
        display.echo(f"finished in {duration(time.monotonic() - start)}")
        if not missing:
            return ExitCode.OK
        people = len({row["participant_id"] for row in missing})
        display.echo(f"exit status 1: something is missing of {people} participant(s), see above")
        return ExitCode.FAILED


def _title(bids_dir: Path) -> str:
    return str(read_json_object(bids_dir / "dataset_description.json").get("Name", bids_dir.name))


def _tell_withdrawn(withdrawn: Collection[str], echo: Callable[[str], None]) -> None:
    if withdrawn:
        names = ", ".join(sorted(withdrawn)[:_SHOWN])
        more = ", ..." if len(withdrawn) > _SHOWN else ""
        echo(f"note: {len(withdrawn)} run(s) are no longer in the raw data set: {names}{more}")


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
