"""Run one large participant through the real command and print its peak memory.

256x256x160 voxels and 5 echoes by default. The memory is that of all processes of the command
together, pages that they share counted once (PSS), sampled while it runs; Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HEAD_MM = (205.0, 243.0, 176.0)
LIMIT_GIB = 6.0
INTERVAL_S = 0.1


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and those that it started, however far down."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:  # it has ended meanwhile
            continue
        for child in children:
            yield from descendants(int(child))


def pss_gib(pid: int) -> float:
    """Return the proportional set size of a process, 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return 0.0


def newest_node(work: Path) -> str:
    """Return the name of the node that was started last."""
    folders = [path for path in work.glob("qsm*/*/*") if path.is_dir()]
    return max(folders, key=lambda path: path.stat().st_mtime).name if folders else "start"


def watch(process: subprocess.Popen, work: Path) -> dict[str, float]:
    """Return the peak of each node in GiB, in the order of running."""
    peaks: dict[str, float] = {}
    while process.poll() is None:
        total = sum(pss_gib(pid) for pid in descendants(process.pid))
        node = newest_node(work)
        peaks[node] = max(peaks.get(node, 0.0), total)
        time.sleep(INTERVAL_S)
    return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 160))
    parser.add_argument("options", nargs="*", help="of qsm-pipeline, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, out, work = (Path(folder) / name for name in ("raw", "out", "work"))
        voxel_mm = [str(mm / n) for mm, n in zip(HEAD_MM, args.shape, strict=True)]
        subprocess.run(
            [
                sys.executable,
                "-m",
                "qsm_pipeline.cli.simulate",
                raw,
                "--shape",
                *map(str, args.shape),
                "--voxel-size",
                *voxel_mm,
            ],
            check=True,
        )
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "qsm_pipeline",
                raw,
                out,
                "participant",
                "-w",
                work,
                "--skip-bids-validation",
                *args.options,
            ]
        )
        peaks = watch(process, work)
    print("\n| newest node | peak GiB of all processes |\n|---|---|")
    for node, peak in peaks.items():
        print(f"| {node} | {peak:.2f} |")
    print(f"\npeak {max(peaks.values()):.2f} GiB, limit {LIMIT_GIB:g} GiB")
    sys.exit(process.returncode or max(peaks.values()) > LIMIT_GIB)


if __name__ == "__main__":
    main()
