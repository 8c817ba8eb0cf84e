"""The output folder before a run: its files of the data set, its settings, its locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.settings import absolute, to_toml
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.app.units import Unit
from qsm_pipeline.bids.derivatives import write_atomic, write_dataset_files
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.exceptions import printable
from qsm_pipeline.io.locks import NameLocks, lock_all
from qsm_pipeline.io.writing import cannot_write


def prepare_output(
    bids_dir: Path,
    out_dir: Path,
    work_dir: Path,
    settings: Mapping[str, Any],
    resources: Resources,
) -> None:
    """Make the folders, describe the data set and write down how it is made.

    One participant or session has a file of settings of its own, as the next may run at the same
    time. What this machine has is a remark, so that the settings repeat the run on another one.
    """
    chosen = {"sub": settings["participant_label"], "ses": settings["session_label"]}
    named = [
        f"_{key}-{labels[0].removeprefix(f'{key}-')}"
        for key, labels in chosen.items()
        if len(labels) == 1
    ]
    name = f"config{''.join(named)}.toml"
    try:
        write_dataset_files(out_dir, bids_dir)
        work_dir.mkdir(parents=True, exist_ok=True)
        where = printable(f"{bids_dir} to {out_dir}")
        header = (
            f"# qsm-pipeline {__version__}: {where}, for --config-file\n# ran on {resources}\n"
        )
        plain = {key: absolute(value) for key, value in settings.items()}
        write_atomic(out_dir / "logs" / name, (header + to_toml(plain)).encode())
    except OSError as error:
        raise cannot_write(error.filename, error) from None


@contextmanager
def reserve(
    summary: Summary, units: Sequence[Unit], out_dir: Path, work_dir: Path
) -> Iterator[list[NameLocks]]:
    """Lock participants or sessions, and leave those out that another process works on."""
    locks = [NameLocks(folder / "locks.txt") for folder in (out_dir / "logs", work_dir)]
    try:
        held = lock_all(locks, [unit.lock for unit in units])
        for each in locks:
            if each.lacking:
                summary.note(
                    f"{each.path.parent} is on a file system without locks ({each.lacking}): do "
                    "not start the same participant twice at a time"
                )
        summary.leave_out(
            {
                unit: f"is being processed by {held[unit.lock]}; wait until that has ended, or "
                "end it and start again"
                for unit in units
                if unit.lock in held
            }
        )
        yield locks
    finally:
        for each in locks:
            each.close()
