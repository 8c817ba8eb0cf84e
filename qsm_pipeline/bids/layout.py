"""The pybids index of a raw data set."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from bids.layout import BIDSLayout, BIDSLayoutIndexer

from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, OutputError

_OTHER_DATA = re.compile(
    r"^/(code|models|sourcedata|stimuli|derivatives|phenotype)(/|$)"
    r"|/(func|dwi|eeg|ieeg|meg|micr|motion|nirs|perf|pet|beh|mrs|fmap)(/|$)"
    r"|/\.|\.(json|tsv|tsv\.gz|bval|bvec|md|txt|html)$"
)


def participants(bids_dir: Path) -> tuple[str, ...]:
    """Return the labels, without ``sub-``, of every participant folder."""
    try:
        entries = sorted(os.scandir(bids_dir), key=lambda e: e.name)
    except OSError as err:
        raise BIDSInputError(f"{bids_dir} cannot be read: {err.strerror}") from err
    return tuple(e.name[4:] for e in entries if e.name.startswith("sub-") and e.is_dir())


def index(
    bids_dir: Path,
    participant_labels: Sequence[str] | None = None,
    database_dir: Path | None = None,
    *,
    validate: bool = False,
) -> BIDSLayout:
    """Index the anatomical images of a raw data set.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set.
    participant_labels : sequence of str, optional
        Without ``sub-``; the others are not even visited, so that an array job over many
        participants stays fast. A database always holds everybody.
    database_dir : pathlib.Path, optional
        Where pybids keeps its index; used as it is if it exists already.
    validate : bool
        Leave out files that pybids thinks are not BIDS.

    Returns
    -------
    bids.layout.BIDSLayout
        Without metadata, see `qsm_pipeline.bids.sidecar`.

    Raises
    ------
    BIDSInputError
        If the folder is no data set.
    OutputError
        If the database cannot be written.
    """
    if not bids_dir.is_dir():
        raise BIDSInputError(f"{bids_dir} is not a folder; expected a BIDS data set")
    found = participants(bids_dir)
    if not found:
        raise BIDSInputError(f"{bids_dir} holds no participant folder (sub-<label>)")
    description = bids_dir / "dataset_description.json"
    if description.exists():
        read_json_object(description)  # pybids fails on some broken ones without naming them
    visited = found
    if participant_labels and database_dir is None:
        visited = tuple(label for label in found if label in set(participant_labels))
    ignore: list[re.Pattern[str]] = [_OTHER_DATA, *_looping_links(bids_dir, visited)]
    if len(visited) < len(found):
        others = sorted(set(found) - set(visited))
        ignore.append(re.compile(rf"^/sub-({'|'.join(map(re.escape, others))})(/|$)"))
    if database_dir is not None:
        try:
            database_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise OutputError(f"{database_dir} cannot be written: {err.strerror}") from err
    indexer = BIDSLayoutIndexer(validate=validate, ignore=ignore, index_metadata=False)
    return BIDSLayout(bids_dir, validate=False, indexer=indexer, database_path=database_dir)


def _looping_links(bids_dir: Path, labels: Sequence[str]) -> list[re.Pattern[str]]:
    """Return patterns for folders that are, through a link, one of the folders above them."""
    found = []

    def visit(folder: Path, above: frozenset[str]) -> None:
        real = os.path.realpath(folder)
        relative = "/" + folder.relative_to(bids_dir).as_posix()
        if real in above:
            found.append(re.compile(rf"^{re.escape(relative)}(/|$)"))
        elif not _OTHER_DATA.search(relative):
            for entry in os.scandir(folder):
                if entry.is_dir():
                    visit(Path(entry.path), above | {real})

    root = frozenset({os.path.realpath(bids_dir)})
    for label in labels:
        visit(bids_dir / f"sub-{label}", root)
    return found
