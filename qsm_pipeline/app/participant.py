"""Run all participants: check, collect, build, execute, report."""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Workflow

from qsm_pipeline import __version__
from qsm_pipeline.app.checks import (
    check_folders,
    check_methods,
    check_regions,
    too_few_echoes,
    validate_bids,
    with_absolute_paths,
)
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.app.pages import write_pages
from qsm_pipeline.app.progress import Progress
from qsm_pipeline.app.settings import read_mapping, to_toml
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_atomic, write_dataset_files
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.run import Collection, GreRun
from qsm_pipeline.engine.local_plugin import quiet_nipype
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.engine.runner import check_plugin, on_cluster, run_workflow
from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.io.locks import NameLocks, lock_all
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.memory import too_large
from qsm_pipeline.workflows.run import init_run_wf, node_name

Echo = Callable[[str], None]


def run_participants(
    *,
    bids_dir: Path,
    out_dir: Path,
    echo: Echo = print,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filter_file: Path | None = None,
    skip_bids_validation: bool = False,
    bids_database_dir: Path | None = None,
    derivatives: Sequence[Path] = (),
    mask_pattern: str = "",
    work_dir: Path | None = None,
    keep_work: bool = False,
    nprocs: int | None = None,
    omp_nthreads: int | None = None,
    mem_gb: float | None = None,
    device: str = "auto",
    nipype_plugin_file: Path | None = None,
    stop_on_first_crash: bool = False,
    write_graph: bool = False,
    dry_run: bool = False,
    reports_only: bool = False,
    **methods: Any,
) -> bool:
    """Process every run of the chosen participants.

    Every parameter but the first three is an option of the command and a key of its TOML file.

    Parameters
    ----------
    bids_dir, out_dir : pathlib.Path
        Raw data set and derivatives.
    echo : callable
        Prints one line.
    participant_label, session_label, derivatives, mask_pattern
        See `qsm_pipeline.bids.collect.collect_runs`.
    bids_filter_file : pathlib.Path, optional
        The filters of `collect_runs` as JSON or TOML.
    skip_bids_validation : bool
        Do not run the validator.
    bids_database_dir, work_dir : pathlib.Path, optional
        Index to be kept; intermediate files, by default in ``out_dir``.
    keep_work : bool
        Keep the intermediate files of a run that ended well, so that with other methods only what
        depends on them is computed again.
    nprocs, omp_nthreads, mem_gb, device : optional
        See `qsm_pipeline.engine.resources.Resources`.
    nipype_plugin_file : pathlib.Path, optional
        Another nipype plugin, see `qsm_pipeline.engine.runner.check_plugin`.
    stop_on_first_crash, write_graph, dry_run, reports_only : bool
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
        If folders overlap, or a parameter or a file of settings is wrong.
    BIDSInputError
        If a participant does not exist.
    OutputError
        If the output folder cannot be written.
    """
    settings = {
        k: v for k, v in locals().items() if k not in ("bids_dir", "out_dir", "echo", "methods")
    }
    quiet_nipype(logging.getLogger().level)
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    work_dir = Path(work_dir or out_dir / "work").resolve()
    check_folders(bids_dir, output=out_dir, work=work_dir)
    methods = check_methods({**METHOD_DEFAULTS, **methods})
    methods["inversion_params"] = with_absolute_paths(methods["inversion_params"] or {})
    resources = Resources.resolve(nprocs, omp_nthreads, mem_gb, device)
    plugin = _plugin(nipype_plugin_file)
    memory_gb = math.inf if on_cluster(plugin) else resources.mem_gb
    if not (skip_bids_validation or dry_run or reports_only):
        validate_bids(bids_dir, echo)
    found = collect(
        bids_dir, participant_label, session_label, bids_filter_file, bids_database_dir,
        mask_pattern, derivatives,
    )  # fmt: skip
    found = found.without(too_few_echoes(found.runs, methods))
    check_regions(found.runs, methods)
    if dry_run:
        found = found.without(too_large(found.runs, memory_gb))
    summary = Summary(found, echo)
    summary.list_found(dry_run=dry_run)
    if dry_run:
        return False
    if not found.runs:
        return summary.close(out_dir)
    start = time.monotonic()
    if reports_only:
        summary.note_missing_maps(out_dir)
        write_pages(summary, out_dir, whole=not participant_label)
    else:
        _prepare_output(bids_dir, out_dir, work_dir, settings | methods | asdict(resources))
        with _reserve(summary, out_dir, work_dir) as locks:
            ledger = Ledger(out_dir, methods)
            runs = ledger.open_runs(summary.found.runs)
            summary.note_finished(runs)
            summary.skip(too_large(runs, memory_gb))
            runs = [run for run in runs if run in summary.found.runs]
            if runs:
                workflow = init_participants_wf(
                    runs=runs, out_dir=out_dir, work_dir=work_dir, resources=resources, **methods
                )
                _note_memory(workflow, resources.mem_gb, echo)
                if write_graph:
                    _write_graph(workflow, runs[0], out_dir / "logs", echo)
                outcome = run_workflow(
                    workflow, out_dir / "logs", resources,
                    stop_on_first_crash=stop_on_first_crash, plugin=plugin, locks=locks,
                    watch=_watch(workflow, runs, ledger, keep_work=keep_work, echo=echo).note,
                )  # fmt: skip
                summary.note_outcome(outcome, workflow.name)
                summary.note_warnings(out_dir)
            write_pages(summary, out_dir, whole=not participant_label)
    echo(f"finished in {time.monotonic() - start:.0f} s")
    return summary.close(out_dir)


