"""With -v every message is printed once, in one format."""

import subprocess
import sys

import commands

CODE = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="ONE %(name)s %(message)s", stream=sys.stdout)
import qsm_pipeline.engine.nipype_defaults
from qsm_pipeline.engine.local_plugin import quiet_nipype
quiet_nipype(logging.INFO)
for name in ("nipype", "nipype.workflow", "nipype.interface", "nipype.utils"):
    logging.getLogger(name).info("hello")
"""


def test_messages_of_nipype_are_printed_once():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env=commands.environment(),
    )
    assert done.stdout.splitlines() == [
        f"ONE nipype{part} hello" for part in ("", ".workflow", ".interface", ".utils")
    ]
    assert "hello" not in done.stderr
