"""What is said of the time left is compared with what it takes, by a clock of the test's own."""

import heapq
import re
from types import SimpleNamespace

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.app.display import duration
from qsm_pipeline.app.progress import Progress
from qsm_pipeline.steps.nodes import NODES

SECONDS = {"read": 4, "mask": 40, "unwrap": 15, "fit": 5, "invert": 120, "write": 6, "draw": 2}
"""Of each node of a run, in their order."""
_UNITS = {"s": 1, "min": 60, "h": 3600}


class _Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def _workflow(runs):
    workflow = Workflow("qsm")
    for run in runs:
        one = Workflow(run)
        one.add_nodes([Node(Function(["x"], [], "def f(x): pass"), name=n) for n in SECONDS])
        workflow.add_nodes([one])
    return workflow


def _node(run, name):
    """Return a node as it is called while a workflow is executed."""
    outputs = SimpleNamespace(get=dict)
    return SimpleNamespace(fullname=f"qsm.{run}.{name}", name=name, outputs=outputs)


def _simulate(monkeypatch, number, workers, *, slower=(), fails=()):
    """Conduct runs on so many workers, the oldest first; return the lines with their times."""
    clock, lines = _Clock(), []
    monkeypatch.setattr("qsm_pipeline.app.progress.time", clock)
    runs = [f"sub_{n}_wf" for n in range(number)]
    workflow = _workflow(runs)
    progress = Progress(
        workflow,
        {run: run for run in runs},
        lambda line: lines.append((clock.now, line)),
        lambda *_: None,
        drawn=True,
    )
    left = {run: list(SECONDS) for run in runs}
    ready, events = list(runs), []
    while ready or events:
        while ready and len(events) < workers:
            run = ready.pop(0)
            node = left[run].pop(0)
            takes = SECONDS[node] * (2 if run in slower else 1)
            heapq.heappush(events, (clock.now + takes, run, node))
            progress.note(_node(run, node), "start")
        clock.now, run, node = heapq.heappop(events)
        failed = (run, node) in fails
        progress.note(_node(run, node), "exception" if failed else "end")
        if left[run] and not failed:
            ready = sorted([run, *ready], key=runs.index)
    return clock.now, lines


def _said(line):
    """Return the seconds that a line says are left."""
    words = re.findall(r"(\d+) (s|min|h)\b", line.partition("; about ")[2])
    return sum(int(number) * _UNITS[unit] for number, unit in words)


@pytest.mark.parametrize(("number", "workers"), [(4, 1), (8, 2), (40, 4), (200, 16)])
def test_time_left_of_like_runs(monkeypatch, number, workers):
    end, lines = _simulate(monkeypatch, number, workers)
    assert len(lines) == number
    run_s = sum(SECONDS.values())
    for now, line in lines[: number - workers]:
        # in the end fewer runs are left than workers, which is not foreseen
        assert _said(line) == pytest.approx(end - now, rel=0.02, abs=0.75 * run_s)
    assert "left" not in lines[-1][1]


def test_time_left_of_unlike_runs(monkeypatch):
    """Half of the runs take twice as long: from the tenth on it is known what to expect."""
    slower = [f"sub_{n}_wf" for n in range(0, 40, 2)]
    end, lines = _simulate(monkeypatch, 40, 2, slower=slower)
    for now, line in lines[10:36]:
        assert _said(line) == pytest.approx(end - now, rel=0.15, abs=120)


def test_failed_runs_are_not_waited_for(monkeypatch):
    fails = {(f"sub_{n}_wf", "mask") for n in range(5, 10)}
    end, lines = _simulate(monkeypatch, 12, 1, fails=fails)
    assert end - 1000 == 7 * sum(SECONDS.values()) + 5 * (4 + 40)
    assert [line.split("; ")[0] for _, line in lines[4:6]] == [
        "progress: 5 of 12 run(s), sub_4_wf done",
        "progress: 6 of 12 run(s), sub_5_wf failed in mask",
    ]
    for now, line in lines[9:11]:  # only sound runs are left
        assert _said(line) == pytest.approx(end - now, abs=31)


def test_nothing_is_said_where_nothing_is_known(monkeypatch):
    _, lines = _simulate(monkeypatch, 3, 1, fails={("sub_0_wf", "read")})
    assert lines[0][1] == "progress: 1 of 3 run(s), sub_0_wf failed in read"


