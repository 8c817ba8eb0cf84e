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
        self._waiting: dict[str, set[str]] = {}
        for full_name in workflow.list_node_names():
            run, _, node = full_name.partition(".")
            self._waiting.setdefault(run, set()).add(node)
        self._written: dict[str, list[str]] = {name: [] for name in self._waiting}
        self._began: dict[str, float] = {}
        self._ended = 0
        self._time = _TimeLeft(Counter(n for nodes in self._waiting.values() for n in nodes))

    def note(self, node: Node, status: str) -> None:
        """Take in the status that nipype gives a node: ``start``, ``end`` or ``exception``."""
        _, run, name = node.fullname.split(".", 2)
        self._began.setdefault(run, time.monotonic())
        if run not in self._waiting:  # it has failed, and some of its other nodes still run
            return
        if status == "start":
            self._time.start(run, name)
        elif status == "exception":
            self._time.drop(run, self._waiting.pop(run))
            self._print(run, f"failed in {node.name}")
        elif status == "end":
            self._time.end(run, name)
            self._waiting[run].remove(name)
            self._written[run] += _written(node)
            if not self._waiting[run]:
                del self._waiting[run]
                self._on_done(run, self._written.pop(run), time.monotonic() - self._began[run])
                self._print(run, "done")

    def _print(self, run: str, what: str) -> None:
        self._ended += 1
        line = f"progress: {self._ended} of {len(self._labels)} run(s), {self._labels[run]} {what}"
        seconds = self._time.seconds()
        if self._waiting and seconds:
            line += f"; about {duration(seconds)} left"
        self._echo(line)


class _TimeLeft:
    """Predicts the rest from what each kind of node took and from how many ran at once.

    Nodes differ by orders of magnitude, and those of the runs that are open are not the same as
    those that have ended, so that counting nodes would be wrong by far.
    """

    def __init__(self, left: Counter[str]) -> None:
        self._left = left
        self._start = time.monotonic()
        self._running: dict[tuple[str, str], float] = {}
        self._seconds: Counter[str] = Counter()
        self._number: Counter[str] = Counter()
        self._failed_s = 0.0

    def start(self, run: str, node: str) -> None:
        self._running[run, node] = time.monotonic()

    def end(self, run: str, node: str) -> None:
        """Take in that a node ended; one that was never started came from the cache."""
        self._left[node] -= 1
        began = self._running.pop((run, node), None)
        if began is not None:
            self._seconds[node] += time.monotonic() - began
            self._number[node] += 1

    def drop(self, run: str, nodes: set[str]) -> None:
        """Take in that the nodes of a run are not waited for any more."""
        self._left.subtract(nodes)
        now = time.monotonic()
        for node in nodes:  # they took time of the machine, but say nothing of their kind
            self._failed_s += now - self._running.pop((run, node), now)

    def seconds(self) -> float:
        """Return how long all that is left may take, 0 if nothing is known."""
        now = time.monotonic()
        if not self._seconds.total():
            return 0.0
        spent = self._seconds.total() + self._failed_s
        mean = self._seconds.total() / self._number.total()
        expected = {n: self._seconds[n] / k for n, k in self._number.items()}
        todo = sum(number * expected.get(node, mean) for node, number in self._left.items())
        for (_, node), began in self._running.items():
            spent += now - began
            todo -= min(now - began, expected.get(node, mean))
        return todo * (now - self._start) / spent


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
