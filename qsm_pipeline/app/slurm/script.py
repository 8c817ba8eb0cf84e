"""A Slurm job array over participants, as one script that submits, audits and resubmits itself."""

from __future__ import annotations

import math
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from qsm_pipeline import __version__
from qsm_pipeline.app.checks import (
    check_folders,
    check_methods,
    check_reference,
    check_regions,
    check_start,
    too_few_echoes,
)
from qsm_pipeline.app.choice import chosen_participants, collect
from qsm_pipeline.app.participant import Echo
from qsm_pipeline.app.settings import absolute, to_toml
from qsm_pipeline.app.slurm.audit import counted
from qsm_pipeline.app.units import Unit, units_of
from qsm_pipeline.app.validation import validate_bids
from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.naming import is_label
from qsm_pipeline.bids.ownership import check_owner, leading_out
from qsm_pipeline.bids.run import Collection, GreRun
from qsm_pipeline.bids.selection import with_files
from qsm_pipeline.engine.resources import PARENT_GB
from qsm_pipeline.exceptions import BIDSInputError, ConfigError, NothingToDoError
from qsm_pipeline.io.writing import cannot_write
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.memory import run_memory_gb, volume_size_gb

_SPARE = 1.25
_CORES = 4
_MINUTES = 20
_MINUTES_PER_MILLION_VALUES = 0.5
"""Of one run; a value is a voxel of an echo. The default chain needs 0.7 CPU-s for a million."""
_SCRIPT, _MAX_BYTES = "script.txt", 2**14
"""Says in the folder of an array which script it belongs to."""
_OF_EACH_TASK = (
    "participant_label",
    "exclude_participant_label",
    "work_dir",
    "bids_database_dir",
    "nprocs",
    "mem_gb",
    "skip_bids_validation",
    "dry_run",
    "reports_only",
    "write_graph",
)
"""Settings that the script gives to each task, or that make no sense for one."""


@dataclass(frozen=True)
class SlurmOptions:
    """What the script asks of Slurm beside what follows from the data.

    Parameters
    ----------
    script : pathlib.Path
        To be written.
    options : str
        Options of sbatch, such as ``--account=x --partition=long``.
    container : pathlib.Path, optional
        Apptainer image that the tasks run in.
    """

    script: Path
    options: str = ""
    container: Path | None = None


def write_slurm_array(
    slurm: SlurmOptions, *, bids_dir: Path, out_dir: Path, echo: Echo = print, **settings: Any
) -> None:
    """Write the script, its list of participants, their settings and the index that they share.

    Parameters
    ----------
    slurm : SlurmOptions
        The script and what it asks for.
    bids_dir, out_dir : pathlib.Path
        Raw data set and derivatives.
    echo : callable
        Prints one line.
    **settings
        Those of `qsm_pipeline.app.participant.run_participants`.

    Raises
    ------
    ConfigError
        If folders overlap or a setting is wrong.
    NothingToDoError
        If no run can be mapped.
    BIDSInputError
        If a participant does not exist.
    OutputError
        If the output folder cannot be written.
    """
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    work_dir = Path(settings["work_dir"] or out_dir / "work").resolve()
    index_dir = Path(settings["bids_database_dir"] or work_dir / "index").resolve()
    script, options = slurm.script.resolve(), _words(slurm.options)
    check_folders(bids_dir, output=out_dir, work=work_dir, script=script.parent)
    check_owner(out_dir, bids_dir)
    leading_out(out_dir, ())
    names = ("participant_label", "exclude_participant_label", "session_label")
    settings |= {name: with_files(settings[name]) for name in names}
    chosen = chosen_participants(bids_dir, *(settings[name] for name in names[:2]))
    methods = METHOD_DEFAULTS | {k: v for k, v in settings.items() if k in METHOD_DEFAULTS}
    check_reference(check_methods(methods)["reference"], settings["reference_pattern"])
    check_start(settings["start_from"], methods, settings["bids_filter_file"])
    if not settings["skip_bids_validation"]:
        validate_bids(
            bids_dir,
            echo,
            out_dir,
            chosen or (),
            [label.removeprefix("ses-") for label in settings["session_label"]],
        )
    found = collect(
        index(bids_dir, chosen, index_dir),
        chosen,
        settings["session_label"],
        settings["bids_filter_file"],
        settings["mask_pattern"],
        settings["derivatives"],
        settings["segmentation"],
        settings["reference_pattern"],
        settings["start_from"],
    )
    found = found.without(too_few_echoes(found.runs, methods))
    found = found.without(leading_out(out_dir, found.runs))
    check_regions(found.runs, methods)
    for skipped in found.skipped:
        fate = "will fail as it is" if _is_line(skipped.subject) else "gets no task"
        echo(f"{fate}: {skipped.what}: {skipped.reason}")
    labels = _labels(found, settings["session_label"])
    if not found.runs:
        raise NothingToDoError(found.nothing, found.exit_code)
    cores = settings["nprocs"] or _CORES
    memory_mb, minutes = _memory_mb(found.runs), _minutes(found.runs, settings["session_label"])
    derivatives = [Path(d).resolve() for d in settings["derivatives"]]
    plain = {k: absolute(v) for k, v in settings.items() if k not in _OF_EACH_TASK}
    plain["skip_bids_validation"] = True  # done above, once for all
    logs = _folder_of(script, out_dir)
    text = _template().render(
        version=__version__,
        bids_dir=bids_dir,
        out_dir=out_dir,
        work_dir=work_dir,
        index_dir=index_dir,
        logs=logs,
        cores=cores,
        memory_mb=memory_mb,
        minutes=minutes,
        participants=len(labels),
        parent_mb=math.ceil(PARENT_GB * 1024),
        gpu=str(settings["device"]).startswith("cuda"),
        options=options,
        container=slurm.container and slurm.container.resolve(),
        python="python3" if slurm.container else sys.executable,
        read_only=[bids_dir, *derivatives, *_read_by(plain)],
    )
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        write_atomic(script, text.encode())
        with suppress(OSError):  # some shared file systems have no modes; it is started by bash
            script.chmod(0o755)
        (logs / "submitted.tsv").unlink(missing_ok=True)  # what other settings made is not done
        write_atomic(logs / _SCRIPT, f"{script}\n".encode())
        write_atomic(logs / "participants.txt", "".join(f"{x}\n" for x in labels).encode())
        write_atomic(logs / "config.toml", to_toml(plain).encode())
    except OSError as error:
        raise cannot_write(error.filename, error) from None
    echo(
        f"{script}: {counted(len(labels))}, for each {cores} core(s), {memory_mb} MiB "
        f"and {minutes} min; start it with: bash {shlex.quote(str(script))} submit"
    )


