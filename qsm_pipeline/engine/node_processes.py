"""The processes of nodes: their environment, and the server that they are forked from."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

from qsm_pipeline.engine.resources import (
    limit_threads,
    trust_no_current_folder,
    tune_memory,
    use_short_temporary_folder,
)
from qsm_pipeline.engine.temporary import claim_sockets

PRELOADED = ["qsm_pipeline.workflows.node_server"]


def set_environment(threads: int) -> None:
    """Set what child processes that are started from now on find in their environment.

    Parameters
    ----------
    threads : int
        Of each.
    """
    os.environ.setdefault("LOGNAME", "qsm-pipeline")  # nipype's cluster plugins insist on it
    trust_no_current_folder()
    limit_threads(threads)
    tune_memory()
    use_short_temporary_folder()
    claim_sockets()


def start_server() -> ForkServerContext:
    """Start the server that nodes are forked from, unless it runs, and return how to use it.

    It imports what nodes need, which takes seconds: on another core, if it is started early. It
    has the environment of this moment, see :func:`set_environment`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with holding_back(signal.SIGINT):
        forkserver.ensure_running()
    return context


@contextmanager
def holding_back(*signals: signal.Signals) -> Iterator[None]:
    """Hear signals afterwards only: an exception in the middle of an import may be lost.

    Processes that are started meanwhile never hear them. Of Ctrl-C that is right: the command
    hears it, and ends them.
    """
    resource_tracker.ensure_running()  # which would undo it when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
