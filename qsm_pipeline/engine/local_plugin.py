"""A process for each node, so that one that is killed takes nothing with it."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from traceback import format_exception
from typing import Any, ClassVar

# isort: off
import qsm_pipeline.engine.nipype_defaults  # noqa: F401, before any other nipype

# isort: on
import numpy as np
from nipype.pipeline.engine import Node
from nipype.pipeline.plugins import MultiProcPlugin
from nipype.pipeline.plugins.multiproc import run_node

from qsm_pipeline.engine.failures import Failure, failure_of
from qsm_pipeline.engine.node_processes import holding_back, start_server
from qsm_pipeline.engine.resources import die_first
from qsm_pipeline.io.locks import NameLocks, end_with

LOGGER = logging.getLogger(__name__)
_POLL_S = 0.2


@dataclass(frozen=True)
class _Task:
    node: Node
    process: BaseProcess
    pipe: Connection


class ProcessPerNodePlugin(MultiProcPlugin):
    """nipype's MultiProc with a new process for each node instead of a pool.

    A worker of a pool that is killed, by the kernel for its memory or by a user, breaks the pool:
    nipype then waits for ever, and innocent nodes are lost with it. Here only the node that it
    ran fails. The memory of a node, on the GPU too, is free again when it ends. The processes are
    forked from a server that has imported the numerics but never used them, because a child of
    a process that has used OpenMP threads may wait for them for ever. They end with the process
    that started them, however that ends.

    No more runs are open at once than there are cores, the oldest first: runs are finished, and
    the work directory stays small, instead of all being read before the first is inverted. Of
    a run, `CheckedNode.rank` tells what comes first.

    Parameters
    ----------
    plugin_args : dict
        Those of MultiProc.
    work_dir : pathlib.Path
        Named in messages.
    locks : sequence of NameLocks
        Held by every process that is started.

    Attributes
    ----------
    failures : list of Failure
        In the order in which they happened.
    """

    _server_is_ready: ClassVar = False
    """Whether it has answered once: it lives as long as this process."""

    def __init__(
        self, plugin_args: dict[str, Any], work_dir: Path, locks: Sequence[NameLocks] = ()
    ) -> None:
        super().__init__(plugin_args={"mp_context": "forkserver", **plugin_args})
        self.failures: list[Failure] = []
        self._work_dir = work_dir
        self._server = start_server()
        self._running: dict[int, _Task] = {}
        self._locks = list(locks)
        self._lifeline, self._alive = self._server.Pipe(duplex=False)

    def stop(self) -> None:
        """End what still runs."""
        for task in self._running.values():
            task.process.kill()
            task.process.join()
        self._running.clear()

    def _generate_dependency_list(self, graph: Any) -> None:
        super()._generate_dependency_list(graph)
        runs = [".".join(node.fullname.split(".")[:2]) for node in self.procs]
        _, first, of_node = np.unique(runs, return_index=True, return_inverse=True)
        self._age = first[of_node]  # of the run of each node, by its first node

    def _sort_jobs(self, jobids: np.ndarray, scheduler: str | None = None) -> list[int]:
        """Return the jobs that may be started: the oldest runs first, and in them by rank."""
        age = self._age
        rank = [getattr(node, "rank", 0.0) for node in self.procs]
        opened = np.intersect1d(age[~self.proc_done | self.proc_pending], age[self.proc_done])
        ready = sorted(jobids, key=lambda job: (age[job], rank[job], job))
        fresh = list(dict.fromkeys(age[job] for job in ready if age[job] not in opened))
        allowed = {*opened, *fresh[: max(0, self.processors - len(opened))]}
        return [job for job in ready if age[job] in allowed]

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        """Start what may be started, and wait until one of those that run has ended."""
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if pipes := [task.pipe for task in self._running.values()]:
            wait(pipes, _POLL_S)

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        self._taskid += 1
        # the server answers when it has loaded all, and meanwhile another core can read a run
        early = not (
            self._server_is_ready or self.processors < 2 or getattr(node, "computes", True)
        )
        context: ForkServerContext | SpawnContext = self._server
        if early:
            context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_work,
            args=(sender, node, updatehash, self._taskid, logging.getLogger().level),
            kwargs={"lifeline": self._lifeline, "held": self._locks},
            daemon=True,
        )
        with holding_back(signal.SIGINT):
            process.start()
        ProcessPerNodePlugin._server_is_ready |= not early
        sender.close()
        self._running[self._taskid] = _Task(node, process, receiver)
        return self._taskid

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        task = self._running[taskid]
        if not task.pipe.poll():  # a dead process has closed its end, which counts as readable
            return None
        try:
            result = task.pipe.recv()
        except EOFError:
            result = None
        task.process.join()
        if result is None:
            reason = f"RuntimeError: {_cause_of_death(task)}\n"
            return {"result": None, "taskid": taskid, "traceback": [reason]}
        return dict(result)

    def _clear_task(self, taskid: int) -> None:
        self._running.pop(taskid).pipe.close()

    def _report_crash(self, node: Node, result: dict[str, Any] | None = None) -> str:
        traceback = "".join(result["traceback"]) if result else ""
        try:  # nipype makes a text or a list of it, and can only write down a list
            crash_file = super()._report_crash(
                node, result=result and {**result, "traceback": [traceback]}
            )
        except OSError:  # the disk is full: the message is all there is
            crash_file = ""
        self.failures.append(failure_of(node.fullname, traceback, self._work_dir, crash_file))
        return str(crash_file)


def quiet_nipype(level: int) -> None:
    """Let nipype log what it does, but not print each traceback: the crash files have them."""
    for name in ("nipype", "nipype.workflow", "nipype.interface", "nipype.utils"):
        logger = logging.getLogger(name)
        logger.handlers.clear()  # it makes its own, which would print everything a second time
        logger.setLevel(level if level < logging.WARNING else logging.CRITICAL)


def _work(
    pipe: Connection,
    node: Node,
    updatehash: bool,
    taskid: int,
    level: int,
    *,
    lifeline: Connection,
    held: Sequence[int],
) -> None:
    """Run a node in a process of its own and send back what nipype wants to know.

    ``held`` are the locks, which are open as long as this process lives.
    """
    end_with(lifeline)
    die_first()
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    quiet_nipype(level)
    if getattr(node, "computes", True):
        import torch  # which the server of nodes has loaded

        torch.set_num_threads(max(1, node.n_procs))
    try:
        result = run_node(node, updatehash, taskid)
    except Exception as error:  # noqa: BLE001, it wanted the result that a node could not write
        reason = format_exception(error.__context__ or error)
        result = {"result": None, "taskid": taskid, "traceback": reason}
    pipe.send(result)
    pipe.close()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    LOGGER.debug("%s: %.2f GB at most, expected %.2f", node.fullname, peak_gb, node.mem_gb)


def _cause_of_death(task: _Task) -> str:
    code = task.process.exitcode or 0
    if code == -signal.SIGKILL:
        return (
            f"the process of node {task.node.name} was killed (SIGKILL), as a rule because memory "
            f"ran out (it was expected to need {task.node.mem_gb:.1f} GB); give --mem-gb or fewer "
            "--nprocs, or ask the cluster for more memory"
        )
    if code < 0:
        return f"the process of node {task.node.name} was ended by {signal.Signals(-code).name}"
    return f"the process of node {task.node.name} ended with status {code} and no result"
