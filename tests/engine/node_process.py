"""Run one node, and print the threads of its process, what limits them, and its memory in MiB.

python tests/engine/node_process.py FOLDER: a process of its own, since the server that nodes are
forked keeps the environment of the first workflow of its process.
"""

import sys
from pathlib import Path

from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.engine.resources import Resources
from qsm_pipeline.engine.runner import run_workflow


def measure_process(path):
    """Let OpenBLAS and torch do something large, and see what their process is like then."""
    import json
    import os
    import re
    from pathlib import Path

    import numpy as np
    import torch

    values = np.ones((700, 700))
    _ = values @ values
    _ = torch.ones(700, 700) @ torch.ones(700, 700)
    large = torch.ones(64 * 2**18)
    filled_mib = large.nbytes / 2**20

    def kib(name):
        rollup = Path("/proc/self/smaps_rollup")
        found = re.search(rf"{name}: +(\d+)", rollup.read_text() if rollup.exists() else "")
        return int(found.group(1)) if found else 0

    huge_kib = kib("AnonHugePages")
    del large
    volumes = [torch.ones(20 * 2**18)]
    volumes.clear()
    before = kib("Rss")
    volumes = [torch.ones(20 * 2**18) for _ in range(10)]
    del volumes[:-1]
    kept_kib = kib("Rss") - before
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    found = {
        "threads": len(os.listdir("/proc/self/task")),
        "limits": [os.environ.get(name) for name in names],
        "filled_mib": filled_mib,
        "huge_mib": huge_kib / 2**10,
        "volume_mib": volumes[0].nbytes / 2**20,
        "kept_mib": kept_kib / 2**10,
    }
    Path(path).write_text(json.dumps(found))
    return path


def main(folder):
    found = folder / "found.json"
    workflow = Workflow("qsm", base_dir=str(folder / "work"))
    node = Node(Function(["path"], ["out"], measure_process), name="measure", n_procs=1)
    node.inputs.path = str(found)
    workflow.add_nodes([node])
    (folder / "logs").mkdir()
    outcome = run_workflow(workflow, folder / "logs", Resources(2, 1, 4.0, "cpu"))
    sys.stdout.write(f"{outcome.failures or found.read_text()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
