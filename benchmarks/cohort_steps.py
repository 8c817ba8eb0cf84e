"""CPU time and memory of what a command does before the first node, for large cohorts.

PYTHONPATH=tests python benchmarks/cohort_steps.py 2000

The participants are hard links of one tiny scan with three echoes.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from bids_trees import add_megre, make_dataset
from nipype.pipeline.engine.utils import generate_expanded_graph

from qsm_pipeline.app.execution import init_participants_wf
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.engine.resources import Resources


def make_cohort(raw: Path, participants: int) -> None:
    """Write a data set whose participants share the files of one."""
    make_dataset(raw)
    add_megre(raw, sub="0001")
    for number in range(2, participants + 1):
        copy = raw / f"sub-{number:04d}" / "anat"
        copy.mkdir(parents=True)
        for path in (raw / "sub-0001" / "anat").iterdir():
            os.link(path, copy / path.name.replace("sub-0001", f"sub-{number:04d}"))


def timed(step: str, function: Callable[[], Any]) -> Any:
    """Call a function and print a row of the table."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = function()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"| {step} | {cpu_s:.1f} | {after.ru_maxrss / 1024:.0f} |", flush=True)
    return result


def graph_of(runs: Any, folder: Path) -> Any:
    """Build the graph as nipype executes it."""
    workflow = init_participants_wf(
        runs=runs,
        out_dir=folder / "out",
        work_dir=folder / "work",
        resources=Resources(nprocs=2, omp_nthreads=1, mem_gb=4, device="cpu"),
    )
    flat = workflow._create_flat_graph()
    return generate_expanded_graph(deepcopy(flat))


def main(participants: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw, database = folder / "raw", folder / "index"
        make_cohort(raw, participants)
        print("| step | CPU s | peak memory so far, MiB |\n|---|---|---|")
        timed("folders read, no index", lambda: index(raw))
        timed("index, kept", lambda: index(raw, None, database))
        layout = timed("kept index opened", lambda: index(raw, None, database))
        timed("one participant collected", lambda: collect_runs(layout, ["0001"]))
        runs = timed("all collected", lambda: collect_runs(layout)).runs
        timed("graph", lambda: graph_of(runs, folder))


if __name__ == "__main__":
    main(int(sys.argv[1]))
