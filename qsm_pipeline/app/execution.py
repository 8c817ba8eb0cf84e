"""Build the workflow of the runs that are to be done, and run it."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Workflow

from qsm_pipeline import __version__
from qsm_pipeline.app.code import code_hash
from qsm_pipeline.app.display import Display, Echo
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.app.progress import Progress
from qsm_pipeline.app.summary import Summary
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.engine.local_plugin import quiet_nipype
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.engine.runner import run_workflow
from qsm_pipeline.engine.work_folder import make_private, refuse_links
from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.workflows.names import node_name
from qsm_pipeline.workflows.run import init_run_wf


@dataclass(frozen=True)
class Execution:
    """How runs are computed.

    Parameters
    ----------
    out_dir, work_dir : pathlib.Path
        Derivatives, and intermediate files.
    resources : Resources
        What the nodes may use together.
    methods : mapping
        Every key of `qsm_pipeline.steps.settings.METHOD_DEFAULTS`.
    plugin : mapping, optional
        From `qsm_pipeline.engine.plugins.check_plugin`.
    keep_work, stop_on_first_crash, write_graph : bool
        As the options of the command.
    """

    out_dir: Path
    work_dir: Path
    resources: Resources
    methods: Mapping[str, Any]
    plugin: Mapping[str, Any] | None = None
    keep_work: bool = False
    stop_on_first_crash: bool = False
    write_graph: bool = False


def execute(
    how: Execution,
    runs: Sequence[GreRun],
    ledger: Ledger,
    summary: Summary,
    locks: Sequence[NameLocks],
    display: Display,
) -> None:
    """Compute runs, and note in the ledger and the summary what became of them.

    Parameters
    ----------
    how : Execution
        Folders, methods and resources.
    runs : sequence of GreRun
        At least one.
    ledger, summary
        What is noted.
    locks : sequence of NameLocks
        Held by the nodes too.
    display : Display
        Shows what runs.
    """
    echo = display.echo
    quiet_nipype(logging.getLogger().level)
    logs = how.out_dir / "logs"
    make_private(how.work_dir / workflow_name())
    workflow = init_participants_wf(
        runs=runs,
        out_dir=how.out_dir,
        work_dir=how.work_dir,
        resources=how.resources,
        fail=summary.note_failure,
        **how.methods,
    )
    runs = [run for run in runs if workflow.get_node(node_name(run)) is not None]
    if not runs:
        return
    _note_memory(workflow, how.resources.mem_gb, echo)
    if how.write_graph:
        _write_graph(workflow, runs[0], logs, echo)
    progress = _watch(workflow, runs, ledger, keep_work=how.keep_work, display=display)
    display.follow(progress.lines)
    outcome = run_workflow(
        workflow,
        logs,
        how.resources,
        stop_on_first_crash=how.stop_on_first_crash,
        plugin=how.plugin,
        locks=locks,
        watch=progress.note,
    )
    summary.note_outcome(outcome, workflow.name)


def workflow_name() -> str:
    """Return the name of the workflow and of its folder.

    Folders are kept apart by version and code, because a new one may compute something else from
    the same inputs.
    """
    version = re.sub(r"\W", "_", __version__)
    return f"qsm_{version}_{code_hash()}"


def init_participants_wf(
    *,
    runs: Sequence[GreRun],
    out_dir: Path,
    work_dir: Path,
    resources: Resources,
    fail: Callable[[GreRun, Exception], None] | None = None,
    **methods: Any,
) -> Workflow:
    """Build the workflow of several runs, which do not depend on each other.

    Parameters
    ----------
    runs : sequence of GreRun
        From `qsm_pipeline.bids.collect.collect_runs`.
    out_dir, work_dir : pathlib.Path
        Derivatives, and intermediate files.
    resources : Resources
        Threads and device of the nodes.
    fail : callable, optional
        Gets a run whose nodes cannot be built and the error, and the others go on; without it
        the error is raised.
    **methods
        Passed to `qsm_pipeline.workflows.run.init_run_wf`.

    Returns
    -------
    nipype.pipeline.engine.Workflow
    """
    workflow = Workflow(workflow_name(), base_dir=str(work_dir))
    for run in runs:
        try:
            refuse_links(work_dir / workflow.name / node_name(run))
            built = init_run_wf(
                run=run,
                out_dir=out_dir,
                device=resources.device,
                omp_nthreads=resources.omp_nthreads,
                **methods,
            )
        except Exception as error:
            if fail is None:
                raise
            fail(run, error)
        else:
            workflow.add_nodes([built])
    return workflow


def _watch(
    workflow: Workflow,
    runs: Sequence[GreRun],
    ledger: Ledger,
    *,
    keep_work: bool,
    display: Display,
) -> Progress:
    """Write down which runs are finished, and remove their intermediate files."""
    by_name = {node_name(run): run for run in runs}
    folder = Path(workflow.base_dir) / workflow.name

    def close(name: str, written: list[str], seconds: float) -> None:
        try:
            ledger.close_run(by_name[name], written, seconds)
        except (OSError, OutputError) as error:  # its files stay, so the next start resumes
            prefix = by_name[name].prefix
            display.echo(f"note on {prefix}: {error}; it will be looked through again")
        else:
            if not keep_work:
                shutil.rmtree(folder / name, ignore_errors=True)

    labels = {name: run.prefix for name, run in by_name.items()}
    return Progress(workflow, labels, display.echo, close, drawn=display.live)


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
