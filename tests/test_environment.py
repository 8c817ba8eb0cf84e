"""The whole command where a cluster or a container takes things away."""

import os
import shutil
import subprocess

import faults
import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.resources import Resources
from qsm_pipeline.workflows.engine import run_workflow

MAP = "sub-01/anat/sub-01_Chimap.nii.gz"


def _run(folder, start, *more, **options):
    raw = faults.make_dataset(folder, ("01",))
    result = faults.execute([*start, *faults.command(raw, folder / "out", *more)], **options)
    assert result.exit_code == 0, result.output
    assert (folder / "out" / MAP).is_file()
    return result


@pytest.mark.parametrize("home", ["read-only", "missing"])
def test_home_cannot_be_written(tmp_path, home):
    folder = tmp_path / "home"
    if home == "read-only":
        folder.mkdir(mode=0o555)
    try:
        start = faults.without_privileges()
    except PermissionError as error:
        pytest.skip(str(error))
    hidden = [f"{name}=" for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")]
    result = _run(tmp_path, [*start, "env", *hidden, f"HOME={folder}"])
    assert result.lines == [
        "done sub-01",
        f"report {tmp_path}/out/sub-01.html",
        *[line for line in result.lines if line.startswith("finished in ")],
        f"maps in {tmp_path}/out",
    ]
    assert not folder.exists() or not list(folder.iterdir())


def test_offline(tmp_path):
    """In a network namespace of its own nothing can be reached, not even by loopback."""
    start = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*start, "true"], check=False).returncode:
        pytest.skip("a network namespace cannot be made here")
    _run(tmp_path, start)


def test_private_umask(tmp_path):
    _run(tmp_path, [], umask=0o077)
    shared = [p for p in (tmp_path / "out").rglob("*") if p.stat().st_mode & 0o077]
    assert not shared


def test_umask_of_a_group(tmp_path):
    """What a colleague should read is not hidden by the way that files are written."""
    _run(tmp_path, [], umask=0o022)
    folder = tmp_path / "out"
    outputs = [p for p in folder.rglob("*") if "work" not in p.relative_to(folder).parts]
    assert [p for p in outputs if not p.stat().st_mode & 0o044] == []


def test_paths_with_spaces_and_quotes(tmp_path):
    folder = tmp_path / 'it\'s "my" $HOME; data'
    folder.mkdir()
    plan = folder / "set tings.toml"
    plan.write_text('reference = "none"\n')
    _run(folder, [], "--config-file", plan, "-w", folder / "wo rk", "--write-graph")


def _count_threads(x):
    """Let OpenBLAS and torch do something large, and count the threads that are there then."""
    import os

    import numpy as np
    import torch

    values = np.ones((700, 700))
    _ = values @ values
    _ = torch.ones(700, 700) @ torch.ones(700, 700)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return [len(os.listdir("/proc/self/task")), *[os.environ.get(name) for name in names]]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
def test_threads_of_a_node(tmp_path, monkeypatch):
    """Without a limit each library would start a thread for each core of the machine."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    counts = tmp_path / "counts.txt"
    workflow = Workflow("qsm", base_dir=str(tmp_path / "work"))
    node = Node(Function(["x"], ["out"], _count_threads), name="count", n_procs=1)
    node.inputs.x = 1
    write = Node(Function(["values", "path"], ["out"], _write), name="write")
    write.inputs.path = str(counts)
    workflow.connect(node, "out", write, "values")
    (tmp_path / "logs").mkdir()
    outcome = run_workflow(workflow, tmp_path / "logs", Resources(2, 1, 4.0, "cpu"))
    assert not outcome.failures
    assert counts.read_text() == "[1, '1', '1', '1']"


def _write(values, path):
    from pathlib import Path

    Path(path).write_text(str(values))
    return path
