"""Run all participants: check, collect, build, execute, report."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline import __version__
from qsm_pipeline.app.checks import (
    check_folders,
    check_methods,
    check_reference,
    check_regions,
    check_start,
    too_few_echoes,
    with_absolute_paths,
)
from qsm_pipeline.app.choice import chosen_participants, collect
from qsm_pipeline.app.command_log import CommandLog
from qsm_pipeline.app.display import Display, command_began
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.app.preparation import prepare_output, reserve
from qsm_pipeline.app.settings import read_mapping
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.app.units import units_of
from qsm_pipeline.app.validation import validate_bids
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.ownership import check_owner, leading_out
from qsm_pipeline.bids.run import Collection, GreRun
from qsm_pipeline.bids.selection import with_files
from qsm_pipeline.engine.node_processes import holding_back, set_environment, start_server
from qsm_pipeline.engine.plugins import check_plugin, forks_nodes, on_cluster
from qsm_pipeline.engine.resources import Resources, check_device_name
from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.steps.methods import STAGES
from qsm_pipeline.steps.settings import METHOD_DEFAULTS
from qsm_pipeline.workflows.memory import too_large

Echo = Callable[[str], None]


def run_participants(
    *,
    bids_dir: Path,
    out_dir: Path,
    echo: Echo = print,
    participant_label: Sequence[str] = (),
    exclude_participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filter_file: Path | None = None,
    skip_bids_validation: bool = False,
    bids_database_dir: Path | None = None,
    derivatives: Sequence[Path] = (),
    mask_pattern: str = "",
    reference_pattern: str = "",
    start_from: str = "phase",
    segmentation: str = "",
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
) -> ExitCode:
    """Process every run of the chosen participants.

    Every parameter but the first three is an option of the command and a key of its TOML file.

    Parameters
    ----------
    bids_dir, out_dir : pathlib.Path
        Raw data set and derivatives.
    echo : callable
        Prints one line.
    participant_label, session_label, derivatives, mask_pattern
    segmentation, reference_pattern
        See `qsm_pipeline.bids.collect.collect_runs`.
    start_from : {"phase", "fieldmap"}
        The raw images, or the total field that `qsm_pipeline.bids.field_maps` finds.
    exclude_participant_label : sequence of str
        Participants that are left out.
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
        Another nipype plugin, see `qsm_pipeline.engine.plugins.check_plugin`.
    stop_on_first_crash, write_graph, dry_run, reports_only : bool
        As the options of the command.
    **methods
        Passed to `qsm_pipeline.workflows.run.init_run_wf`.

    Returns
    -------
    ExitCode
        OK unless something failed, was left out for a fault, or nothing was run.

    Raises
    ------
    ConfigError
        If folders overlap, or a parameter or a file of settings is wrong.
    BIDSInputError
        If a participant does not exist.
    OutputError
        If the output folder cannot be written.
    """
    participant_label, exclude_participant_label, session_label = map(
        with_files, (participant_label, exclude_participant_label, session_label)
    )
    settings = {
        k: v for k, v in locals().items() if k not in ("bids_dir", "out_dir", "echo", "methods")
    }
    start = command_began()
    bids_dir, out_dir = Path(bids_dir).resolve(), Path(out_dir).resolve()
    work_dir = Path(work_dir or out_dir / "work").resolve()
    check_folders(bids_dir, output=out_dir, work=work_dir)
    chosen = chosen_participants(bids_dir, participant_label, exclude_participant_label)
    check_owner(out_dir, bids_dir)
    methods = check_methods({**METHOD_DEFAULTS, **methods})
    check_reference(methods["reference"], reference_pattern)
    check_start(start_from, methods, bids_filter_file)
    methods["inversion_params"] = with_absolute_paths(methods["inversion_params"] or {})
    check_device_name(device)
    computes = not (dry_run or reports_only)  # if not, the device need not be looked for
    plugin = _plugin(nipype_plugin_file)
    with CommandLog("participant") as log, Display(echo, quiet=not computes, log=log) as display:
        if computes:
            display.echo(f"qsm-pipeline {__version__}: {bids_dir} to {out_dir}")
            display.stage("looking at this machine")
        resources = Resources.resolve(nprocs, omp_nthreads, mem_gb, device if computes else "cpu")
        memory_gb = math.inf if on_cluster(plugin) else resources.mem_gb
        display.stage("reading the data set")
        found = collect(
            index(bids_dir, chosen, bids_database_dir and Path(bids_database_dir)),
            chosen,
            session_label,
            bids_filter_file,
            mask_pattern,
            derivatives,
            segmentation,
            reference_pattern,
            start_from,
            excluded=exclude_participant_label,
        )
        found = found.without(too_few_echoes(found.runs, methods))
        found = found.without(leading_out(out_dir, found.runs))
        check_regions(found.runs, methods)
        if dry_run:
            found = found.without(too_large(found.runs, memory_gb))
        summary = Summary(found, display.echo)
        if dry_run:
            summary.list_found(dry_run=True)
        if not (reports_only or skip_bids_validation):  # late: it takes a second or more
            display.stage("checking the data set with the BIDS validator")
            validate_bids(
                bids_dir,
                display.echo,
                None if dry_run else out_dir,
                chosen or (),
                [label.removeprefix("ses-") for label in session_label],
            )
        if not dry_run:
            summary.list_found(dry_run=False)
        if dry_run:
            return found.exit_code
        if not found.runs:
            return summary.close(out_dir, time.monotonic() - start)
        if computes:
            display.echo(_header(found, resources, methods))
        display.stage("preparing")
        from qsm_pipeline.app.pages import write_pages

        if reports_only:
            log.begin(out_dir / "logs")
            summary.note_missing_maps(out_dir)
            units = units_of(found, session_label)
            write_pages(summary, out_dir, units, whole=not participant_label, again=True)
            return summary.close(out_dir, time.monotonic() - start)
        prepare_output(bids_dir, out_dir, work_dir, settings | methods, resources)
        log.begin(out_dir / "logs")
        units = units_of(found, session_label)
        with reserve(summary, units, out_dir, work_dir) as locks:
            ledger = Ledger(out_dir, methods)
            runs = _unfinished(ledger, summary)
            summary.note_finished(runs)
            summary.skip(too_large(runs, memory_gb))
            runs = [run for run in runs if run in summary.found.runs]
            if runs:
                if forks_nodes(plugin):
                    set_environment(resources.omp_nthreads)
                    start_server()
                with holding_back(signal.SIGINT, signal.SIGTERM):
                    import qsm_pipeline.engine.nipype_defaults  # noqa: F401, before other nipype
                    from qsm_pipeline.app.execution import Execution, execute

                execution = Execution(
                    out_dir,
                    work_dir,
                    resources,
                    methods,
                    plugin,
                    keep_work=keep_work,
                    stop_on_first_crash=stop_on_first_crash,
                    write_graph=write_graph,
                )
                execute(execution, runs, ledger, summary, locks, display)
                summary.note_warnings(out_dir)
            display.stage("writing the pages")
            units = units_of(summary.found, session_label)
            write_pages(summary, out_dir, units, whole=not participant_label)
        return summary.close(out_dir, time.monotonic() - start)


def _header(found: Collection, resources: Resources, methods: Mapping[str, Any]) -> str:
    """Say in one line what is going to run, and on what."""
    people = len({run.subject for run in found.runs})
    chosen = [str(methods[stage.setting]) for stage in STAGES if stage.setting]
    return (
        f"{len(found.runs)} run(s) of {people} participant(s), on {resources}; "
        f"methods: {', '.join(chosen)}"
    )


def _unfinished(ledger: Ledger, summary: Summary) -> list[GreRun]:
    """Return the runs that are to be done; one whose record cannot be replaced has failed."""
    runs: list[GreRun] = []
    for run in summary.found.runs:
        try:
            if ledger.open_run(run):
                runs.append(run)
        except (OSError, OutputError) as error:
            summary.note_failure(run, error)
    ledger.remove_partial_files(runs)
    return runs


def _plugin(file: Path | None) -> Mapping[str, Any] | None:
    return None if file is None else check_plugin(read_mapping(Path(file)), Path(file))
