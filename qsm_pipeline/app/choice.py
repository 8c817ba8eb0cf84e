"""The participants and runs that a command is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qsm_pipeline.app.settings import read_mapping
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.field_maps import collect_field_maps
from qsm_pipeline.bids.layout import Index, participants
from qsm_pipeline.bids.run import Collection
from qsm_pipeline.bids.selection import known_labels
from qsm_pipeline.exceptions import NothingChosenError


def chosen_participants(
    bids_dir: Path, wanted: Sequence[str], excluded: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the labels, without ``sub-``, of the participants asked for; None for everybody.

    Raises
    ------
    NothingChosenError
        If one does not exist, or all are excluded.
    """
    if not (wanted or excluded):
        return None
    asked = known_labels(wanted, "sub", participants(bids_dir), bids_dir)
    out = {label.removeprefix("sub-") for label in excluded}
    chosen = tuple(label for label in asked if label not in out)
    if not chosen:
        raise NothingChosenError("--exclude-participant-label leaves nobody of those asked for")
    return chosen


def collect(
    layout: Index,
    chosen: Sequence[str] | None,
    sessions: Sequence[str],
    filter_file: Path | None,
    mask_pattern: str = "",
    derivatives: Sequence[Path] = (),
    segmentation: str = "",
    reference_pattern: str = "",
    start_from: str = "phase",
    *,
    excluded: Sequence[str] = (),
) -> Collection:
    """Find the runs of a data set; see `qsm_pipeline.app.participant.run_participants`."""
    filters = read_mapping(Path(filter_file)) if filter_file else None
    folders = [Path(folder) for folder in derivatives]
    if start_from == "fieldmap":
        labels = participants(layout.root) if chosen is None else chosen
        own = mask_pattern, folders, segmentation, reference_pattern
        return collect_field_maps(layout.root, labels, sessions or None, *own)
    found = collect_runs(
        layout,
        chosen,
        sessions or None,
        filters,
        mask_pattern,
        folders,
        segmentation,
        reference_pattern,
    )
    out = {label.removeprefix("sub-") for label in excluded}
    reason = "named by --exclude-participant-label"
    left_out = [
        replace(each, reason=reason) if each.subject in out else each for each in found.left_out
    ]
    return replace(found, left_out=tuple(left_out))
