"""Run all participants: collect, build, execute, report."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Workflow

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_atomic, write_dataset_files
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.run import Collection
from qsm_pipeline.exceptions import ConfigError, OutputError
from qsm_pipeline.numerics.background import METHODS as BACKGROUND_METHODS
from qsm_pipeline.numerics.inversion import METHODS as INVERSION_METHODS
from qsm_pipeline.reports.page import render_page
from qsm_pipeline.resources import usable_cores, usable_memory_gb
from qsm_pipeline.workflows.engine import Failure, run_workflow
from qsm_pipeline.workflows.run import init_run_wf, node_name


def run_participants(
    *,
    bids_dir: Path,
    out_dir: Path,
    echo: Callable[[str], None],
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filters: Mapping[str, Any] | None = None,
    skip_bids_validation: bool = False,
    bids_database_dir: Path | None = None,
    derivatives: Sequence[Path] = (),
    mask_pattern: str = "",
    work_dir: Path | None = None,
    nprocs: int | None = None,
    omp_nthreads: int | None = None,
    mem_gb: float | None = None,
    plugin: dict[str, Any] | None = None,
    stop_on_first_crash: bool = False,
    write_graph: bool = False,
    dry_run: bool = False,
    **methods: Any,
) -> bool:
    """Process every run of the chosen participants.

    Parameters
    ----------
    bids_dir, out_dir : pathlib.Path
        Raw data set and derivatives.
    echo : callable
        Prints one line.
    participant_label, session_label, bids_filters, derivatives, mask_pattern
        See `qsm_pipeline.bids.collect.collect_runs`.
    skip_bids_validation : bool
        Do not run the validator.
    bids_database_dir, work_dir : pathlib.Path, optional
        Index to be kept; intermediate files, by default in ``out_dir``.
    nprocs, omp_nthreads, mem_gb : optional
        Resources, by default those that the process may use.
    plugin : dict, optional
        Another nipype plugin.
    stop_on_first_crash, write_graph, dry_run : bool
        As the options of the command.
    **methods
        Passed to `qsm_pipeline.workflows.run.init_run_wf`.

    Returns
    -------
    bool
        Whether anything failed or was left out.

    Raises
    ------
    ConfigError
        If folders overlap or a parameter is wrong.
    BIDSInputError
        If a participant does not exist.
    OutputError
        If the output folder cannot be written.
    """
    bids_dir, out_dir = bids_dir.resolve(), out_dir.resolve()
    work_dir = (work_dir or out_dir / "work").resolve()
    _check_folders(bids_dir, out_dir, work_dir)
    _check_parameters(methods)
    if not skip_bids_validation and not dry_run:
        _validate(bids_dir, echo)
    layout = index(
        bids_dir,
        [label.removeprefix("sub-") for label in participant_label] or None,
        bids_database_dir,
    )
    found = collect_runs(
        layout, participant_label or None, session_label or None, bids_filters, mask_pattern,
        derivatives,
    )  # fmt: skip
    for skipped in found.skipped:
        echo(f"skipped {skipped.what}: {skipped.reason}")
    if dry_run:
        for run in found.runs:
            echo(f"would run {run.prefix}: {len(run.echo_times_s)} echo(es), {run.b0_tesla:g} T")
        return False
    if not found.runs:
        echo(f"Nothing to do: no gradient-echo run with phase in {bids_dir}")
        return True
    cores = nprocs or usable_cores()
    threads = omp_nthreads or min(4, cores)
    try:
        write_dataset_files(out_dir, bids_dir)
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out_dir} cannot be written: {error.strerror or error}") from None
    whole = Workflow("qsm", base_dir=str(work_dir))
    whole.add_nodes(
        [
            init_run_wf(run=run, out_dir=out_dir, omp_nthreads=threads, **methods)
            for run in found.runs
        ]
    )
    if write_graph:
        (out_dir / "logs").mkdir(exist_ok=True)
        whole.write_graph(str(out_dir / "logs" / "graph.dot"), graph2use="colored", format="svg")
    start = time.monotonic()
    failures = run_workflow(
        whole,
        out_dir / "logs",
        nprocs=cores,
        mem_gb=mem_gb or usable_memory_gb(),
        stop_on_first_crash=stop_on_first_crash,
        plugin=plugin,
    )
    pages = _write_pages(found, failures, out_dir)
    for failure in failures:
        echo(f"FAILED {failure.run} in {failure.node}: {failure.message} ({failure.crash_file})")
    bad = {f.run for f in failures}
    for run in found.runs:
        if node_name(run) not in bad:
            echo(f"done {run.prefix}")
    echo(f"maps in {out_dir}, reports: {', '.join(str(p) for p in pages)}")
    echo(f"finished in {time.monotonic() - start:.0f} s")
    return bool(failures or found.skipped)


def _check_folders(bids_dir: Path, out_dir: Path, work_dir: Path) -> None:
    if not (bids_dir / "dataset_description.json").is_file():
        raise ConfigError(
            f"{bids_dir} has no dataset_description.json, so it is no BIDS data set; give its root"
        )
    for name, folder in (("output", out_dir), ("work", work_dir)):
        inside = folder == bids_dir or bids_dir in folder.parents
        if inside and bids_dir / "derivatives" not in (folder, *folder.parents):
            raise ConfigError(
                f"The {name} folder {folder} lies in the raw data set, which is never written to; "
                "choose one elsewhere or under its derivatives folder"
            )
    parent = out_dir
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{parent} cannot be written to; choose another output folder")


def _check_parameters(methods: Mapping[str, Any]) -> None:
    for stage, registry in (("background", BACKGROUND_METHODS), ("inversion", INVERSION_METHODS)):
        name = methods[stage]
        try:
            registry[name].params(**methods.get(f"{stage}_params", {}))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{stage}_params for {name}: {error}") from None


def _validate(bids_dir: Path, echo: Callable[[str], None]) -> None:
    # it and the deno that it starts lie beside this Python even if the environment is not active
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        echo("BIDS validation skipped: bids-validator-deno is not installed")
        return
    result = subprocess.run(
        [validator, str(bids_dir), "--ignoreWarnings"],
        capture_output=True, text=True, check=False, env=os.environ | {"PATH": path},
    )  # fmt: skip
    if result.returncode:
        raise ConfigError(
            f"{bids_dir} is not valid BIDS; see bids-validator-deno, or use "
            f"--skip-bids-validation\n{result.stdout.strip()[-2000:]}"
        )


def _write_pages(found: Collection, failures: Sequence[Failure], out_dir: Path) -> list[Path]:
    pages = []
    subjects = sorted(
        {r.subject for r in found.runs} | {s.subject for s in found.skipped if s.subject}
    )
    for subject in subjects:
        runs = [run for run in found.runs if run.subject == subject]
        problems = [f"{s.what}: {s.reason}" for s in found.skipped if s.subject == subject]
        names = {node_name(run): run.prefix for run in runs}
        problems += [
            f"{names[f.run]}, step {f.node}: {f.message}" for f in failures if f.run in names
        ]
        page = out_dir / f"sub-{subject}.html"
        write_atomic(page, render_page(subject, runs, problems, out_dir).encode())
        pages.append(page)
    return pages
