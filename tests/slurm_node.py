"""A Slurm of one node on loopback, for the tests that are marked ``slurm``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import slurm_accounting

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{accounting}MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
MaxArraySize={largest_array}
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=8000 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not(*, accounting: bool = False) -> str:
    """Return why no Slurm can be started here, empty if it can."""
    needed = ("munged", "slurmctld", "slurmd", "sbatch")
    packages = "slurm-wlm and munge"
    if accounting:
        needed += slurm_accounting.PROGRAMS
        packages += ", slurmdbd and mariadb-server-core"
    missing = [name for name in needed if not _path(name)]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: {packages})"
    return "slurmd needs root" if os.getuid() else ""


_FRESH = {"slurmctld": ["-c"]}
_MUNGE_FILES = {
    "key-file": "munge.key",
    "socket": "munge.socket",
    "pid-file": "munged.pid",
    "log-file": "munged.log",
    "seed-file": "munged.seed",
}


@contextlib.contextmanager
def one_node_slurm(
    largest_array: int = 1001, *, accounting: bool = False
) -> Iterator[dict[str, str]]:
    """Start the daemons, yield the environment for the commands, and stop them again."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short, for the path of the socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)
    host, ports = socket.gethostname().partition(".")[0], _free_ports(4)
    text = _CONFIGURATION.format(
        folder=folder,
        host=host,
        ports=ports,
        cores=os.cpu_count(),
        largest_array=largest_array,
        accounting=slurm_accounting.SLURM_CONFIGURATION.format(folder=folder, port=ports[2])
        if accounting
        else "AccountingStorageType=accounting_storage/none\n",
    )
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("ConstrainCores=no\nConstrainRAMSpace=no\n")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{what}={folder}/{name}" for what, name in _MUNGE_FILES.items()]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        subprocess.run([_path("munged"), "--force", *munge], check=True)
        stack.callback(_stop, folder / "munged.pid")
        if accounting:
            stack.enter_context(slurm_accounting.database(folder, ports[3]))
            stack.callback(_stop, folder / "slurmdbd.pid")
            slurm_accounting.start_accounting(folder, host, *ports[2:], environment)
        for name in ("slurmctld", "slurmd"):
            subprocess.run([_path(name), *_FRESH.get(name, [])], check=True, env=environment)
            stack.callback(_stop, folder / f"{name}.pid")
        stack.callback(subprocess.run, ["scancel", "--user=root"], check=False, env=environment)
        _wait_until_idle(environment)
        yield environment


def wait_for_jobs(environment: dict[str, str], seconds: float = 900) -> None:
    """Wait until the queue is empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not _ask(environment, "squeue", "--noheader"):
            return
        time.sleep(1)
    raise TimeoutError(_ask(environment, "squeue"))


def _wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(60):
        if _ask(environment, "sinfo", "--noheader", "--format=%T") == "idle":
            return
        time.sleep(1)
    raise TimeoutError(_ask(environment, "sinfo"))


def _ask(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip()


def _stop(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _path(name: str) -> str:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or ""
