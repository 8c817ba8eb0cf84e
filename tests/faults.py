"""Provoke the faults that a user meets.

``tools/faults_table.py`` makes tests/faults.md of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np
from commands import (
    SOUND,
    Result,
    command,
    environment,
    execute,
    make_dataset,
    run,
    without_privileges,
)


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
        "missing echo",
        "the magnitude of echo 2 removed",
        _remove("*echo-2_part-mag*"),
        "Echo 2 has a phase image but no magnitude image; add it",
    ),
    "noSidecar": Fault(
        "missing sidecar",
        "the JSON of echo 1, phase, removed",
        _remove("*echo-1_part-phase*.json"),
        "EchoTime is missing from its sidecar",
    ),
    "noField": Fault(
        "field strength missing",
        "`MagneticFieldStrength` removed",
        _set("MagneticFieldStrength", None),
        "MagneticFieldStrength is missing",
    ),
    "zeroField": Fault(
        "field strength of zero",
        "`MagneticFieldStrength: 0`",
        _set("MagneticFieldStrength", 0),
        "MagneticFieldStrength is 0, expected tesla",
    ),
    "gauss": Fault(
        "field strength in gauss",
        "`MagneticFieldStrength: 30000`",
        _set("MagneticFieldStrength", 30000),
        "looks like gauss, so write 3 instead",
    ),
    "millitesla": Fault(
        "field strength in mT",
        "`MagneticFieldStrength: 300`",
        _set("MagneticFieldStrength", 300),
        "or like millitesla, so write 0.3",
    ),
    "text": Fault(
        "field strength as a text",
        '`MagneticFieldStrength: "3 T"`',
        _set("MagneticFieldStrength", "3 T"),
        "MagneticFieldStrength is '3 T', expected one",
    ),
    "milliseconds": Fault(
        "echo times in ms",
        "`EchoTime` multiplied by 1000",
        _set("EchoTime", lambda seconds: 1000 * seconds),
        "milliseconds, so write 0.004 instead",
    ),
    "truncated": Fault(
        "truncated NIfTI",
        "a phase image cut off after 2000 bytes",
        _truncate,
        "is damaged or was cut off",
    ),
    "huge": Fault(
        "more voxels than memory",
        "sparse images of 4000 x 4000 x 4000 voxels",
        _grow,
        "has 4000 x 4000 x 4000 voxels, which with 3 echo(es) need at least 2861.0 GiB of memory",
    ),
}
GAP = "gap"
"""A participant whose second echo is not there at all: usable, and said."""


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
    return run(raw, folder / "out")


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
        result = run(raw, out, "-w", folder / "work")
        shutil.copytree(out, folder / "left")  # what lies there goes when the disk is unmounted
    return result


def run_with_file_limit(folder: Path) -> Result:
    """Run where no file may have more than 256 KiB."""
    raw = make_dataset(folder, (SOUND,))
    limit = (resource.RLIMIT_FSIZE, (2**18, 2**18))
    return execute(command(raw, folder / "out"), preexec_fn=lambda: resource.setrlimit(*limit))


def run_with_killed_node(folder: Path) -> Result:
    """Run two participants and kill a node of the first with SIGKILL."""
    raw, out = make_dataset(folder, ("killed", SOUND)), folder / "out"
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.002):
            if node := _process_in(out, "sub_killed_wf"):
                os.kill(node, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        return run(raw, out)
    finally:
        ended.set()
        killer.join()


def run_stopped(folder: Path, number: int) -> Result:
    """Send a signal to the command and all its processes, as a terminal does for Ctrl-C."""
    raw, out = folder / "raw", folder / "out"
    if not raw.exists():  # or it goes on from where it was stopped before
        make_dataset(folder, ("stopped",))
    with subprocess.Popen(
        command(raw, out),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    ) as process:
        while process.poll() is None:
            if _process_in(out, "sub_stopped_wf"):
                os.killpg(process.pid, number)
                break
            time.sleep(0.002)
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


TOO_LITTLE_MEMORY = int(1.1 * 2**30)


def run_in_a_cgroup(folder: Path, limit_bytes: int) -> Result:
    """Run two participants in a group of so much memory, which is too little for the first."""
    raw = make_dataset(folder, ("large", SOUND))
    enlarge(raw / "sub-large" / "anat", 6)
    with memory_group(limit_bytes) as group:
        members = group / "cgroup.procs"
        return execute(
            command(raw, folder / "out", "--mem-gb", "4"),  # more than there is
            preexec_fn=lambda: members.write_text(str(os.getpid())),
        )


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Make a cgroup below one with limited memory; `PermissionError` where that is not allowed."""
    top = Path("/sys/fs/cgroup")
    version_2 = (top / "cgroup.controllers").exists()
    outer = (top if version_2 else top / "memory") / f"qsm-test-{os.getpid()}"
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
    with mock.patch("torch.cuda.is_available", return_value=False):
        return run(raw, folder / "out", "--device", "cuda")


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


def _process_in(out: Path, run_name: str) -> int | None:
    """Return a process that works on a run below an output folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                place = Path(os.readlink(entry / "cwd"))
                if out in place.parents and run_name in place.parts:
                    return int(entry.name)
    return None
