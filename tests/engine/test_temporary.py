"""What a command that was killed leaves in the folder for temporary files."""

import os
import subprocess
import sys
import tempfile

import commands

from qsm_pipeline.engine.temporary import remove_left_behind

_START = (
    "import os, signal; from multiprocessing import util; "
    "from qsm_pipeline.engine.temporary import claim_sockets; claim_sockets(); "
    "print(os.path.basename(util.get_temp_dir()), flush=True); "
)


def _start(folder, then):
    environment = commands.environment() | {"TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", _START + then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_only_what_killed_commands_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = _start(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    left = tmp_path / killed.communicate()[0].strip()
    living = _start(tmp_path, "input()")
    alive = tmp_path / living.stdout.readline().strip()
    assert not left.exists()  # the next start has removed it
    (tmp_path / "pymp-other").mkdir()
    (tmp_path / "pymp-link").symlink_to(alive)
    os.mkfifo(tmp_path / "qsm-pipeline-pipe")
    remove_left_behind()
    assert {path.name for path in tmp_path.iterdir()} == {
        alive.name,
        "pymp-other",
        "pymp-link",
        "qsm-pipeline-pipe",
    }
    living.communicate("\n")
    assert not alive.exists()
