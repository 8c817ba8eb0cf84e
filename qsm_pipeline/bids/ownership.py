"""Whose an output folder is: one product's, of one data set, and nothing leads out of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.layout import index, participants
from qsm_pipeline.bids.naming import folder
from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, ConfigError

PRODUCT = "qsm-pipeline"
RAW = "raw"
"""Name of the raw data set in the links of the derivatives."""
OWN_KEY = "QSMPipeline"
"""What is of this product alone in a file of BIDS stands under this key."""
_SAMPLE, _MOST_VISITED = 3, 20


def check_owner(out_dir: Path, bids_dir: Path) -> None:
    """Refuse an output folder that belongs to another product or another data set.

    Parameters
    ----------
    out_dir : pathlib.Path
        May not exist.
    bids_dir : pathlib.Path
        The raw data set, absolute.

    Raises
    ------
    ConfigError
        With whose it is, and what to do.
    """
    path = out_dir / "dataset_description.json"
    if not os.path.lexists(path):
        return
    try:
        found = read_json_object(path)
    except BIDSInputError as error:
        raise ConfigError(
            f"Whose the output folder is cannot be told: {error}; if it is of {PRODUCT}, remove "
            "that file, and it is made again"
        ) from None
    makers = found.get("GeneratedBy")
    first = makers[0] if isinstance(makers, list) and makers else None
    maker = first.get("Name") if isinstance(first, dict) else None
    if maker != PRODUCT:
        raise ConfigError(
            f"{out_dir} is a data set of {maker or 'somebody else'} and not of {PRODUCT}; choose "
            "another output folder, such as one below it"
        )
    links = found.get("DatasetLinks")
    other = links.get(RAW) if isinstance(links, dict) else None
    if other != bids_dir.as_uri() and not _is_same(found, bids_dir):
        raise ConfigError(
            f"{out_dir} holds results of {other}, not of {bids_dir.as_uri()}, whose participants "
            f"may have the same labels; choose another output folder. If it is the same data set, "
            f"moved and changed, remove {path}, and it is made again"
        )


def fingerprint(bids_dir: Path) -> dict[str, str]:
    """Return what a raw data set is known by where it is mounted or moved to another path.

    These are the names and sizes of the gradient-echo images of its first participants, by
    label and hashed; what is added later does not change them.
    """
    found: dict[str, str] = {}
    with suppress(BIDSInputError):  # what it is known by is then nothing
        for label in participants(bids_dir)[:_MOST_VISITED]:
            images = index(bids_dir, [label]).images if len(found) < _SAMPLE else ()
            if images:
                facts = [f"{i.relative_to(bids_dir).as_posix()} {_size(i)}" for i in images]
                found[label] = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return found


def _is_same(description: dict[str, Any], bids_dir: Path) -> bool:
    """Return whether results are of the data set, though it had another path."""
    name = read_json_object(bids_dir / "dataset_description.json").get("Name", bids_dir.name)
    own = description.get(OWN_KEY)
    known = own.get("SourceParticipants") if isinstance(own, dict) else None
    if description.get("Name") != f"QSM of {name}" or not isinstance(known, dict):
        return False
    now = fingerprint(bids_dir)
    both = known.keys() & now.keys()
    return bool(both) and all(known[label] == now[label] for label in both)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link to nothing
        return -1


def leading_out(out_dir: Path, runs: Iterable[GreRun]) -> list[Skipped]:
    """Return the runs whose folders are files, or links to somewhere outside the output folder.

    Raises
    ------
    ConfigError
        If the folder of logs is one, which all runs need.
    """
    root = os.path.realpath(out_dir)

    def outside(below: Path) -> str:
        real = os.path.realpath(out_dir / below)
        return "" if real.startswith(root + os.sep) else real

    def blocking(below: Path) -> str:
        parts = below.parts
        above = (out_dir.joinpath(*parts[: n + 1]) for n in range(len(parts)))
        found = next((p for p in above if os.path.lexists(p) and not p.is_dir()), None)
        return f"{found} is no folder; remove it, or replace it by one" if found else ""

    for logs in (Path("logs"), Path("logs/done"), Path("logs/slurm")):
        if target := outside(logs):
            raise ConfigError(f"{out_dir / logs} is a link to {target}; replace it by a folder")
        if reason := blocking(logs):
            raise ConfigError(reason)
    skipped = []
    for run in runs:
        named = [Path(folder(run.entities, name)) for name in ("anat", "fmap")]
        for below in (*named, Path(f"sub-{run.subject}") / "figures"):
            reason = blocking(below)
            if target := outside(below):
                reason = (
                    f"{out_dir / below} leads to {target}, outside the output folder, where "
                    "nothing is written; replace the link by a folder"
                )
            if reason:
                skipped.append(Skipped(f"{run.prefix}_{run.suffix}", reason, run.subject))
                break
    return skipped
