"""The page of each participant, made from the files that were written."""

from __future__ import annotations

from pathlib import Path

from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.naming import is_label
from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.reports.page import render_page
from qsm_pipeline.workflows.summary import Summary


def write_pages(summary: Summary, out_dir: Path) -> None:
    """Write ``sub-<label>.html`` for everybody who was found, with what failed.

    Parameters
    ----------
    summary : Summary
        What became of each run; a page that cannot be written is noted there.
    out_dir : pathlib.Path
        Derivatives data set.
    """
    found = summary.found
    subjects = {r.subject for r in found.runs} | {s.subject for s in found.skipped if s.subject}
    for subject in sorted(filter(is_label, subjects)):  # any other name has no place in a path
        runs = [run for run in found.runs if run.subject == subject]
        page = out_dir / f"sub-{subject}.html"
        try:
            html = render_page(subject, runs, summary.problems_of(subject), out_dir)
            write_atomic(page, html.encode())
        except OutputError as error:
            summary.note_page(page, str(error))
        else:
            summary.note_page(page)
