"""Provoke the faults that a user meets. ``python tests/faults.py`` writes docs/faults.md."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.numerics.simulate.signal import ScanParams

ROOT = Path(__file__).resolve().parents[1]
QUICK = (
    "--skip-bids-validation", "--mask-method", "robust", "--unwrap", "laplacian",
    "--background", "vsharp", "--inversion", "tkd", "--nprocs", "2", "--omp-nthreads", "1",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A participant made unusable.

    Parameters
    ----------
    name : str
        Of the fault, in the table.
    how : str
        It is provoked.
    provoke : callable
        Gets the ``anat`` folder of the participant.
    words : str
        Must stand in the line that is printed.
    """

    name: str
    how: str
    provoke: Callable[[Path], None]
    words: str


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    output: str

    @property
    def lines(self) -> list[str]:
        """What was printed, without empty lines."""
        return [line for line in self.output.splitlines() if line.strip()]


def _remove(pattern: str) -> Callable[[Path], None]:
    def provoke(folder: Path) -> None:
        for path in list(folder.glob(pattern)):
            path.unlink()

    return provoke


def _set(key: str, value: Any) -> Callable[[Path], None]:
    """Set a key of every sidecar, remove it for None, or change it with a function."""

    def provoke(folder: Path) -> None:
        for path in folder.glob("*.json"):
            sidecar = json.loads(path.read_text())
            old = sidecar.pop(key)
            new = value(old) if callable(value) else value
            path.write_text(json.dumps(sidecar if new is None else {**sidecar, key: new}))

    return provoke


def _truncate(folder: Path) -> None:
    path = next(folder.glob("*echo-2_part-phase*.nii.gz"))
    path.write_bytes(path.read_bytes()[:2000])


def _grow(folder: Path) -> None:
    """Make each image 4000 voxels wide, of zeros that take no room on the disk."""
    for path in list(folder.glob("*.nii.gz")):
        small = nib.load(path)
        header = small.header.copy()
        path.unlink()
        header.set_data_shape((4000, 4000, 4000))
        header.set_data_dtype(np.int16)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        with path.with_suffix("").open("wb") as file:
            file.write(header.binaryblock)
            file.truncate(352 + 2 * 4000**3)


PARTICIPANTS = {
    "noMagnitude": Fault(
        "missing echo", "the magnitude of echo 2 removed", _remove("*echo-2_part-mag*"),
        "Echo 2 has a phase image but no magnitude image; add it",
    ),
    "noSidecar": Fault(
        "missing sidecar", "the JSON of echo 1, phase, removed",
        _remove("*echo-1_part-phase*.json"), "EchoTime is missing from its sidecar",
    ),
    "noField": Fault(
        "field strength missing", "`MagneticFieldStrength` removed",
        _set("MagneticFieldStrength", None), "MagneticFieldStrength is missing",
    ),
    "zeroField": Fault(
        "field strength of zero", "`MagneticFieldStrength: 0`", _set("MagneticFieldStrength", 0),
        "MagneticFieldStrength is 0, expected tesla",
    ),
    "gauss": Fault(
        "field strength in gauss", "`MagneticFieldStrength: 30000`",
        _set("MagneticFieldStrength", 30000), "looks like gauss, so write 3 instead",
    ),
    "millitesla": Fault(
        "field strength in mT", "`MagneticFieldStrength: 300`",
        _set("MagneticFieldStrength", 300), "looks like millitesla, so write 0.3 instead",
    ),
    "text": Fault(
        "field strength as a text", '`MagneticFieldStrength: "3 T"`',
        _set("MagneticFieldStrength", "3 T"), "MagneticFieldStrength is '3 T', expected one",
    ),
    "milliseconds": Fault(
        "echo times in ms", "`EchoTime` multiplied by 1000",
        _set("EchoTime", lambda seconds: 1000 * seconds), "milliseconds, so write 0.004 instead",
    ),
    "truncated": Fault(
        "truncated NIfTI", "a phase image cut off after 2000 bytes", _truncate,
        "is damaged or was cut off",
    ),
    "huge": Fault(
        "more voxels than memory", "sparse images of 4000 x 4000 x 4000 voxels", _grow,
        "has 4000 x 4000 x 4000 voxels, which with 3 echo(es) need at least 2861.0 GiB of memory",
    ),
}  # fmt: skip
GAP = "gap"
"""A participant whose second echo is not there at all: usable, and said."""
SOUND = "sound"