def _folder_of(script: Path, out_dir: Path) -> Path:
    """Return where the files of an array lie; those of another script keep theirs."""
    folder = first = out_dir / "logs" / "slurm"
    for number in count(1):
        try:
            owner = read_limited(folder / _SCRIPT, _MAX_BYTES).decode(errors="replace").strip()
        except BIDSInputError:
            break
        if owner == str(script):
            break
        folder = first / (script.stem if number == 1 else f"{script.stem}-{number}")
    return folder


def _labels(found: Collection, sessions: Sequence[str]) -> list[str]:
    """Return what has a task: participants, or with ``--session-label`` their sessions."""
    labels = {unit.label for unit in units_of(found, sessions)}
    odd = {skipped.subject for skipped in found.skipped if not is_label(skipped.subject)}
    return sorted(labels | set(filter(_is_line, odd)))


def _is_line(label: str) -> bool:
    """Return whether a label can be a line of a list."""
    return bool(label) and label.isprintable()


def _words(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise ConfigError(f"--slurm-options {options!r} cannot be split: {error}") from None


def _memory_mb(runs: Sequence[GreRun]) -> int:
    """Return what a task needs that runs the nodes of the largest run one after the other."""
    return math.ceil(1024 * _SPARE * (PARENT_GB + max(map(run_memory_gb, runs))))


def _minutes(runs: Sequence[GreRun], sessions: Sequence[str]) -> int:
    """Return the time for the task with the most data."""
    million_values: Counter[str] = Counter()
    tasks = [Unit(run.subject, (run.session or "") if sessions else "").label for run in runs]
    number = Counter(tasks)
    for run, task in zip(runs, tasks, strict=True):
        values = volume_size_gb(run) * 2**30 / 4 * len(run.echo_times_s)
        million_values[task] += values / 1e6
    return math.ceil(
        max(
            number[task] * _MINUTES + amount * _MINUTES_PER_MILLION_VALUES
            for task, amount in million_values.items()
        )
    )


def _read_by(settings: Mapping[str, Any]) -> list[Path]:
    """Return the files and the folders of masks that settings name."""
    masks = [
        Path(settings[key].partition("{")[0] + "x").parent
        for key in ("mask_pattern", "reference_pattern")
    ]
    files = [value for value in settings.values() if isinstance(value, Path)]
    return [*files, *(folder for folder in masks if folder.is_absolute())]


def _template() -> Any:
    environment = Environment(  # a shell script: each value goes through the filter sh
        loader=PackageLoader("qsm_pipeline", "data"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    return environment.get_template("slurm_array.sh.jinja")
