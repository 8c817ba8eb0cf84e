"""Write tests/faults.md: ``PYTHONPATH=tests python tools/faults_table.py``."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import faults
from commands import ROOT, run

HEAD = """\
# Faults and what they look like

Written by `PYTHONPATH=tests python tools/faults_table.py`, which provokes each for real with
`qsm-pipeline` on a small simulated data set; `tests/test_faults.py` checks them. The participants
of the first rows were run together with one that is sound, which was mapped. A status of 1: a run
failed or was left out; 2: nothing was run. What clusters, containers and environments take away
is in [clusters](../benchmarks/clusters.md), kills and commands that meet are in
[cohorts](../benchmarks/cohorts.md), broken files in [corpus](hostile/corpus.md).

"""
_TELLING = ("FAILED", "Error", "note")
RUNS = (
    (
        "echo missing altogether",
        "both images of echo 2 removed: two are left",
        faults.run_with_gap,
    ),
    (
        "read-only output folder",
        "mode 555, by a process without privileges",
        faults.run_with_read_only_output,
    ),
    ("full disk", "output folder on a tmpfs of 400 KiB", faults.run_on_full_disk),
    (
        "full disk, work folder",
        "files limited to 256 KiB (RLIMIT_FSIZE)",
        faults.run_with_file_limit,
    ),
    ("killed worker", "SIGKILL to the process of one node", faults.run_with_killed_node),
    (
        "stopped by the user",
        "Ctrl-C (SIGINT to the process group) while nodes work",
        lambda folder: faults.run_stopped(folder, signal.SIGINT),
    ),
    (
        "stopped by the system",
        "SIGTERM to the process group while nodes work",
        lambda folder: faults.run_stopped(folder, signal.SIGTERM),
    ),
    (
        "too little memory",
        "a cgroup of 1.1 GiB and `--mem-gb 4`, one of two participants of 252 x 300 x 228 voxels",
        lambda folder: faults.run_in_a_cgroup(folder, faults.TOO_LITTLE_MEMORY),
    ),
    ("GPU that is not there", "`--device cuda` without a GPU", faults.run_without_gpu),
)


def _rows() -> Iterator[tuple[str, str, str, int | str]]:
    """Yield fault, how it was provoked, what was printed and the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = run(faults.break_participants(folder), folder / "out")
        for label, fault in faults.PARTICIPANTS.items():
            told = [line for line in result.lines if line.startswith(("skipped ", "FAILED "))]
            line = next(line for line in told if f"sub-{label}" in line)
            yield fault.name, fault.how, _shown(line, folder), result.exit_code
    for name, how, provoke in RUNS:
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            try:
                result = provoke(folder)
            except PermissionError as error:
                yield name, how, f"not tried: {error}", "-"
                continue
            lines = [line for line in result.lines if line.startswith(_TELLING)]
            shown = "`<br>`".join(_shown(line, folder) for line in lines)
            yield name, how, shown, result.exit_code


def _shown(line: str, folder: Path) -> str:
    line = line.replace(str(folder), "").replace("|", "\\|")
    line = re.sub(r"/qsm_\w+/", "/qsm_VERSION/", line)  # it has a hash of the code too
    return re.sub(r" \(/\S*crash-\S*\)$", " (crash file)", line)


if __name__ == "__main__":
    rows = "".join(
        f"| {name} | {how} | `{shown}` | {code} |\n" for name, how, shown, code in _rows()
    )
    (ROOT / "tests" / "faults.md").write_text(
        HEAD + "| fault | provoked by | printed | exit status |\n|---|---|---|---|\n" + rows
    )
