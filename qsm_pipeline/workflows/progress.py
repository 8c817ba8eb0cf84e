"""Follow the runs while they are computed: how many are done, and how long the rest may take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nipype.pipeline.engine import Node, Workflow

OnDone = Callable[[str, list[str], float], None]


class Progress:
    """Prints a line for each run that ends, and says when all its nodes have ended well.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        Holds one workflow for each run.
    labels : dict of str to str
        Name of a run's workflow to what is printed for it.
    echo : callable
        Prints one line.
    on_done : callable
        Gets the name of the run's workflow, the files that its nodes wrote into the derivatives
        (outputs called ``written``), and the seconds since its first node was started.
    """

    def __init__(
        self, workflow: Workflow, labels: dict[str, str], echo: Callable[[str], None],
        on_done: OnDone,
    ) -> None:  # fmt: skip
        self._labels = labels
        self._echo = echo
        self._on_done = on_done
        self._waiting = Counter(name.split(".")[0] for name in workflow.list_node_names())
        self._written: dict[str, list[str]] = {name: [] for name in self._waiting}
        self._began: dict[str, float] = {}
        self._start = time.monotonic()
        self._computed = 0
        self._started: set[str] = set()
        self._ended = 0

    def note(self, node: Node, status: str) -> None:
        """Take in the status that nipype gives a node: ``start``, ``end`` or ``exception``."""
        run = node.fullname.split(".")[1]
        self._began.setdefault(run, time.monotonic())
        if status == "start":
            self._started.add(node.fullname)
        elif status == "exception":
            if run in self._waiting:
                del self._waiting[run]
                self._print(run, f"failed in {node.name}")
        elif status == "end" and run in self._waiting:
            self._computed += node.fullname in self._started  # nothing is started from the cache
            self._waiting[run] -= 1
            self._written[run] += _written(node)
            if not self._waiting[run]:
                del self._waiting[run]
                self._on_done(run, self._written.pop(run), time.monotonic() - self._began[run])
                self._print(run, "done")

    def _print(self, run: str, what: str) -> None:
        self._ended += 1
        total = len(self._labels)
        left = sum(self._waiting.values())
        line = f"progress: {self._ended} of {total} run(s), {self._labels[run]} {what}"
        if left and self._computed:
            seconds = (time.monotonic() - self._start) * left / self._computed
            line += f"; about {duration(seconds)} left"
        self._echo(line)


def duration(seconds: float) -> str:
    """Return a duration as people say it, such as ``1 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _written(node: Node) -> list[str]:
    outputs: Any = node.outputs
    if "written" not in outputs.get():
        return []
    with suppress(OSError, AttributeError):  # of a node that was skipped
        return list(node.result.outputs.written)
    return []
