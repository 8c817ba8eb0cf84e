"""Run a workflow so that every failure ends in a sentence and none in a hang."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype import config as nipype_config
from nipype.pipeline import plugins
from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.engine.cluster_plugin import cluster_plugin
from qsm_pipeline.engine.failures import Failure, read_crash_file
from qsm_pipeline.engine.local_plugin import ProcessPerNodePlugin
from qsm_pipeline.engine.node_processes import set_environment
from qsm_pipeline.engine.node_time import node_seconds
from qsm_pipeline.engine.plugins import LOCAL_PLUGINS, name_of, on_cluster
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.io.locks import NameLocks

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a workflow ended.

    Parameters
    ----------
    failures : tuple of Failure
        Nodes that failed; those that only waited for them are not listed.
    finished : frozenset of str
        Full names of the nodes that ended well.
    seconds : mapping of str to float
        What each of them took.
    """

    failures: tuple[Failure, ...]
    finished: frozenset[str]
    seconds: Mapping[str, float] = field(default_factory=dict)


def run_workflow(
    workflow: Workflow,
    crash_dir: Path,
    resources: Resources,
    *,
    stop_on_first_crash: bool = False,
    plugin: Mapping[str, Any] | None = None,
    watch: Callable[[Node, str], None] | None = None,
    locks: Sequence[NameLocks] = (),
) -> Outcome:
    """Run a workflow to its end, whatever fails on the way.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        With a base directory.
    crash_dir : pathlib.Path
        Where crash files go, as text.
    resources : Resources
        What the nodes may use together.
    stop_on_first_crash : bool
        Do not start anything after the first failure, and end what runs.
    plugin : mapping, optional
        From `qsm_pipeline.engine.plugins.check_plugin`: another nipype plugin.
    watch : callable, optional
        Gets each node whose status changes, with ``start``, ``end`` or ``exception``.
    locks : sequence of NameLocks
        Held by the nodes too, so that nobody else starts while one of them still runs.

    Returns
    -------
    Outcome
    """
    set_environment(resources.omp_nthreads)
    work_dir = Path(workflow.base_dir)
    elsewhere = on_cluster(plugin)
    if elsewhere and re.search(r"[^\w/.,+=@-]", str(work_dir)):
        raise ConfigError(
            f"the work folder {work_dir} has a space or a special character in its path, which "
            f"nipype's plugin {plugin['plugin']} gives to a shell; choose another with --work-dir"
        )
    _configure(workflow, crash_dir, stop_on_first_crash, poll_s=5 if elsewhere else 0.01)
    before = set(crash_dir.glob("crash-*"))
    seconds: dict[str, float] = {}

    def note(node: Node, status: str) -> None:
        if status == "end":
            seconds[node.fullname] = node_seconds(node)
        if watch is not None:
            watch(node, status)

    runner = _runner(plugin or {}, resources, work_dir, note, locks)
    error = None
    gc.freeze()  # nipype collects at every poll, which would look at all that is imported
    try:
        workflow.run(plugin=runner)
    except Exception as caught:
        LOGGER.debug("The workflow ended with an error", exc_info=caught)
        error = caught
    finally:
        gc.unfreeze()
        if isinstance(runner, ProcessPerNodePlugin):
            runner.stop()
    if isinstance(runner, ProcessPerNodePlugin):
        failures = runner.failures
    else:
        new = sorted(set(crash_dir.glob("crash-*")) - before)
        failures = [read_crash_file(path, work_dir) for path in new]
    if error is not None and not failures:
        failures = [Failure(workflow.name, "", " ".join(str(error).split()), "")]
    return Outcome(tuple(failures), frozenset(seconds), seconds)


def _configure(
    workflow: Workflow, crash_dir: Path, stop_on_first_crash: bool, poll_s: float
) -> None:
    settings = {
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "check_version": "false",
        "create_report": "false",
        "hash_method": "timestamp",
        "poll_sleep_duration": str(poll_s),
        "job_finished_timeout": "30",  # of a cluster, whose shared folder may show results late
        "remove_unnecessary_outputs": "false",
    }
    own = {**settings, "crashdump_dir": str(crash_dir)}  # nipype's parser takes no % in a path
    workflow.config["execution"] = {**workflow.config.get("execution", {}), **own}
    nipype_config.update_config({"execution": settings, "monitoring": {"enabled": "false"}})


def _runner(
    plugin: Mapping[str, Any],
    resources: Resources,
    work_dir: Path,
    note: Any,
    locks: Sequence[NameLocks],
) -> plugins.base.PluginBase:
    """Return the plugin object; MultiProc by name is ours too, because nipype's own can hang."""
    name = name_of(plugin)
    arguments = {**plugin.get("plugin_args", {}), "status_callback": note}
    if name == "Linear":
        return plugins.LinearPlugin(plugin_args=arguments)
    if name not in LOCAL_PLUGINS:
        return cluster_plugin(name, arguments, work_dir)
    limits = {
        "n_procs": resources.nprocs,
        "memory_gb": resources.mem_gb,
        "n_gpu_procs": 1,  # one node at a time on the device, whose memory is not counted
        "raise_insufficient": False,
    }
    return ProcessPerNodePlugin({**limits, **arguments}, work_dir, locks)
