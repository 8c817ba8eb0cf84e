"""The gradient-echo images of a raw data set: found in its folders, or by an index of pybids."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qsm_pipeline.bids.files import file_size
from qsm_pipeline.bids.selection import SUFFIXES
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, NoInputError
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.io.writing import cannot_write

if TYPE_CHECKING:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

_OTHER_DATA = re.compile(
    r"^/(code|models|sourcedata|stimuli|derivatives|phenotype)(/|$)"
    r"|/(func|dwi|eeg|ieeg|meg|micr|motion|nirs|perf|pet|beh|mrs|fmap)(/|$)"
    r"|/\.|\.(json|tsv|tsv\.gz|bval|bvec|md|txt|html)$"
)
_GRADIENT_ECHO = re.compile(rf"(^|_)({'|'.join(SUFFIXES)})\.nii(\.gz)?$")
_DATABASE = "layout_index.sqlite"
_PARTIAL = "partial-"
_MAX_LEVELS = 8
"""Of folders in that of a participant."""


def participants(bids_dir: Path) -> tuple[str, ...]:
    """Return the labels, without ``sub-``, of every participant folder."""
    try:
        entries = sorted(os.scandir(bids_dir), key=lambda e: e.name)
    except OSError as err:
        raise NoInputError(f"{bids_dir} cannot be read: {err.strerror}") from err
    return tuple(e.name[4:] for e in entries if e.name.startswith("sub-") and e.is_dir())


def sessions(bids_dir: Path) -> tuple[str, ...]:
    """Return the labels, without ``ses-``, of the session folders of all participants."""
    found = {
        folder.name[4:]
        for label in participants(bids_dir)
        for folder in (bids_dir / f"sub-{label}").glob("ses-*")
    }
    return tuple(sorted(found))


@dataclass(frozen=True)
class Index:
    """The gradient-echo images of a data set.

    Parameters
    ----------
    root : pathlib.Path
        The data set.
    images : tuple of pathlib.Path
        Sorted; whatever their names say else.
    database : pathlib.Path, optional
        The index of pybids that lists them; they were looked for in the folders without one.
    """

    root: Path
    images: tuple[Path, ...]
    database: Path | None = None


def index(
    bids_dir: Path,
    participant_labels: Sequence[str] | None = None,
    database_dir: Path | None = None,
) -> Index:
    """Find the gradient-echo images of a raw data set.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set.
    participant_labels : sequence of str, optional
        Without ``sub-``; the others are not even visited, so that an array job over many
        participants stays fast. A database always holds everybody.
    database_dir : pathlib.Path, optional
        Where pybids keeps its index, which is used again if it exists already; images that have
        come since are found all the same. Without it the folders are read, for which pybids is
        not imported.

    Returns
    -------
    Index
        Without metadata, see `qsm_pipeline.bids.sidecar`.

    Raises
    ------
    BIDSInputError
        If the folder is no data set, or the database is broken or of another one.
    OutputError
        If the database cannot be written.
    """
    bids_dir = bids_dir.absolute()
    if not bids_dir.is_dir():
        raise NoInputError(f"{bids_dir} is not a folder; expected a BIDS data set")
    found = participants(bids_dir)
    if not found:
        raise NoInputError(f"{bids_dir} holds no participant folder (sub-<label>)")
    description = bids_dir / "dataset_description.json"
    if description.exists():
        read_json_object(description)  # pybids fails on some broken ones without naming them
    if database_dir is not None:
        return _of_database(bids_dir, database_dir, found)
    wanted = set(participant_labels or found)
    images, _ = _visited(bids_dir, [label for label in found if label in wanted])
    return Index(bids_dir, tuple(sorted(images)))


def _of_database(bids_dir: Path, database_dir: Path, labels: Sequence[str]) -> Index:
    from bids.layout import BIDSLayoutIndexer

    walked, impassable = _visited(bids_dir, labels)
    ignore: list[re.Pattern[str]] = [_OTHER_DATA, *impassable]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=False)
    layout = _kept(bids_dir, database_dir, indexer)
    found = layout.get(
        suffix=list(SUFFIXES), extension=[".nii", ".nii.gz"], return_type="filename"
    )
    images = {*map(Path, found), *walked}  # what has come since the index was made is seen too
    return Index(bids_dir, tuple(sorted(images)), database_dir / _DATABASE)


def _kept(bids_dir: Path, database_dir: Path, indexer: BIDSLayoutIndexer) -> BIDSLayout:
    """Open a database, or make it first."""
    database = database_dir / _DATABASE
    if not database.exists():
        _make_database(bids_dir, database, indexer)
    file_size(database)  # of a pipe SQLite would wait for ever
    root = _root(database)  # first, as pybids does not open the index of a folder that is gone
    if root and Path(root).resolve() != bids_dir.resolve():
        raise BIDSInputError(
            f"{database} is the index of {root}, expected one of {bids_dir}; give another "
            "--bids-database-dir, or delete it if the data set was moved"
        )
    layout = _opened(database_dir)
    if layout is None:
        raise BIDSInputError(
            f"{database} is not a whole database of pybids; delete it, and it is made again"
        )
    return layout


def _root(database: Path) -> str:
    """Return the data set that a database is of, empty if it does not say."""
    with suppress(sqlite3.Error), closing(_read_only(database)) as opened:
        (root,) = opened.execute("SELECT root FROM layout_info").fetchone() or ("",)
        return str(root)
    return ""


def _read_only(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)


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
            from bids.layout import BIDSLayout

            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
            BIDSLayout(bids_dir, validate=False, indexer=indexer, database_path=partial)
            os.replace(partial / _DATABASE, database)
            partial.rmdir()
    except OSError as err:
        raise cannot_write(folder, err) from err
    finally:
        locks.close()


def _opened(database_dir: Path) -> BIDSLayout | None:
    """Return the layout of a database, or None if it cannot be read."""
    from bids.layout import BIDSLayout
    from sqlalchemy.exc import SQLAlchemyError

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
    with closing(_read_only(database)) as opened:
        other = opened.execute(
            "SELECT 1 FROM sqlite_master "
            "WHERE sql NOT LIKE 'CREATE TABLE %' AND sql NOT LIKE 'CREATE INDEX %'"
        )
        return other.fetchone() is None


def _visited(bids_dir: Path, labels: Sequence[str]) -> tuple[list[Path], list[re.Pattern[str]]]:
    """Return the gradient-echo images of participants, and what pybids cannot pass by.

    These are folders that are, through a link, one of the folders above them, links that end in
    themselves, names that are no text, folders that cannot be read, and what lies in a folder that
    is a link, below the place of images: it may lead to a whole file system.
    """
    images: list[Path] = []
    impassable = []

    def visit(folder: Path, above: frozenset[str], levels: int) -> None:
        real = os.path.realpath(folder)
        relative = "/" + folder.relative_to(bids_dir).as_posix()
        if folder.is_symlink():
            levels = min(levels, _levels_to_images(folder.name))
            impassable.append(re.compile(rf"^{re.escape(relative)}(/[^/]+){{{levels + 1}}}/"))
        if real in above:
            impassable.append(_exactly(relative))
        elif not _OTHER_DATA.search(relative):
            try:
                for entry in os.scandir(folder):
                    if not _is_passable(entry):
                        impassable.append(_exactly(f"{relative}/{entry.name}"))
                    elif entry.is_dir():
                        if levels:
                            visit(Path(entry.path), above | {real}, levels - 1)
                    elif _GRADIENT_ECHO.search(entry.name) and not entry.name.startswith("."):
                        images.append(Path(entry.path))
            except OSError:
                impassable.append(_exactly(relative))

    root = frozenset({os.path.realpath(bids_dir)})
    with os.scandir(bids_dir) as entries:
        impassable += [_exactly(f"/{entry.name}") for entry in entries if not _is_passable(entry)]
    for label in labels:
        visit(bids_dir / f"sub-{label}", root, _MAX_LEVELS)
    return images, impassable


def _levels_to_images(name: str) -> int:
    """Return how many folders lie between one of a name and the images of a participant."""
    return 2 if name.startswith("sub-") else 1 if name.startswith("ses-") else 0


def _is_passable(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode()
        entry.is_dir()
    except (UnicodeEncodeError, OSError):  # bytes that are no UTF-8, a link to itself
        return False
    return True


def _exactly(relative: str) -> re.Pattern[str]:
    return re.compile(rf"^{re.escape(relative)}(/|$)")
