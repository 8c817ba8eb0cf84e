"""What a process may use, on file systems and environments made up for it."""

import math
import os
import tempfile

import pytest
import torch

from qsm_pipeline.engine import resources
from qsm_pipeline.engine.resources import (
    Resources,
    check_current_folder,
    make_caches_writable,
    usable_cores,
    usable_device,
    usable_memory_gb,
    use_short_temporary_folder,
)
from qsm_pipeline.exceptions import ConfigError


@pytest.fixture(autouse=True)
def _many_cores_and_no_slurm(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in [n for n in os.environ if n.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def _system(root, files):
    for name, text in {"proc/meminfo": "MemAvailable: 67108864 kB\n"}.items() | files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_nothing_limits(tmp_path):
    root = _system(tmp_path, {"proc/self/cgroup": "0::/\n"})
    assert usable_cores(root) == 64
    assert usable_memory_gb(root) == 64


@pytest.mark.parametrize("depth", ["", "/a", "/a/b", "/a/b/c"])
def test_the_limit_of_any_cgroup_above_holds(tmp_path, depth):
    top = f"sys/fs/cgroup{depth}"
    root = _system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            f"{top}/cpu.max": "350000 100000\n",
            f"{top}/memory.max": f"{6 * 2**30}\n",
            "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
        },
    )
    assert usable_cores(root) == 3
    assert usable_memory_gb(root) == 6


def test_the_least_of_nested_limits_holds(tmp_path):
    root = _system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job/step\n",
            "sys/fs/cgroup/job/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
            "sys/fs/cgroup/job/step/memory.max": "max\n",
            "sys/fs/cgroup/job/memory.max": f"{8 * 2**30}\n",
        },
    )
    assert usable_cores(root) == 4
    assert usable_memory_gb(root) == 8


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_first_version_of_cgroups(tmp_path, folder):
    root = _system(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/slurm/job\n4:memory:/slurm/job\n",
            f"sys/fs/cgroup/{folder}/slurm/cpu.cfs_quota_us": "200000\n",
            f"sys/fs/cgroup/{folder}/slurm/cpu.cfs_period_us": "100000\n",
            f"sys/fs/cgroup/{folder}/slurm/job/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes": f"{5 * 2**30}\n",
        },
    )
    assert usable_cores(root) == 2
    assert usable_memory_gb(root) == 5


def test_a_container_sees_its_limits_at_the_root(tmp_path):
    root = _system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../docker/0a1b\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": f"{2**30}\n",
        },
    )
    assert usable_cores(root) == 1
    assert usable_memory_gb(root) == 1


@pytest.mark.parametrize(
    ("environment", "cores", "memory_gb"),
    [
        ({"SLURM_CPUS_ON_NODE": "8"}, 8, 64),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, 2, 64),
        ({"SLURM_MEM_PER_NODE": "12288"}, 64, 12),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "8"}, 8, 16),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_PER_TASK": "3"}, 3, 6),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "nonsense"}, 64, 64),
    ],
)
def test_slurm(tmp_path, monkeypatch, environment, cores, memory_gb):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = _system(tmp_path, {})
    assert usable_cores(root) == cores
    assert usable_memory_gb(root) == memory_gb


def test_defaults_follow_what_may_be_used(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    found = Resources.resolve(device="cpu")
    assert found == Resources(2, 2, 3.0, "cpu")  # the command itself has the fourth


def test_little_memory_lets_one_node_run(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "700")
    assert Resources.resolve(nprocs=2, device="cpu").mem_gb == 0.1


@pytest.mark.parametrize("mem_gb", [math.nan, math.inf])
def test_memory_that_is_no_number_is_refused(mem_gb):
    with pytest.raises(ConfigError, match=f"--mem-gb is {mem_gb}, expected a number"):
        Resources.resolve(nprocs=2, mem_gb=mem_gb, device="cpu")


@pytest.fixture
def _forget_temporary_folder(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.usefixtures("_forget_temporary_folder")
def test_a_temporary_folder_too_long_for_a_socket_is_left(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    assert tempfile.gettempdir() == str(deep)
    use_short_temporary_folder()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"


@pytest.mark.usefixtures("_forget_temporary_folder")
def test_no_temporary_folder(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ConfigError, match="set TMPDIR to one"):
        use_short_temporary_folder()


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the current folder is not there any more"):
        check_current_folder()


def test_neither_home_nor_account(monkeypatch):
    """As for a user id that a container does not know."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.environ.get("HOME", path))
    for name in ("HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    make_caches_writable()
    assert os.access(os.environ["HOME"], os.W_OK)


@pytest.mark.parametrize("package_mode", [0o755, 0o555])
def test_what_numba_compiled_is_compiled_again_only_if_it_cannot_lie_beside_the_package(
    tmp_path, monkeypatch, package_mode
):
    home, package = tmp_path / "home", tmp_path / "package"
    home.mkdir(mode=0o555)
    package.mkdir(mode=package_mode)
    # root may write, whatever the mode
    monkeypatch.setattr(os, "access", lambda path, _: os.stat(path).st_mode & 0o200 > 0)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    monkeypatch.setenv("HOME", str(home))
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    make_caches_writable()
    assert os.environ["MPLCONFIGDIR"]
    assert bool(os.environ["NUMBA_CACHE_DIR"]) is (package_mode == 0o555)


def test_more_threads_than_cores_are_refused():
    with pytest.raises(ConfigError, match=r"--omp-nthreads is 8, more than the 2 core\(s\)"):
        Resources.resolve(nprocs=2, omp_nthreads=8)


def _pretend(monkeypatch, gpus, build="12.6"):
    monkeypatch.setattr(resources, "_may_have_gpu", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.version, "cuda", build)


@pytest.mark.parametrize(
    ("gpus", "asked", "got"),
    [(0, "auto", "cpu"), (1, "auto", "cuda"), (1, "cpu", "cpu"), (2, "cuda:1", "cuda:1")],
)
def test_device(monkeypatch, gpus, asked, got):
    _pretend(monkeypatch, gpus)
    assert usable_device(asked) == got


@pytest.mark.parametrize(
    ("gpus", "build", "asked", "words"),
    [
        (0, "12.6", "cuda", "--device cuda cannot be used because no GPU is visible"),
        (0, None, "cuda", "because this torch was built without CUDA; use --device cpu"),
        (1, "12.6", "cuda:1", r"--device cuda:1 is not there: the 1 visible GPU"),
        (1, "12.6", "gpu", "--device is 'gpu', expected auto, cpu, cuda or cuda:<number>"),
        (1, "12.6", "cuda:x", "--device is 'cuda:x'"),
        (1, "12.6", "mps", "--device is 'mps'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, gpus, build, asked, words):
    _pretend(monkeypatch, gpus, build)
    with pytest.raises(ConfigError, match=words):
        usable_device(asked)


def test_torch_is_asked_only_where_a_gpu_may_be(tmp_path):
    assert resources._may_have_gpu(tmp_path)  # no Linux: nothing can be told
    (tmp_path / "proc/self").mkdir(parents=True)
    assert not resources._may_have_gpu(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert resources._may_have_gpu(tmp_path)