def make_dataset(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write a small simulated data set with the same sound scan for every label."""
    raw = folder / "raw"
    write_simulated_dataset(
        raw, shape=(42, 50, 38), voxel_size_mm=(4.5, 4.5, 4.5),
        params=ScanParams(echo_times_s=(0.004, 0.009, 0.014)),
    )  # fmt: skip
    model = (raw / "sub-01").rename(folder / "model") / "anat"
    for label in labels:
        copy = raw / f"sub-{label}" / "anat"
        copy.mkdir(parents=True)
        for path in model.iterdir():
            shutil.copy(path, copy / path.name.replace("sub-01", f"sub-{label}"))
    shutil.rmtree(model.parent)
    return raw


def command(raw: Path, out: Path, *more: Any) -> list[str]:
    """Return the command on a data set, with quick methods."""
    parts = (sys.executable, "-m", "qsm_pipeline", raw, out, "participant", *QUICK, *more)
    return [str(part) for part in parts]


def execute(arguments: list[str], **options: Any) -> Result:
    """Run a command to its end; more than ten minutes count as a hang."""
    process = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=600, cwd="/", env=environment(), **options,
    )  # fmt: skip
    return Result(process.returncode, process.stdout)


def break_participants(folder: Path) -> Path:
    """Write one sound participant among all that are broken."""
    raw = make_dataset(folder, (*PARTICIPANTS, GAP, SOUND))
    for label, fault in PARTICIPANTS.items():
        fault.provoke(raw / f"sub-{label}" / "anat")
    _remove("*echo-2_*")(raw / f"sub-{GAP}" / "anat")
    return raw


def run_with_gap(folder: Path) -> Result:
    """Run a participant whose second echo is not there at all."""
    raw = make_dataset(folder, (GAP,))
    _remove("*echo-2_*")(raw / f"sub-{GAP}" / "anat")
    return execute(command(raw, folder / "out"))


def run_with_read_only_output(folder: Path) -> Result:
    """Run as somebody who may not write to the output folder."""
    raw = make_dataset(folder, (SOUND,))
    out = folder / "out"
    out.mkdir(mode=0o555)
    return execute([*without_privileges(), *command(raw, out)])


def run_on_full_disk(folder: Path) -> Result:
    """Run with an output folder on a disk that is too small for the maps."""
    raw = make_dataset(folder, (SOUND,))
    out = folder / "out"
    out.mkdir()
    with small_disk(out, "400k"):
        result = execute(command(raw, out, "-w", folder / "work"))
        shutil.copytree(out, folder / "left")  # what lies there goes when the disk is unmounted
    return result


def run_with_file_limit(folder: Path) -> Result:
    """Run where no file may have more than 256 KiB."""
    raw = make_dataset(folder, (SOUND,))
    limit = (resource.RLIMIT_FSIZE, (2**18, 2**18))
    return execute(command(raw, folder / "out"), preexec_fn=lambda: resource.setrlimit(*limit))


def run_with_killed_node(folder: Path) -> Result:
    """Run two participants and kill a node of the first with SIGKILL."""
    return _disturbed(folder, "killed", lambda _, node: os.kill(node, signal.SIGKILL))


def run_stopped(folder: Path, number: int) -> Result:
    """Send a signal to the command and all its processes, as a terminal does for Ctrl-C."""
    return _disturbed(folder, "stopped", lambda command, _: os.killpg(command, number))


def _disturbed(folder: Path, label: str, disturb: Callable[[int, int], None]) -> Result:
    """Run two participants; ``disturb`` gets the command and a node of the first."""
    raw = make_dataset(folder, (label, SOUND))
    with subprocess.Popen(
        command(raw, folder / "out"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd="/", env=environment(), start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    ) as process:  # fmt: skip
        target = None
        while target is None and process.poll() is None:
            target = _process_in(f"sub_{label}_wf")
            time.sleep(0.002)
        if target is not None:
            disturb(process.pid, target)
        output, _ = process.communicate(timeout=600)
    return Result(process.returncode, output)


def enlarge(folder: Path, times: int) -> None:
    """Repeat each voxel of the images in each direction."""
    for path in folder.glob("*.nii.gz"):
        image = nib.load(path)
        values = np.asanyarray(image.dataobj.get_unscaled())
        for axis in range(3):
            values = values.repeat(times, axis=axis)
        affine = image.affine @ np.diag([1 / times] * 3 + [1])
        large = nib.Nifti1Image(values, affine, image.header.copy())
        large.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
        nib.save(large, path)


TOO_LITTLE_MEMORY = int(1.6 * 2**30)


def run_in_a_cgroup(folder: Path, limit_bytes: int) -> Result:
    """Run two participants in a group of so much memory, which is too little for the first."""
    raw = make_dataset(folder, ("large", SOUND))
    enlarge(raw / "sub-large" / "anat", 5)
    with memory_group(limit_bytes) as group:
        members = group / "cgroup.procs"
        return execute(
            command(raw, folder / "out"), preexec_fn=lambda: members.write_text(str(os.getpid()))
        )


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a cgroup below one with limited memory; `PermissionError` where that is not allowed."""
    top = Path("/sys/fs/cgroup")
    version_2 = (top / "cgroup.controllers").exists()
    outer = top / "qsm-test" if version_2 else top / "memory" / "qsm-test"
    inner = outer / "inner"
    try:
        inner.mkdir(parents=True)
        name = "memory.max" if version_2 else "memory.limit_in_bytes"
        (outer / name).write_text(str(limit_bytes))
    except OSError as error:
        _remove_groups(inner, outer)
        raise PermissionError(f"no group with a limit of memory can be made: {error}") from None
    try:
        yield inner
    finally:
        _remove_groups(inner, outer)


def _remove_groups(*groups: Path) -> None:
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()


def run_without_gpu(folder: Path) -> Result:
    """Ask for a GPU where there is none."""
    raw = make_dataset(folder, (SOUND,))
    hidden = ["env", "CUDA_VISIBLE_DEVICES="]
    return execute([*hidden, *command(raw, folder / "out", "--device", "cuda")])


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a memory disk of that size; `PermissionError` where that is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def without_privileges() -> list[str]:
    """Return the start of a command that the permissions of files bind, for root too."""
    if os.getuid():
        return []
    if shutil.which("setpriv") is None:
        raise PermissionError("root can write everywhere, and setpriv is not there to prevent it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def environment() -> dict[str, str]:
    """Return the environment of a command, in which this source is imported."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _process_in(folder: str) -> int | None:
    """Return a process that works in a folder of that name."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if folder in os.readlink(entry / "cwd").split("/"):
                    return int(entry.name)
    return None


def _rows() -> Iterator[tuple[str, str, str, int | str]]:
    """Yield fault, how it was provoked, what was printed and the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = execute(command(break_participants(folder), folder / "out"))
        for label, fault in PARTICIPANTS.items():
            told = [line for line in result.lines if not line.startswith("progress: ")]
            line = next(line for line in told if f"sub-{label}" in line)
            yield fault.name, fault.how, _shown(line, folder), result.exit_code
    for name, how, run in RUNS:
        with tempfile.TemporaryDirectory() as folder_name:
            folder = Path(folder_name)
            try:
                result = run(folder)
            except PermissionError as error:
                yield name, how, f"not tried: {error}", "-"
                continue
            lines = [line for line in result.lines if line.startswith(_TELLING)]
            shown = "`<br>`".join(_shown(line, folder) for line in lines)
            yield name, how, shown, result.exit_code


def _shown(line: str, folder: Path) -> str:
    line = line.replace(str(folder), "").replace("|", "\\|")
    return re.sub(r" \(/\S*crash-\S*\)$", " (crash file)", line)


_TELLING = ("FAILED", "Error", "note")
RUNS = (
    ("echo missing altogether", "both images of echo 2 removed: two are left", run_with_gap),
    (
        "read-only output folder",
        "mode 555, by a process without privileges",
        run_with_read_only_output,
    ),
    ("full disk", "output folder on a tmpfs of 400 KiB", run_on_full_disk),
    ("full disk, work folder", "files limited to 256 KiB (RLIMIT_FSIZE)", run_with_file_limit),
    ("killed worker", "SIGKILL to the process of one node", run_with_killed_node),
    (
        "stopped by the user",
        "Ctrl-C (SIGINT to the process group) while nodes work",
        lambda folder: run_stopped(folder, signal.SIGINT),
    ),
    (
        "stopped by the system",
        "SIGTERM to the process group while nodes work",
        lambda folder: run_stopped(folder, signal.SIGTERM),
    ),
    (
        "too little memory",
        "a cgroup of 1.6 GiB, one of two participants of 210 x 250 x 190 voxels",
        lambda folder: run_in_a_cgroup(folder, TOO_LITTLE_MEMORY),
    ),
    ("GPU that is not there", "`--device cuda` without a GPU", run_without_gpu),
)

if __name__ == "__main__":
    rows = "".join(
        f"| {name} | {how} | `{shown}` | {code} |\n" for name, how, shown, code in _rows()
    )
    (ROOT / "docs" / "faults.md").write_text(
        "# Faults and what they look like\n\n"
        "Written by `python tests/faults.py`, which provokes each of them for real with\n"
        "`qsm-pipeline` on a small simulated data set; `tests/test_faults.py` checks them. The\n"
        "participants of the first rows were run together with one that is sound, which was\n"
        "mapped. A status of 1: a run failed or was left out; 2: nothing was run. What clusters,\n"
        "containers and environments take away is in [hpc.md](hpc.md), kills and commands that\n"
        "meet are in [cohorts.md](cohorts.md), broken files in [hostile.md](hostile.md).\n\n"
        "| fault | provoked by | printed | exit status |\n|---|---|---|---|\n" + rows
    )
