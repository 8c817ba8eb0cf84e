"""Run one node, and print how many threads its process has and what limits them.

python tests/node_threads.py FOLDER: a process of its own, since the server from which nodes are
forked keeps the environment of the first workflow of its process.
"""

import sys
from pathlib import Path

from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.resources import Resources
from qsm_pipeline.workflows.engine import run_workflow


def count_threads(path):
    """Let OpenBLAS and torch do something large, and count the threads that are there then."""
    import os
    from pathlib import Path

    import numpy as np
    import torch

    values = np.ones((700, 700))
    _ = values @ values
    _ = torch.ones(700, 700) @ torch.ones(700, 700)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    found = [len(os.listdir("/proc/self/task")), *[os.environ.get(name) for name in names]]
    Path(path).write_text(str(found))
    return path


def main(folder):
    counts = folder / "counts.txt"
    workflow = Workflow("qsm", base_dir=str(folder / "work"))
    node = Node(Function(["path"], ["out"], count_threads), name="count", n_procs=1)
    node.inputs.path = str(counts)
    workflow.add_nodes([node])
    (folder / "logs").mkdir()
    outcome = run_workflow(workflow, folder / "logs", Resources(2, 1, 4.0, "cpu"))
    sys.stdout.write(f"{outcome.failures or counts.read_text()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