def init_participants_wf(
    *, runs: Sequence[GreRun], out_dir: Path, work_dir: Path, resources: Resources, **methods: Any
) -> Workflow:
    """Build the workflow of several runs, which do not depend on each other.

    Parameters
    ----------
    runs : sequence of GreRun
        From `qsm_pipeline.bids.collect.collect_runs`.
    out_dir, work_dir : pathlib.Path
        Derivatives, and intermediate files. These are kept apart by version, because a new one
        may compute something else from the same inputs.
    resources : Resources
        Threads and device of the nodes.
    **methods
        Passed to `qsm_pipeline.workflows.run.init_run_wf`.

    Returns
    -------
    nipype.pipeline.engine.Workflow
    """
    workflow = Workflow("qsm_" + re.sub(r"\W", "_", __version__), base_dir=str(work_dir))
    workflow.add_nodes(
        [
            init_run_wf(
                run=run, out_dir=out_dir, device=resources.device,
                omp_nthreads=resources.omp_nthreads, **methods,
            )
            for run in runs
        ]
    )  # fmt: skip
    return workflow


def _plugin(file: Path | None) -> Mapping[str, Any] | None:
    return None if file is None else check_plugin(read_mapping(Path(file)), Path(file))


def collect(
    bids_dir: Path,
    participants: Sequence[str],
    sessions: Sequence[str],
    filter_file: Path | None,
    database_dir: Path | None,
    mask_pattern: str,
    derivatives: Sequence[Path],
) -> Collection:
    """Index a data set and find its runs; see `run_participants`."""
    filters = read_mapping(Path(filter_file)) if filter_file else None
    labels = [label.removeprefix("sub-") for label in participants] or None
    layout = index(bids_dir, labels, Path(database_dir) if database_dir else None)
    return collect_runs(
        layout, labels, sessions or None, filters, mask_pattern, [Path(d) for d in derivatives]
    )


def _prepare_output(
    bids_dir: Path, out_dir: Path, work_dir: Path, settings: Mapping[str, Any]
) -> None:
    """Make the folders, describe the data set and write down how it is made.

    One participant has a file of settings of its own, as the next may run at the same time.
    """
    labels = [label.removeprefix("sub-") for label in settings["participant_label"]]
    name = f"config_sub-{labels[0]}.toml" if len(labels) == 1 else "config.toml"
    try:
        write_dataset_files(out_dir, bids_dir)
        work_dir.mkdir(parents=True, exist_ok=True)
        header = f"# qsm-pipeline {__version__}: {bids_dir} to {out_dir}, for --config-file\n"
        write_atomic(out_dir / "logs" / name, (header + to_toml(settings)).encode())
    except OSError as error:
        raise OutputError(f"{error.filename} cannot be written: {error.strerror}") from None


@contextmanager
def _reserve(summary: Summary, out_dir: Path, work_dir: Path) -> Iterator[list[NameLocks]]:
    """Lock the participants, and leave those out that another process works on."""
    locks = [NameLocks(folder / "locks.txt") for folder in (out_dir / "logs", work_dir)]
    try:
        subjects = sorted({run.subject for run in summary.found.runs})
        summary.leave_out(
            {
                subject: f"is being processed by {holder}; wait until that has ended, or end it "
                "and start again"
                for subject, holder in lock_all(locks, subjects).items()
            }
        )
        yield locks
    finally:
        for each in locks:
            each.close()


def _watch(
    workflow: Workflow, runs: Sequence[GreRun], ledger: Ledger, *, keep_work: bool, echo: Echo
) -> Progress:
    """Write down which runs are finished, and remove their intermediate files."""
    by_name = {node_name(run): run for run in runs}
    folder = Path(workflow.base_dir) / workflow.name

    def close(name: str, written: list[str], seconds: float) -> None:
        try:
            ledger.close_run(by_name[name], written, seconds)
        except (OSError, OutputError) as error:  # its files stay, so the next start resumes
            echo(f"note on {by_name[name].prefix}: {error}; it will be looked through again")
        else:
            if not keep_work:
                shutil.rmtree(folder / name, ignore_errors=True)

    labels = {name: run.prefix for name, run in by_name.items()}
    return Progress(workflow, labels, echo, close)


def _note_memory(workflow: Workflow, mem_gb: float, echo: Echo) -> None:
    needed = max(workflow.get_node(name).mem_gb for name in workflow.list_node_names())
    if needed > mem_gb:
        echo(
            f"note: a node may need {needed:.1f} GB, more than the {mem_gb:.1f} GB that may be "
            "used; it runs alone"
        )


def _write_graph(workflow: Workflow, run: GreRun, folder: Path, echo: Echo) -> None:
    """Write the graph of one run, as the others are alike."""
    drawn = shutil.which("dot") is not None
    target = folder / "graph.dot"
    one = workflow.get_node(node_name(run))
    one.write_graph(str(target), graph2use="colored", format="svg" if drawn else "dot")
    if drawn:
        echo(f"graph of {run.prefix} in {target.with_suffix('.svg')}")
    else:
        echo(f"graph of {run.prefix} in {target}; to draw it, install graphviz (dot is not there)")
