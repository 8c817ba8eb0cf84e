"""The accounting of a test's Slurm: a database and the daemon that writes into it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmdbd", "mariadbd")
"""Of the packages slurmdbd and mariadb-server-core of Debian."""
SLURM_CONFIGURATION = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
"""
_CONFIGURATION = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=slurm
"""


@contextlib.contextmanager
def database(folder: Path, port: int) -> Iterator[None]:
    """Run a database of its own that asks nobody for a password, and stop it again."""
    data = folder / "database"
    data.mkdir()
    serve = [
        shutil.which("mariadbd", path="/usr/sbin:/usr/bin"),
        "--no-defaults",
        "--user=root",
        "--skip-grant-tables",
        "--bind-address=127.0.0.1",
        f"--datadir={data}",
        f"--port={port}",
        f"--socket={folder}/database.socket",
        "--innodb-buffer-pool-size=16M",
    ]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL) as process:
        try:
            while not (folder / "database.socket").exists() and process.poll() is None:
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def start_accounting(
    folder: Path, host: str, port: int, database_port: int, environment: dict[str, str]
) -> None:
    """Start the daemon that Slurm tells of its jobs, and make the cluster known to it."""
    text = _CONFIGURATION.format(folder=folder, host=host, port=port, database_port=database_port)
    (folder / "slurmdbd.conf").write_text(text)
    (folder / "slurmdbd.conf").chmod(0o600)
    daemon = shutil.which("slurmdbd", path="/usr/sbin:/usr/bin")
    subprocess.run([daemon], check=True, env=environment)
    for _ in range(100):
        done = subprocess.run(
            ["sacctmgr", "--immediate", "add", "cluster", "test"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if not done.returncode or "already exists" in done.stdout:
            return
        time.sleep(0.5)
    raise TimeoutError(done.stdout + done.stderr)
