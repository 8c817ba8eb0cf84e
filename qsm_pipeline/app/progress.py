"""Follow the runs while they are computed: where each is, and how long the rest may take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.app.display import duration
from qsm_pipeline.steps.nodes import NODES, WRITE, label_of

_ENOUGH = 0.1
"""Share of a run whose kinds of nodes must have ended before the time left is told."""
OnDone = Callable[[str, list[str], float], None]


@dataclass(frozen=True)
class _State:
    """How things stood when something last changed: the display reads it from its own thread."""

    heading: str
    running: tuple[tuple[str, float], ...]
    left_s: float
    at: float

    def lines(self) -> list[str]:
        now = time.monotonic()
        left = max(0.0, self.left_s - (now - self.at))
        heading = self.heading + (f", about {duration(left)} left" if left else "")
        return [heading, *(f"  {what}, {duration(now - began)}" for what, began in self.running)]


class Progress:
    """Tells of each run that ends, and when all its nodes have ended well.

    What runs is told by `lines`, for a display that is drawn again and again, or by a line for
    each stage that begins.

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
    drawn : bool
        Whether `lines` are drawn, so that no line is printed for each stage.
    """

    def __init__(
        self,
        workflow: Workflow,
        labels: dict[str, str],
        echo: Callable[[str], None],
        on_done: OnDone,
        *,
        drawn: bool = False,
    ) -> None:
        self._labels = labels
        self._echo = echo
        self._drawn = drawn
        self._on_done = on_done
        self._waiting: dict[str, set[str]] = {}
        for full_name in workflow.list_node_names():
            run, _, node = full_name.partition(".")
            self._waiting.setdefault(run, set()).add(node)
        self._written: dict[str, list[str]] = {name: [] for name in self._waiting}
        self._began: dict[str, float] = {}
        self._sizes = {name: len(nodes) for name, nodes in self._waiting.items()}
        self._ended = self._failed = 0
        self._time = _TimeLeft(
            Counter(n for nodes in self._waiting.values() for n in nodes), alone=len(labels) == 1
        )
        self._state = self._now()

    def lines(self) -> list[str]:
        """Return how many runs have ended, and where each of those is that run."""
        return self._state.lines()

    def note(self, node: Node, status: str) -> None:
        """Take in the status that nipype gives a node: ``start``, ``end`` or ``exception``."""
        _, run, name = node.fullname.split(".", 2)
        self._began.setdefault(run, time.monotonic())
        if run not in self._waiting:  # it has failed, and some of its other nodes still run
            return
        if status == "start":
            self._time.start(run, name)
            if not self._drawn and not NODES.get(name, WRITE).optional:
                self._echo(f"progress: {self._place(run, name)}")
        elif status == "exception":
            self._failed += 1
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
        self._state = self._now()

    def _place(self, run: str, name: str) -> str:
        """Say in which of its stages a run is."""
        size = self._sizes[run]
        number = size - len(self._waiting[run]) + 1
        return f"{self._labels[run]}, {label_of(name)} ({number} of {size})"

    def _now(self) -> _State:
        failed = f", {self._failed} failed" if self._failed else ""
        known = self._ended > self._failed or self._time.is_known
        return _State(
            f"{self._ended} of {len(self._labels)} run(s) ended{failed}",
            tuple((self._place(*who), began) for who, began in self._time.running()),
            self._time.seconds() if self._waiting and known else 0.0,
            time.monotonic(),
        )

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

    def __init__(self, left: Counter[str], *, alone: bool) -> None:
        self._left = left
        self._alone = alone
        self._start = time.monotonic()
        self._running: dict[tuple[str, str], float] = {}
        self._seconds: Counter[str] = Counter()
        self._number: Counter[str] = Counter()
        self._failed_s = 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough of a single run has ended to tell what the rest takes."""
        seen = sum(_usual_s(node) for node in self._number)
        return self._alone and seen > _ENOUGH * sum(_usual_s(node) for node in self._left)

    def running(self) -> list[tuple[tuple[str, str], float]]:
        """Return run and node of what runs, each with its start."""
        return list(self._running.items())

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
        usual = sum(_usual_s(n) * k for n, k in self._number.items())
        expected = {n: self._seconds[n] / k for n, k in self._number.items()}
        for node in self._left:  # of a kind that has not ended yet
            as_a_rule = _usual_s(node) * self._seconds.total() / usual
            expected.setdefault(node, as_a_rule if self._alone else mean)
        todo = sum(number * expected[node] for node, number in self._left.items())
        for (_, node), began in self._running.items():
            spent += now - began
            todo -= min(now - began, expected[node])
        return todo * (now - self._start) / spent


def _usual_s(node: str) -> float:
    return NODES.get(node, WRITE).usual_s


def _written(node: Node) -> list[str]:
    outputs: Any = node.outputs
    if "written" not in outputs.get():
        return []
    with suppress(OSError, AttributeError):  # of a node that was skipped
        return list(node.result.outputs.written)
    return []
