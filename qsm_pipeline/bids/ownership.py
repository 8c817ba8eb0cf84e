"""Whose an output folder is: one product's, of one data set, and nothing leads out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from qsm_pipeline.bids.naming import folder
from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError, ConfigError

PRODUCT = "qsm-pipeline"
RAW = "raw"
"""Name of the raw data set in the links of the derivatives."""


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
    if other != bids_dir.as_uri():
        raise ConfigError(
            f"{out_dir} holds results of {other}, not of {bids_dir.as_uri()}, whose participants "
            f"may have the same labels; choose another output folder. If the data set was moved, "
            f"remove {path}, and it is made again"
        )


def leading_out(out_dir: Path, runs: Iterable[GreRun]) -> list[Skipped]:
    """Return the runs whose folders are links to somewhere outside the output folder.

    Raises
    ------
    ConfigError
        If the folder of logs is one, which all runs need.
    """
    root = os.path.realpath(out_dir)

    def outside(below: Path) -> str:
        real = os.path.realpath(out_dir / below)
        return "" if real.startswith(root + os.sep) else real

    for logs in (Path("logs"), Path("logs/done"), Path("logs/slurm")):
        if target := outside(logs):
            raise ConfigError(f"{out_dir / logs} is a link to {target}; replace it by a folder")
    skipped = []
    for run in runs:
        named = [Path(folder(run.entities, name)) for name in ("anat", "fmap")]
        for below in (*named, Path(f"sub-{run.subject}") / "figures"):
            if target := outside(below):
                reason = (
                    f"{out_dir / below} leads to {target}, outside the output folder, where "
                    "nothing is written; replace the link by a folder"
                )
                skipped.append(Skipped(f"{run.prefix}_{run.suffix}", reason, run.subject))
                break
    return skipped
