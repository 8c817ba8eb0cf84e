"""Cores, memory and device that this process is really allowed to use."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qsm_pipeline.engine.temporary import FOLDER, claim, remove_left_behind
from qsm_pipeline.exceptions import ConfigError

_PACKAGE = Path(__file__).parents[1]
PARENT_GB = 1.0
"""What the command itself and the server of its nodes take beside the nodes."""
_LEAST_GB = 0.1
_SOCKET_FOLDER_BYTES = 70
"""The path of a socket may have 107, and Python adds two names to that of the folder."""
_TUNABLES = {"glibc.malloc.hugetlb": 1, "glibc.malloc.mmap_threshold": 8 * 2**20}
_V2, _CPU, _MEMORY = "", "cpu", "memory"
"""Controllers as /proc/self/cgroup names them; the second version has one tree for all."""


@dataclass(frozen=True)
class Resources:
    """What the nodes may use together.

    Parameters
    ----------
    nprocs : int
        Cores.
    omp_nthreads : int
        Threads of one node, at most ``nprocs``.
    mem_gb : float
        Memory in GiB, without that of the command itself.
    device : str
        torch device.
    """

    nprocs: int
    omp_nthreads: int
    mem_gb: float
    device: str

    def __str__(self) -> str:
        return f"{self.device} with {self.nprocs} core(s) and {self.mem_gb:.1f} GiB"

    @classmethod
    def resolve(
        cls,
        nprocs: int | None = None,
        omp_nthreads: int | None = None,
        mem_gb: float | None = None,
        device: str = "auto",
    ) -> Resources:
        """Fill in what was not asked for with what the process may use, less what it needs itself.

        Raises
        ------
        ConfigError
            If a node would have more threads than there are cores, the memory is no number, or
            the device is not there.
        """
        nprocs = nprocs or usable_cores()
        omp_nthreads = omp_nthreads or min(4, nprocs)
        if omp_nthreads > nprocs:
            raise ConfigError(
                f"--omp-nthreads is {omp_nthreads}, more than the {nprocs} core(s) of --nprocs"
            )
        if mem_gb is None:
            mem_gb = max(_LEAST_GB, usable_memory_gb() - PARENT_GB)
        elif not math.isfinite(mem_gb):
            raise ConfigError(f"--mem-gb is {mem_gb}, expected a number of GiB")
        return cls(nprocs, omp_nthreads, mem_gb, usable_device(device))


def limit_threads(number: int) -> None:
    """Let libraries that are loaded from now on, here or in child processes, use so many threads.

    On a node with many cores OpenBLAS alone would otherwise start a thread for each of them in
    each process, and fail where a cluster limits the number of processes.

    Parameters
    ----------
    number : int
        Threads of each process.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(number)


def tune_memory() -> None:
    """Tell glibc how the child processes that are started from now on get their memory.

    Large pages: each node works on fresh memory, and getting it in pages of 4 KiB is a tenth of
    the work of a run. Each volume apart, so that its memory goes back when it is done: kept for
    others of another size, it is a tenth of the memory of a run. What the user has told glibc
    about them stays; other libraries and kernels ignore it.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    wanted = [f"{name}={value}" for name, value in _TUNABLES.items() if name not in tunables]
    os.environ["GLIBC_TUNABLES"] = ":".join([*([tunables] if tunables else []), *wanted])


def trust_no_current_folder() -> None:
    """Let no Python that is started from now on import from the folder that it is started in.

    The server of nodes is ``python -c``, which looks for modules in the current folder first: any
    file there that is called like a package would be run.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def die_first() -> None:
    """Let the kernel end this process before others when memory runs out.

    It would often choose the command itself, which is large when a node only begins to grow.
    """
    with suppress(OSError):  # Linux has it
        Path("/proc/self/oom_score_adj").write_text("1000")


def check_current_folder() -> None:
    """Refuse to start in a folder that was removed, as nipype cannot even be imported there.

    Raises
    ------
    ConfigError
        If there is none.
    """
    try:
        os.getcwd()
    except OSError:
        raise ConfigError("the current folder is not there any more; go to another") from None


def use_short_temporary_folder() -> None:
    """Leave a folder for temporary files whose path is too long for the sockets of nodes.

    Clusters give each job a ``TMPDIR`` of its own, with any number of names in it.

    Raises
    ------
    ConfigError
        If there is no other.
    """
    try:
        if len(os.fsencode(tempfile.gettempdir())) <= _SOCKET_FOLDER_BYTES:
            return
        os.environ["TMPDIR"] = "/tmp"
        tempfile.tempdir = None  # found again at the next question
        if len(os.fsencode(tempfile.gettempdir())) <= _SOCKET_FOLDER_BYTES:
            return
    except OSError:
        pass
    raise ConfigError(
        "there is no folder for temporary files that can be written to and whose path has at "
        f"most {_SOCKET_FOLDER_BYTES} characters; set TMPDIR to one"
    )


