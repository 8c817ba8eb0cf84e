"""The page of each participant, made from the files that were written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline.app.ledger import FOLDER
from qsm_pipeline.app.record import RunState, merge_record, record_path, write_record
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.app.units import Unit, units_of
from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.naming import figure_path
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, OutputError, unforeseen
from qsm_pipeline.reports.citations import write_citations
from qsm_pipeline.reports.figures import STAGES
from qsm_pipeline.reports.page import render_page
from qsm_pipeline.reports.templates import as_bytes
from qsm_pipeline.steps.nodes import DRAW


def write_pages(
    summary: Summary,
    out_dir: Path,
    units: Sequence[Unit] | None = None,
    *,
    whole: bool,
    again: bool = False,
) -> None:
    """Write the page of each unit, ``sub-<label>[_ses-<label>].html``, with what failed.

    Parameters
    ----------
    summary : Summary
        What became of each run; a page that cannot be written is noted there.
    out_dir : pathlib.Path
        Derivatives data set.
    units : sequence of Unit, optional
        Whose pages are written; every participant's by default.
    whole : bool
        Whether the command is for the whole data set, and so writes its methods text too. Of a
        job array each task would read what all others left: there it is done at group level.
    again : bool
        Whether pages are made too where nothing has happened since they were.
    """
    records = Records(out_dir)
    for unit in units_of(summary.found, ()) if units is None else units:
        page = out_dir / f"sub-{unit.label}.html"
        states = summary.states_of(unit)
        try:
            for state in states:
                _remove_old_figures(state, out_dir)
            record = merge_record(records, unit.label, states, summary.left_out_of(unit))
            if again or not _is_up_to_date(page, unit, record, states, out_dir):
                write_atomic(page, as_bytes(render_page(record, out_dir)))
                write_record(out_dir, records, unit, record)
        except (OSError, OutputError) as error:
            summary.note_page(page, str(error))
        except Exception as error:  # noqa: BLE001, it must cost nobody else their page
            summary.note_page(page, f"{page}: {unforeseen(error)}")
        else:
            summary.note_page(page)
    if whole:
        try:
            write_citations(out_dir)
        except OutputError as error:
            summary.note_page(out_dir / "logs", str(error))
        except Exception as error:  # noqa: BLE001, the maps and pages are there
            summary.note_page(out_dir / "logs", f"methods text: {unforeseen(error)}")


def _is_up_to_date(
    page: Path, unit: Unit, record: Mapping[str, Any], states: Sequence[RunState], out_dir: Path
) -> bool:
    """Return whether a page shows what its record says, so that a resumed cohort is quick."""
    if any(state.ran or state.problems for state in states):
        return False
    try:
        known = read_json_object(record_path(out_dir, unit.label))
        made = page.stat().st_mtime_ns
        done = [out_dir / FOLDER / f"{state.run.prefix}.json" for state in states]
        return known == json.loads(json.dumps(record)) and all(
            path.stat().st_mtime_ns <= made for path in done
        )
    except (OSError, BIDSInputError):
        return False


def _remove_old_figures(state: RunState, out_dir: Path) -> None:
    """Remove the figures of stages that a failed run did not reach: they show an earlier one."""
    if not (state.ran and state.problems):
        return
    for stage, names in STAGES.items():
        if DRAW[stage].name not in state.node_seconds:
            for name in names:
                figure = figure_path(state.run.entities, name, state.run.suffix)
                (out_dir / figure).unlink(missing_ok=True)