def test_nodes_from_the_cache_count_as_done_and_take_no_time(monkeypatch):
    """The first run is all there but for its last node, which says nothing of the others."""
    clock, lines = _Clock(), []
    monkeypatch.setattr("qsm_pipeline.app.progress.time", clock)
    workflow = _workflow(["a_wf", "b_wf"])
    progress = Progress(
        workflow, {"a_wf": "a", "b_wf": "b"}, lines.append, lambda *_: None, drawn=True
    )
    for run in ("a_wf", "b_wf"):
        for name in SECONDS:
            node = _node(run, name)
            if run == "b_wf" or name in ("write", "draw"):
                progress.note(node, "start")
                clock.now += SECONDS[name]
            progress.note(node, "end")
    assert lines == [
        "progress: 1 of 2 run(s), a done; about 28 s left",
        "progress: 2 of 2 run(s), b done",
    ]


def test_durations_as_people_say_them():
    assert [duration(s) for s in (0.4, 89, 91, 5000, 5400, 90000)] == [
        "0 s",
        "89 s",
        "2 min",
        "83 min",
        "1 h 30 min",
        "25 h 0 min",
    ]


def test_what_runs_is_told_with_its_place_and_time(monkeypatch):
    clock, lines = _Clock(), []
    monkeypatch.setattr("qsm_pipeline.app.progress.time", clock)
    labels = {"a_wf": "sub-a", "b_wf": "sub-b"}
    progress = Progress(_workflow(labels), labels, lines.append, lambda *_: None)
    assert progress.lines() == ["0 of 2 run(s) ended"]
    for name in ("read", "mask"):
        progress.note(_node("a_wf", name), "start")
        clock.now += SECONDS[name]
        progress.note(_node("a_wf", name), "end")
    progress.note(_node("a_wf", "unwrap"), "start")
    clock.now += 7
    progress.note(_node("b_wf", "read"), "start")
    assert progress.lines() == [
        "0 of 2 run(s) ended",
        "  sub-a, phase unwrapping (3 of 7), 7 s",
        "  sub-b, reading (1 of 7), 0 s",
    ]
    progress.note(_node("b_wf", "read"), "exception")
    clock.now += 5
    assert progress.lines()[0] == "1 of 2 run(s) ended, 1 failed"  # which tells nothing of time
    for name in SECONDS:
        clock.now += 1
        if name not in ("read", "mask"):
            progress.note(_node("a_wf", name), "end")
    assert progress.lines() == ["2 of 2 run(s) ended, 1 failed"]
    assert lines == [
        "progress: sub-a, reading (1 of 7)",
        "progress: sub-a, brain mask (2 of 7)",
        "progress: sub-a, phase unwrapping (3 of 7)",
        "progress: sub-b, reading (1 of 7)",
        *lines[-2:],
    ]
    assert lines[-2].startswith("progress: 1 of 2 run(s), sub-b failed in read")
    assert lines[-1] == "progress: 2 of 2 run(s), sub-a done"


def test_of_a_single_run_the_time_left_is_told_before_it_ends(monkeypatch):
    """On a machine of half the speed, by what its nodes took and what they take as a rule."""
    names = [name for name in NODES if not name.endswith("_reliable") and name != "combine"]
    clock = _Clock()
    monkeypatch.setattr("qsm_pipeline.app.progress.time", clock)
    workflow, one = Workflow("qsm"), Workflow("sub_1_wf")
    one.add_nodes([Node(Function(["x"], [], "def f(x): pass"), name=n) for n in names])
    workflow.add_nodes([one])
    progress = Progress(
        workflow, {"sub_1_wf": "sub-1"}, lambda _: None, lambda *_: None, drawn=True
    )
    rest = 2 * sum(NODES[name].usual_s for name in names)
    told = 0
    for name in names[:-1]:
        progress.note(_node("sub_1_wf", name), "start")
        clock.now += 2 * NODES[name].usual_s
        rest -= 2 * NODES[name].usual_s
        progress.note(_node("sub_1_wf", name), "end")
        heading = progress.lines()[0]
        if "about" in heading:
            told += 1
            said = _said(heading.replace(", about", "; about"))
            assert said == pytest.approx(rest, abs=31 if rest > 90 else 1)
    assert told > 0.7 * len(names)
