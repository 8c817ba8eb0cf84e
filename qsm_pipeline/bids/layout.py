"""The pybids index of a raw data set."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bids.layout import BIDSLayout, BIDSLayoutIndexer
from sqlalchemy.exc import SQLAlchemyError

from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, OutputError
from qsm_pipeline.io.locks import NameLocks

_OTHER_DATA = re.compile(
    r"^/(code|models|sourcedata|stimuli|derivatives|phenotype)(/|$)"
    r"|/(func|dwi|eeg|ieeg|meg|micr|motion|nirs|perf|pet|beh|mrs|fmap)(/|$)"
    r"|/\.|\.(json|tsv|tsv\.gz|bval|bvec|md|txt|html)$"
)
_DATABASE = "layout_index.sqlite"
_PARTIAL = "partial-"


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
        Where pybids keeps its index; used as it is if it exists already, whatever has changed in
        the data set since.
    validate : bool
        Leave out files that pybids thinks are not BIDS.

    Returns
    -------
    bids.layout.BIDSLayout
        Without metadata, see `qsm_pipeline.bids.sidecar`.

    Raises
    ------
    BIDSInputError
        If the folder is no data set, or the database is broken or of another one.
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
    ignore: list[re.Pattern[str]] = [_OTHER_DATA, *_impassable(bids_dir, visited)]
    if len(visited) < len(found):
        others = sorted(set(found) - set(visited))
        ignore.append(re.compile(rf"^/sub-({'|'.join(map(re.escape, others))})(/|$)"))
    indexer = BIDSLayoutIndexer(validate=validate, ignore=ignore, index_metadata=False)
    if database_dir is None:
        return BIDSLayout(bids_dir, validate=False, indexer=indexer)
    return _kept(bids_dir, database_dir, indexer)


def _kept(bids_dir: Path, database_dir: Path, indexer: BIDSLayoutIndexer) -> BIDSLayout:
    """Open a database, or make it first."""
    database = database_dir / _DATABASE
    if not database.exists():
        _make_database(bids_dir, database, indexer)
    layout = _opened(database_dir)
    if layout is None:
        raise BIDSInputError(
            f"{database} is not a whole database of pybids; delete it, and it is made again"
        )
    if Path(str(layout.root)).resolve() != bids_dir.resolve():
        raise BIDSInputError(
            f"{database} is the index of {layout.root}, expected one of {bids_dir}; give another "
            "--bids-database-dir"
        )
    return layout


def _make_database(bids_dir: Path, database: Path, indexer: BIDSLayoutIndexer) -> None:
    """Make a database beside its place and move it there: a half one looks like a whole one.

    Of several processes one does it, and the others wait.
    """
    folder = database.parent
    locks = NameLocks(folder / "locks.txt")
    try:
        locks.acquire("index", float("inf"))
        if not database.exists():
            for left in folder.glob(f"{_PARTIAL}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
            BIDSLayout(bids_dir, validate=False, indexer=indexer, database_path=partial)
            os.replace(partial / _DATABASE, database)
            partial.rmdir()
    except OSError as err:
        raise OutputError(f"{folder} cannot be written: {err.strerror}") from err
    finally:
        locks.close()


def _opened(database_dir: Path) -> BIDSLayout | None:
    """Return the layout of a database, or None if it cannot be read."""
    try:
        if not _holds_only_tables(database_dir / _DATABASE):
            return None
        layout = BIDSLayout(validate=False, database_path=database_dir)
        layout.get(subject="", return_type="filename")
    except (sqlite3.Error, SQLAlchemyError, AttributeError, ValueError, TypeError, OSError):
        return None
    return layout


def _holds_only_tables(database: Path) -> bool:
    """Return whether all that a database holds is stored: a view in it may never end."""
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
        other = opened.execute(
            "SELECT 1 FROM sqlite_master "
            "WHERE sql NOT LIKE 'CREATE TABLE %' AND sql NOT LIKE 'CREATE INDEX %'"
        )
        return other.fetchone() is None


def _impassable(bids_dir: Path, labels: Sequence[str]) -> list[re.Pattern[str]]:
    """Return patterns for what pybids cannot pass by.

    These are folders that are, through a link, one of the folders above them, links that end in
    themselves, names that are no text, and folders that cannot be read.
    """
    found = []

    def visit(folder: Path, above: frozenset[str]) -> None:
        real = os.path.realpath(folder)
        relative = "/" + folder.relative_to(bids_dir).as_posix()
        if real in above:
            found.append(_exactly(relative))
        elif not _OTHER_DATA.search(relative):
            try:
                for entry in os.scandir(folder):
                    if not _is_passable(entry):
                        found.append(_exactly(f"{relative}/{entry.name}"))
                    elif entry.is_dir():
                        visit(Path(entry.path), above | {real})
            except OSError:
                found.append(_exactly(relative))

    root = frozenset({os.path.realpath(bids_dir)})
    with os.scandir(bids_dir) as entries:
        found += [_exactly(f"/{entry.name}") for entry in entries if not _is_passable(entry)]
    for label in labels:
        visit(bids_dir / f"sub-{label}", root)
    return found


def _is_passable(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode()
        entry.is_dir()
    except (UnicodeEncodeError, OSError):  # bytes that are no UTF-8, a link to itself
        return False
    return True


def _exactly(relative: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(relative)}(/|$)")
