"""What the server that nodes are forked from imports, and nothing else may."""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is heard by the command, which ends them

import qsm_pipeline.engine.nipype_defaults  # noqa: E402
import qsm_pipeline.workflows.run  # noqa: E402, F401
