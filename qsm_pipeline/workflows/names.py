"""Names of workflows."""

from __future__ import annotations

from qsm_pipeline.bids.run import GreRun


def node_name(run: GreRun) -> str:
    """Return the name of the workflow of a run, which nipype wants to be alphanumeric."""
    return run.prefix.replace("-", "_").replace("+", "_") + "_wf"
