"""The command on a small simulated data set, in this process or in one of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import store
from click.testing import CliRunner

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.cli.main import main
from qsm_pipeline.numerics.simulate.signal import ScanParams

ROOT = Path(__file__).resolve().parents[1]
QUICK = (
    "--skip-bids-validation",
    "--mask-method",
    "robust",
    "--unwrap",
    "laplacian",
    "--background",
    "vsharp",
    "--inversion",
    "tkd",
    "--nprocs",
    "2",
    "--omp-nthreads",
    "1",
)
SOUND = "sound"
"""Label of a participant without a fault."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    output: str

    @property
    def lines(self) -> list[str]:
        """What was printed, without empty lines."""
        return [line for line in self.output.splitlines() if line.strip()]


def _simulate(folder: Path) -> None:
    write_simulated_dataset(
        folder / "raw",
        shape=(42, 50, 38),
        voxel_size_mm=(4.5, 4.5, 4.5),
        params=ScanParams(echo_times_s=(0.004, 0.009, 0.014)),
    )


def make_dataset(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write a small simulated data set with the same sound scan for every label."""
    if store.FOLDER not in os.environ:  # in a script
        with tempfile.TemporaryDirectory() as name:
            _simulate(Path(name))
            return _copy(Path(name) / "raw", folder / "raw", labels)
    return _copy(store.once("small", _simulate) / "raw", folder / "raw", labels)


def _copy(model: Path, raw: Path, labels: tuple[str, ...]) -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if path.is_file():
            shutil.copy(path, raw)
    for label in labels:
        copy = raw / f"sub-{label}" / "anat"
        copy.mkdir(parents=True)
        for path in (model / "sub-01" / "anat").iterdir():
            shutil.copy(path, copy / path.name.replace("sub-01", f"sub-{label}"))
    return raw


def call(*arguments: Any, program: Any = main) -> Result:
    """Run a command in this process, whose server of nodes has imported everything already."""
    done = CliRunner().invoke(program, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.output)


def run(raw: Path, out: Path, *more: Any) -> Result:
    """Run the level participant with quick methods in this process."""
    return call(raw, out, "participant", *QUICK, *more)


def command(raw: Path, out: Path, *more: Any) -> list[str]:
    """Return the same as words for a process of its own."""
    parts = (sys.executable, "-m", "qsm_pipeline", raw, out, "participant", *QUICK, *more)
    return [str(part) for part in parts]


def execute(arguments: list[str], **options: Any) -> Result:
    """Run a process to its end; more than ten minutes count as a hang.

    Needed for signals, limits, permissions and the environment of a process; `run` costs a
    quarter.
    """
    process = subprocess.run(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
        cwd="/",
        env=environment(),
        **options,
    )
    return Result(process.returncode, process.stdout)


def environment() -> dict[str, str]:
    """Return the environment of a process, in which this source is imported."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def without_privileges() -> list[str]:
    """Return the start of a command that the permissions of files bind, for root too."""
    if os.getuid():
        return []
    if shutil.which("setpriv") is None:
        raise PermissionError("root can write everywhere, and setpriv is not there to prevent it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
