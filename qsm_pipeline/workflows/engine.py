"""Run a workflow so that every failure ends in a sentence and none in a hang."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype import config as nipype_config
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins import MultiProcPlugin

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


class SafeMultiProcPlugin(MultiProcPlugin):
    """nipype's MultiProc, except that a killed worker is an error instead of an endless wait."""

    def _get_result(self, taskid: int) -> Any:
        result = super()._get_result(taskid)
        if result is not None:
            return result
        future = self._task_obj.get(taskid)
        if future is None or not future.done() or future.exception() is None:
            return None
        reason = type(future.exception()).__name__
        return {
            "result": None,
            "taskid": taskid,
            "traceback": [
                f"RuntimeError: the worker process died ({reason}), as a rule killed for using "
                "too much memory; give --mem-gb or fewer --nprocs\n"
            ],
        }


def run_workflow(
    workflow: Workflow,
    crash_dir: Path,
    *,
    nprocs: int,
    mem_gb: float,
    stop_on_first_crash: bool = False,
    plugin: dict[str, Any] | None = None,
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

    Returns
    -------
    list of Failure
        Nodes that failed; those that only waited for them are not listed.
    """
    os.environ.setdefault("LOGNAME", "qsm-pipeline")  # nipype's cluster plugins insist on it
    crash_dir.mkdir(parents=True, exist_ok=True)
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logger = logging.getLogger(name)  # nipype sets level and handlers when it is imported
        logger.handlers.clear()
        logger.setLevel(logging.getLogger().level)
    before = set(crash_dir.glob("crash-*"))
    settings = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "check_version": "false",
        "hash_method": "timestamp",
        "poll_sleep_duration": "0.2",
        "remove_unnecessary_outputs": "false",
    }
    workflow.config["execution"] = {**workflow.config.get("execution", {}), **settings}
    nipype_config.update_config({"execution": settings, "monitoring": {"enabled": "false"}})
    if plugin:
        chosen, arguments = plugin["plugin"], plugin.get("plugin_args", {})
    elif nprocs == 1:
        chosen, arguments = "Linear", {}
    else:
        # a forked child of a process that has used OpenMP threads may wait for them for ever
        arguments = {
            "n_procs": nprocs,
            "memory_gb": mem_gb,
            "raise_insufficient": False,
            "mp_context": "forkserver",
        }
        chosen = SafeMultiProcPlugin(plugin_args=arguments)
    try:
        workflow.run(plugin=chosen, plugin_args=arguments)
    except Exception as error:
        LOGGER.debug("The workflow ended with an error", exc_info=error)
        failures = [_failure(path) for path in sorted(set(crash_dir.glob("crash-*")) - before)]
        return failures or [Failure(workflow.name, "", str(error).strip().splitlines()[-1], "")]
    return []


def _failure(path: Path) -> Failure:
    text = path.read_text(errors="replace")
    node = ""
    for line in text.splitlines():
        if line.startswith("Node: "):
            node = line.removeprefix("Node: ").strip()
            break
    text = text.split("When creating this crashfile, the results file")[0]  # nipype's own remark
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    message = lines[-1] if lines else "no message"
    head, _, tail = message.partition(": ")
    if tail and head.replace(".", "").isalnum():
        message = tail
    parts = node.split(".")
    return Failure(parts[-2] if len(parts) > 1 else node, parts[-1], message, str(path))
