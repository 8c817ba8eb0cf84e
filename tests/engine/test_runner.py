"""A killed node, a crash and a full disk, on workflows of a few plain functions."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.engine.utils import load_resultfile

from qsm_pipeline.engine.checked_node import CheckedNode
from qsm_pipeline.engine.local_plugin import ProcessPerNodePlugin
from qsm_pipeline.engine.plugins import check_plugin
from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.engine.runner import run_workflow
from qsm_pipeline.exceptions import ConfigError


def _die(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


def _slow(x):
    import time

    time.sleep(2)
    return x + 1


def _add(x):
    return x + 1


def _refuse(x):
    raise ValueError(f"x is {x},\nexpected something else")


def _forget(x):
    return {}["key"]


def _unpack(x):
    import zlib

    raise zlib.error("invalid block")


def _note_rank(x):
    from pathlib import Path

    Path(x).write_text(Path("/proc/self/oom_score_adj").read_text())


def _lose_folder(x):
    import os
    import shutil

    shutil.rmtree(os.getcwd())


def _return_what_cannot_be_read(x):
    import os

    class Lost:
        def __reduce__(self):
            return os.stat, ("/nowhere",)

    return Lost()


def _use_all_memory(x):
    raise MemoryError


def _when(folder, use_gpu):
    import time
    from pathlib import Path

    Path(folder, f"{time.monotonic()}.start").touch()
    time.sleep(1)
    Path(folder, f"{time.monotonic()}.stop").touch()


def _parents(x):
    import os

    return [*x, os.getppid()]


def _run_wf(name, *functions, x=1):
    """Return a workflow of nodes in a row, named after their functions."""
    workflow = Workflow(name)
    nodes = [Node(Function(["x"], ["x"], f), name=f.__name__[1:]) for f in functions]
    nodes[0].inputs.x = x
    workflow.add_nodes(nodes[:1])
    for before, after in itertools.pairwise(nodes):
        workflow.connect(before, "x", after, "x")
    return workflow


def test_a_cluster_plugin_and_a_folder_with_spaces(tmp_path):
    whole = Workflow("qsm", base_dir=str(tmp_path / "my work"))
    with pytest.raises(ConfigError, match="my work has a space or a special character"):
        run_workflow(whole, tmp_path, Resources(1, 1, 1.0, "cpu"), plugin={"plugin": "SLURM"})


def _execute(tmp_path, *runs, nprocs=2, mem_gb=4.0, **options):
    whole = Workflow("qsm", base_dir=str(tmp_path / "work"))
    whole.add_nodes(list(runs))
    (tmp_path / "logs").mkdir()
    resources = Resources(nprocs, 1, mem_gb, "cpu")
    return run_workflow(whole, tmp_path / "logs", resources, **options)


@pytest.mark.parametrize("nprocs", [1, 2])
def test_only_the_run_of_a_killed_node_fails(tmp_path, nprocs):
    start = time.monotonic()
    outcome = _execute(
        tmp_path,
        _run_wf("a", _die, _add),
        _run_wf("b", _slow, _add),
        _run_wf("c", _add, _slow),
        nprocs=nprocs,
    )
    assert time.monotonic() - start < 60
    assert [(f.run, f.node) for f in outcome.failures] == [("a", "die")]
    message = outcome.failures[0].message
    assert "the process of node die was killed (SIGKILL)" in message
    assert "memory" in message
    assert outcome.finished == {"qsm.b.slow", "qsm.b.add", "qsm.c.add", "qsm.c.slow"}
    crash = Path(outcome.failures[0].crash_file).read_text()
    assert crash.startswith("Node: qsm.a.die")


@pytest.mark.skipif(
    not Path("/proc/self/oom_score_adj").exists(),
    reason="only Linux ranks processes for when memory runs out",
)
def test_a_node_dies_before_the_command_when_memory_runs_out(tmp_path):
    """The kernel would take the largest, which is the command while a node begins to grow."""
    outcome = _execute(tmp_path, _run_wf("a", _note_rank, x=str(tmp_path / "rank")))
    assert not outcome.failures
    assert int((tmp_path / "rank").read_text()) == 1000
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_a_work_folder_that_is_removed_meanwhile(tmp_path):
    outcome = _execute(tmp_path, _run_wf("a", _lose_folder, _add), _run_wf("b", _slow, _add))
    (failure,) = outcome.failures
    assert (failure.run, failure.node) == ("a", "lose_folder")
    assert "No such file or directory: " in failure.message
    assert f"{tmp_path}/work/qsm/a/lose_folder/" in failure.message
    assert outcome.finished == {"qsm.b.slow", "qsm.b.add"}


def test_a_result_that_cannot_be_read(tmp_path):
    """As that of a node whose files were removed at once: its check finds none."""
    runs = [_run_wf("a", _return_what_cannot_be_read, _add), _run_wf("b", _slow, _add)]
    outcome = _execute(tmp_path, *runs)
    assert [failure.run for failure in outcome.failures] == ["a"]
    assert "No such file or directory: '/nowhere'" in outcome.failures[0].message
    assert outcome.finished == {"qsm.b.slow", "qsm.b.add"}


def test_a_work_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "work" / "qsm").mkdir(parents=True)
    (tmp_path / "work" / "qsm" / "a").touch()
    outcome = _execute(tmp_path, _run_wf("a", _add), _run_wf("b", _add))
    assert [failure.run for failure in outcome.failures] == ["a"]
    assert f"{tmp_path}/work/qsm/a" in outcome.failures[0].message
    assert outcome.finished == {"qsm.b.add"}


def test_a_signal_is_named(tmp_path):
    outcome = _execute(tmp_path, _run_wf("a", _segfault))
    assert "ended by SIGSEGV" in outcome.failures[0].message


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_refuse, "x is 1, expected something else"),
        (_forget, "KeyError: 'key'"),
        (_unpack, "error: invalid block"),
        (_use_all_memory, "not enough memory; give --mem-gb, fewer --nprocs or a smaller volume"),
    ],
)
@pytest.mark.parametrize("plugin", [None, {"plugin": "Linear"}])
def test_each_failure_is_one_sentence(tmp_path, function, message, plugin):
    outcome = _execute(tmp_path, _run_wf("a", function), _run_wf("b", _add), plugin=plugin)
    assert [(f.run, f.message) for f in outcome.failures] == [("a", message)]
    assert outcome.finished >= {"qsm.b.add"}
    assert "Traceback" in Path(outcome.failures[0].crash_file).read_text()


def test_stop_on_first_crash_ends_what_runs(tmp_path):
    start = time.monotonic()
    runs = [_run_wf("a", _refuse), _run_wf("b", _slow, _add)]
    outcome = _execute(tmp_path, *runs, stop_on_first_crash=True)
    assert [f.run for f in outcome.failures] == ["a"]
    assert "qsm.b.add" not in outcome.finished
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("limits", "together"),
    [({}, 2), ({"mem_gb": 3.0}, 1), ({"nprocs": 1}, 1), ({"use_gpu": True}, 1)],
)
def test_cores_memory_and_gpu_limit_what_runs_at_once(tmp_path, limits, together):
    use_gpu = limits.pop("use_gpu", False)
    times = tmp_path / "times"
    times.mkdir()
    runs = []
    for name in "abc":
        node = Node(Function(["folder", "use_gpu"], ["x"], _when), name="when", mem_gb=2.0)
        node.inputs.folder, node.inputs.use_gpu = str(times), use_gpu
        runs.append(Workflow(name))
        runs[-1].add_nodes([node])
    outcome = _execute(tmp_path, *runs, **limits)
    assert not outcome.failures
    events = sorted((float(p.stem), 1 if p.suffix == ".start" else -1) for p in times.iterdir())
    running = [sum(change for _, change in events[: n + 1]) for n in range(len(events))]
    assert max(running) == together


def test_what_maps_do_not_wait_for_comes_last(tmp_path):
    """Of a run whose nodes are all ready and take a core each, those of the lowest rank first."""
    workflow = Workflow("a")
    ranks = {"short": 2.0, "long": 0.5, "map": 0.0}
    for name, rank in ranks.items():
        node = CheckedNode(Function(["folder", "use_gpu"], ["x"], _when), name, rank=rank)
        node.inputs.folder, node.inputs.use_gpu = str(tmp_path / name), False
        (tmp_path / name).mkdir()
        workflow.add_nodes([node])
    assert not _execute(tmp_path, workflow, nprocs=1).failures
    began = {name: next((tmp_path / name).glob("*.start")).stem for name in ranks}
    assert sorted(ranks, key=lambda name: float(began[name])) == ["map", "long", "short"]


def test_what_computes_nothing_does_not_wait_for_the_server(tmp_path, monkeypatch):
    """The first node is a process of the command; the others of the server, once it answers."""
    monkeypatch.setattr(ProcessPerNodePlugin, "_server_is_ready", False)
    workflow = Workflow("a")
    nodes = [
        CheckedNode(Function(["x"], ["x"], _parents), name, computes=computes)
        for name, computes in (("read", False), ("mask", True), ("again", False))
    ]
    nodes[0].inputs.x = []
    for before, after in itertools.pairwise(nodes):
        workflow.connect(before, "x", after, "x")
    assert not _execute(tmp_path, workflow).failures
    read, mask, again = load_resultfile(tmp_path / "work/qsm/a/again/result_again.pklz").outputs.x
    assert read == os.getpid() != mask == again


def test_a_crash_that_cannot_be_written_is_reported(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nipype.pipeline.plugins.base.report_crash", full)
    outcome = _execute(tmp_path, _run_wf("a", _refuse), _run_wf("b", _add))
    assert [(f.run, f.crash_file) for f in outcome.failures] == [("a", "")]
    assert outcome.finished == {"qsm.b.add"}


def test_plugin_that_does_not_wait_is_refused(tmp_path):
    for name in ("SLURMGraph", "LegacyMultiProc", "Magic", None):
        with pytest.raises(ConfigError, match="expected one of MultiProc, Linear, SLURM"):
            check_plugin({"plugin": name}, tmp_path / "p.toml")
    with pytest.raises(ConfigError, match="plugin_args must be a table"):
        check_plugin({"plugin": "Linear", "plugin_args": 3}, tmp_path / "p.toml")


def test_a_signal_that_is_held_back_is_heard_afterwards():
    """An import swallows what is raised in it, so Ctrl-C in the first second would be lost."""
    code = (
        "import os, signal, subprocess\n"
        "from qsm_pipeline.engine.node_processes import holding_back\n"
        # a job in the background ignores it
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    with holding_back(signal.SIGINT):\n"
        "        child = subprocess.Popen(['sleep', '30'])\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('goes on')\n"
        "except KeyboardInterrupt:\n"
        "    print('ends')\n"
        "child.send_signal(signal.SIGINT)\n"
        "try:\n"
        "    child.wait(0.5)\n"
        "except subprocess.TimeoutExpired:\n"
        "    print('deaf')\n"
        "child.kill()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["goes on", "ends", "deaf", ""]
