"""Run a workflow so that every failure ends in a sentence and none in a hang."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype import config as nipype_config
from nipype.pipeline import plugins
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.base import DistributedPluginBase, PluginBase

from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.workflows.plugins import ProcessPerNodePlugin, SerialPlugin

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A node that failed.

    Parameters
    ----------
    run : str
        Name of the run's workflow.
    node : str
        Name of the node in it.
    message : str
        Last line of its error.
    crash_file : str
        The whole error as text.
    """

    run: str
    node: str
    message: str
    crash_file: str


def run_workflow(
    workflow: Workflow,
    crash_dir: Path,
    *,
    nprocs: int,
    mem_gb: float,
    stop_on_first_crash: bool = False,
    plugin: Mapping[str, Any] | None = None,
    worker_setup: Callable[[], None] | None = None,
) -> list[Failure]:
    """Run a workflow to its end, whatever fails on the way.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        With a base directory.
    crash_dir : pathlib.Path
        Where crash files go, as text.
    nprocs : int
        Processes at once.
    mem_gb : float
        Memory that nodes may claim together.
    stop_on_first_crash : bool
        Do not start anything after the first failure.
    plugin : dict, optional
        ``{"plugin": name, "plugin_args": {...}}`` of another nipype plugin.
    worker_setup : callable, optional
        Called first in each process of a node, such as to set up its log; picklable.

    Returns
    -------
    list of Failure
        Nodes that failed; those that only waited for them are not listed.

    Raises
    ------
    ConfigError
        If the plugin cannot be used.
    """
    os.environ.setdefault("LOGNAME", "qsm-pipeline")  # nipype's cluster plugins insist on it
    crash_dir.mkdir(parents=True, exist_ok=True)
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logger = logging.getLogger(name)  # nipype sets level and handlers when it is imported
        logger.handlers.clear()
        logger.setLevel(logging.getLogger().level)
    settings = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "check_version": "false",
        "hash_method": "timestamp",
        "poll_sleep_duration": "0.2",
        "remove_unnecessary_outputs": "false",
    }
    failures: list[Failure] = []
    runner = _make_runner(plugin, nprocs, mem_gb, worker_setup)
    _record_failures(runner, failures)
    if isinstance(runner, ProcessPerNodePlugin):
        settings["poll_sleep_duration"] = "0"  # it waits for its processes itself
    workflow.config["execution"] = {**workflow.config.get("execution", {}), **settings}
    nipype_config.update_config({"execution": settings, "monitoring": {"enabled": "false"}})
    try:
        with _termination_raises():
            workflow.run(plugin=runner)
    except Exception:
        if not failures:  # not a node but the graph, or the machine
            raise
        LOGGER.debug("The workflow ended with an error", exc_info=True)
    finally:
        if isinstance(runner, ProcessPerNodePlugin):
            runner.end()
    return failures


def _make_runner(
    plugin: Mapping[str, Any] | None,
    nprocs: int,
    mem_gb: float,
    worker_setup: Callable[[], None] | None,
) -> PluginBase:
    name = "MultiProc" if nprocs > 1 else "Linear"
    given: Mapping[str, Any] = {}
    if plugin is not None:
        if not isinstance(plugin.get("plugin"), str):
            raise ConfigError(f"The nipype plugin file needs a key plugin, got {list(plugin)}")
        name, given = plugin["plugin"], plugin.get("plugin_args", {})
        if not isinstance(given, Mapping):
            raise ConfigError(f"plugin_args of the nipype plugin must be a table, got {given!r}")
    if name == "Linear":
        return SerialPlugin(dict(given))
    if name == "MultiProc":
        defaults = {"n_procs": nprocs, "memory_gb": mem_gb, "raise_insufficient": False}
        return ProcessPerNodePlugin({**defaults, "worker_setup": worker_setup, **given})
    kind = getattr(plugins, f"{name}Plugin", None)
    if not (isinstance(kind, type) and issubclass(kind, DistributedPluginBase)):
        raise ConfigError(
            f"The nipype plugin {name!r} cannot be used: expected Linear, MultiProc or one that "
            "waits for its jobs, such as SLURM, SGE or PBS"
        )
    try:
        return kind(plugin_args=dict(given))
    except Exception as error:  # a plugin may look for anything when it is made
        raise ConfigError(f"The nipype plugin {name!r} cannot be used: {error}") from error


def _record_failures(runner: PluginBase, failures: list[Failure]) -> None:
    """Have every crash file that the runner writes listed as well."""
    write: Callable[..., str] = runner._report_crash

    def report(node: Any, result: Mapping[str, Any] | None = None) -> str:
        path = write(node, result=result)
        *_, run, name = ["", *node.fullname.split(".")]
        failures.append(Failure(run, name, _last_line((result or {}).get("traceback")), path))
        return path

    runner._report_crash = report


def _last_line(traceback: str | Sequence[str] | None) -> str:
    """Return the message of the error without the name of its class."""
    text = "".join(traceback or "").strip()
    message = text.splitlines()[-1].strip() if text else "no message"
    head, _, tail = message.partition(": ")
    return tail if tail and head.replace(".", "").replace("_", "").isalnum() else message


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM, as cluster schedulers send it, end the run like Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