def make_caches_writable() -> None:
    """Give matplotlib and numba a folder for this process where HOME cannot be written.

    Without it the one complains and lists the fonts again in every process, and the other compiles
    again, unless this package can be written to: numba prefers to keep beside it what it compiled.

    Raises
    ------
    ConfigError
        If no folder can be written to.
    """
    home = os.path.expanduser("~")
    if os.access(home, os.W_OK | os.X_OK):
        return
    use_short_temporary_folder()
    remove_left_behind()
    folder = tempfile.mkdtemp(prefix=FOLDER)
    claim(Path(folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # it lists the fonts each time then, and says so where that takes more than 5 s
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    if home == "~":  # neither HOME nor an account: pathlib, and so pybids, would fail
        os.environ["HOME"] = folder
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        if name == "MPLCONFIGDIR" or not os.access(_PACKAGE, os.W_OK | os.X_OK):
            os.environ[name] = os.environ.get(name) or folder


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores granted by affinity, every cgroup above this process and Slurm, at least 1.

    Parameters
    ----------
    root : pathlib.Path
        Of the file system.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [float(cores or 1)]
    for folder in _cgroups(root, _V2):
        quota = _words(folder / "cpu.max")
        if len(quota) == 2 and quota[0] != "max":
            limits.append(float(quota[0]) / float(quota[1]))
    for folder in _cgroups(root, _CPU):
        old_quota, period = (
            _words(folder / "cpu.cfs_quota_us"),
            _words(folder / "cpu.cfs_period_us"),
        )
        if old_quota and period and float(old_quota[0]) > 0:
            limits.append(float(old_quota[0]) / float(period[0]))
    limits += [
        float(number)
        for number in (_slurm("SLURM_CPUS_PER_TASK"), _slurm("SLURM_CPUS_ON_NODE"))
        if number
    ]
    return max(1, int(min(limits)))


def usable_memory_gb(root: Path = Path("/")) -> float:
    """Return the memory granted by the machine, every cgroup above this process and Slurm, in GiB.

    Parameters
    ----------
    root : pathlib.Path
        Of the file system.
    """
    limits = [
        float(line.split()[1]) / 2**20
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemAvailable:")
    ]
    files = [folder / "memory.max" for folder in _cgroups(root, _V2)]
    files += [folder / "memory.limit_in_bytes" for folder in _cgroups(root, _MEMORY)]
    for file in files:
        value = _words(file)
        if value and value[0].isdigit():
            limits.append(float(value[0]) / 2**30)
    if per_node := _slurm("SLURM_MEM_PER_NODE"):  # Slurm counts in MiB
        limits.append(per_node / 1024)
    elif per_core := _slurm("SLURM_MEM_PER_CPU"):
        cores = _slurm("SLURM_CPUS_ON_NODE") or _slurm("SLURM_CPUS_PER_TASK") or 1
        limits.append(per_core * cores / 1024)
    return min(limits, default=4.0)


def usable_device(device: str = "auto") -> str:
    """Return the torch device to use.

    Parameters
    ----------
    device : str
        ``auto`` for CUDA where there is a GPU, else ``cpu``, ``cuda`` or ``cuda:<number>``.

    Returns
    -------
    str

    Raises
    ------
    ConfigError
        If it is something else or not there.
    """
    check_device_name(device)
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if not gpus:
        why = "no GPU is visible" if torch.version.cuda else "this torch was built without CUDA"
        raise ConfigError(f"--device {device} cannot be used because {why}; use --device cpu")
    number = device.partition(":")[2]
    if number and int(number) >= gpus:
        raise ConfigError(
            f"--device {device} is not there: the {gpus} visible GPU(s) count from cuda:0"
        )
    return device


def check_device_name(device: str) -> None:
    """Refuse what is no device, whether it is there or not.

    Raises
    ------
    ConfigError
        With what is expected.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise ConfigError(f"--device is {device!r}, expected auto, cpu, cuda or cuda:<number>")


def _may_have_gpu(root: Path = Path("/")) -> bool:
    """Return whether there is a device file of a GPU, so that it is worth loading torch to ask.

    CUDA needs one of these files: of the driver on Linux, under Windows (WSL), on Jetson, of AMD.
    """
    if not (root / "proc/self").exists():  # no Linux
        return True
    devices = ("nvidiactl", "nvidia0", "dxg", "nvhost-gpu", "kfd")
    return any((root / "dev" / device).exists() for device in devices)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of this process in the tree of a controller, and those above it.

    A container often sees only its own part of the tree, under a path that does not exist there;
    its limits are then those of the root, which is always the last.
    """
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        if controller:
            tops = {mounted / controllers, mounted / controller}
        else:
            tops = {mounted, mounted / "unified"}
        parts = [part for part in Path(path).parts if part not in ("/", "..")]
        for top in tops:
            yield from (top.joinpath(*parts[:n]) for n in range(len(parts), -1, -1))


def _slurm(name: str) -> int:
    """Return a number that Slurm put into the environment, 0 if it is not there."""
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []
