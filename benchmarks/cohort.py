"""Time, memory and work directory of a cohort, against the number of participants.

python benchmarks/cohort.py 10 40 [--nprocs 2] [--trivial]

The participants are copies (hard links) of one small simulated scan, mapped with the quickest
methods, so that what is measured is the machinery and not the numerics. With ``--trivial`` only
the process that conducts the nodes is measured: each node passes a file name on, in that process.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.numerics.simulate.signal import ScanParams

QUICK = (
    "--skip-bids-validation",
    "--mask-method",
    "robust",
    "--mask-refinement",
    "none",
    "--unwrap",
    "laplacian",
    "--background",
    "vsharp",
    "--inversion",
    "tkd",
    "--omp-nthreads",
    "1",
    "--device",
    "cpu",
)
MIB = 2**20


def make_cohort(folder: Path, participants: int) -> Path:
    """Write a data set whose participants share the files of one."""
    raw = folder / "raw"
    write_simulated_dataset(
        raw,
        shape=(32, 38, 30),
        voxel_size_mm=(6.0, 6.0, 6.0),
        params=ScanParams(echo_times_s=(0.004, 0.009, 0.014)),
    )
    for number in range(2, participants + 1):
        label = f"{number:04d}"
        copy = raw / f"sub-{label}" / "anat"
        copy.mkdir(parents=True)
        for path in (raw / "sub-01" / "anat").iterdir():
            os.link(path, copy / path.name.replace("sub-01", f"sub-{label}"))
    return raw


def processes(parent: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [parent]
    for process in found:
        found += children.get(process, [])
    return found


def proportional_mib(process: int) -> float:
    """Return the memory of a process, with its part of what it shares."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def size_mib(folder: Path) -> float:
    """Return what the files of a folder take."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total / MIB


def measure(participants: int, nprocs: int) -> dict[str, float]:
    """Map a cohort and watch it once in a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = make_cohort(folder, participants)
        out, work = folder / "out", folder / "work"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        main, together, disk = [], [], []
        command = [
            sys.executable,
            "-m",
            "qsm_pipeline",
            raw,
            out,
            "participant",
            "-w",
            work,
            *QUICK,
            "--nprocs",
            nprocs,
        ]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                memory = [proportional_mib(each) for each in processes(process.pid)]
                main.append(memory[0])
                together.append(sum(memory))
                disk.append(size_mib(work))
                time.sleep(1)
        if process.returncode:
            raise SystemExit(f"the command ended with status {process.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        working = [m for m in main if m > 0.5 * max(main)]
        middle = len(working) // 2
        return {
            "wall_s": time.monotonic() - start,
            "cpu_s": sum(after[:2]) - sum(before[:2]),
            "main_middle_mib": working[middle],
            "main_end_mib": working[-1],
            "together_mib": max(together),
            "work_mib": max(disk),
            "work_left_mib": size_mib(work),
            "out_mib": size_mib(out),
        }


def _same(file: str) -> str:
    return file


def measure_trivial(participants: int, nodes: int = 11) -> dict[str, float]:
    """Conduct as many trivial nodes as a cohort has, and return the memory of this process."""
    from nipype.interfaces.utility import Function
    from nipype.pipeline.engine import Node, Workflow
    from nipype.pipeline.plugins.multiproc import run_node

    from qsm_pipeline.app.progress import Progress
    from qsm_pipeline.engine import local_plugin as plugin
    from qsm_pipeline.engine import runner as engine
    from qsm_pipeline.engine.resources import Resources

    class InThisProcess(plugin.ProcessPerNodePlugin):
        def _submit_job(self, node: Node, updatehash: bool = False) -> int:
            self._taskid += 1
            self._taskresult[self._taskid] = run_node(node, updatehash, self._taskid)
            return self._taskid

        def _get_result(self, taskid: int) -> dict[str, object]:
            return self._taskresult[taskid]

        def _clear_task(self, taskid: int) -> None:
            del self._taskresult[taskid]

    engine.ProcessPerNodePlugin = InThisProcess
    plugin.quiet_nipype(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        whole = Workflow("qsm", base_dir=name)
        for number in range(participants):
            run = Workflow(f"sub_{number:04d}_wf")
            chain = [
                Node(Function(["file"], ["file"], _same), name=f"node{n:02d}")
                for n in range(nodes)
            ]
            chain[0].inputs.file = f"{name}/{number}"
            run.connect([(a, b, [("file", "file")]) for a, b in pairwise(chain)])
            whole.add_nodes([run])
        memory: list[float] = []
        disk = [0.0]

        def done(run: str, _written: list[str], _seconds: float) -> None:
            memory.append(proportional_mib(os.getpid()))
            disk.append(size_mib(work))
            shutil.rmtree(work / "qsm" / run)

        labels = {f"sub_{number:04d}_wf": f"sub-{number:04d}" for number in range(participants)}
        progress = Progress(whole, labels, lambda line: None, done)
        resources = Resources(nprocs=20, omp_nthreads=1, mem_gb=40, device="cpu")
        outcome = engine.run_workflow(whole, work, resources, watch=progress.note)
        if outcome.failures or len(memory) != participants:
            raise SystemExit(f"{len(memory)} of {participants} ended: {outcome.failures[:1]}")
        after = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "wall_s": time.monotonic() - start,
            "cpu_s": sum(after[:2]) - sum(before[:2]),
            "first_mib": memory[0],
            "middle_mib": memory[participants // 2],
            "last_mib": memory[-1],
            "work_mib": max(disk),
        }


def main() -> None:
    """Print a row for each number of participants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("participants", type=int, nargs="+")
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--trivial", action="store_true")
    given = parser.parse_args()
    if given.trivial:
        print(
            "| participants | wall s | CPU s | memory at the first MiB | half way | at the last "
            "| work directory, most MiB |\n" + "|---" * 7 + "|"
        )
        for participants in given.participants:
            shown = " | ".join(f"{value:.1f}" for value in measure_trivial(participants).values())
            print(f"| {participants} | {shown} |", flush=True)
        return
    print(
        "| participants | wall s | CPU s | main process, half way MiB | at its end "
        "| all processes together, most MiB | work directory, most MiB | left at the end "
        "| output MiB |\n" + "|---" * 9 + "|"
    )
    for participants in given.participants:
        figures = measure(participants, given.nprocs)
        shown = " | ".join(f"{value:.1f}" for value in figures.values())
        print(f"| {participants} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
