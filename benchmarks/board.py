"""QSM-CI's own runner and scorer over the entries of contrib/qsm-ci, on a simulated head.

python benchmarks/board.py [FOLDER] [--only SLUG ...]: what lies in FOLDER is used again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import nibabel as nib
import numpy as np
import torch
import yaml
from qsm_ci.stages import ARTIFACT_FILE, STAGES
from textured_phantom import textured_phantom

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = ROOT / "contrib" / "qsm-ci"
PROTOCOL = ScanParams(echo_times_s=(0.004, 0.012, 0.020, 0.028), b0_tesla=7.0, snr=100.0)
"""As the simulated scan of QSM-CI."""
CALCIFICATION_PPM = -2.0


def write_case(
    folder: Path, shape: tuple[int, ...], voxel_mm: float, *, tilt_deg: float = 0.0, seed: int = 7
) -> None:
    """Write a head with calcifications and microbleeds under QSM-CI's names."""
    folder.mkdir(parents=True, exist_ok=True)
    voxel = (voxel_mm,) * 3
    affine = tilted_affine(shape, voxel, tilt_deg)
    made = simulate_scan(shape, affine, PROTOCOL, seed=seed, n_lesions=4)
    volumes = {
        "phase": np.moveaxis(made.phase_rad.numpy(), 0, -1),
        "magnitude": np.moveaxis(made.magnitude.numpy(), 0, -1),
        "mask": made.brain.numpy().astype(np.float32),
        "totalfield": (made.total_field_ppm * made.brain).numpy(),
        "localfield": (made.local_field_ppm * made.brain).numpy(),
        "chimap": made.chi_ppm.numpy(),
    }
    for name, array in volumes.items():
        nib.save(nib.Nifti1Image(array, np.diag([*voxel, 1.0])), folder / f"{name}.nii.gz")
    facts = {
        "TE": PROTOCOL.echo_times_s,
        "B0": PROTOCOL.b0_tesla,
        "B0_dir": Grid.from_affine(tuple(shape), affine).b0_dir,
        "voxel_size": voxel,
    }
    (folder / "params.json").write_text(json.dumps(facts))


def write_phantom(folder: Path) -> None:
    """Write the local field of the textured phantom with a calcification, for dipole inversion."""
    folder.mkdir(parents=True, exist_ok=True)
    made = textured_phantom()
    chi, (x, y, z) = made.chi_ppm.clone(), made.chi_ppm.shape
    axes = torch.meshgrid(*(torch.arange(n) for n in (x, y, z)), indexing="ij")
    away = sum((a - c) ** 2 for a, c in zip(axes, (x // 2 - 30, y // 2, z // 2 + 15), strict=True))
    chi[away <= 9] = CALCIFICATION_PPM
    field = DipoleOperator(made.grid)(chi) * made.mask
    volumes = {"localfield": field, "chimap": chi * made.mask, "mask": made.mask.float()}
    for name, array in volumes.items():
        nib.save(nib.Nifti1Image(array.numpy(), np.eye(4)), folder / f"{name}.nii.gz")
    facts = {"TE": [0.02], "B0": 7.0, "B0_dir": made.grid.b0_dir, "voxel_size": (1.0, 1.0, 1.0)}
    (folder / "params.json").write_text(json.dumps(facts))


def run_entry(entry: Path, case: Path, out: Path) -> dict[str, float]:
    """Run an entry by ``qsm-ci run --runner local``; return its scores and the seconds."""
    stage = yaml.safe_load((entry / "algorithm.yml").read_text())["stage"]
    produced = STAGES[stage]["produces"][0]
    given = [x for a in STAGES[stage]["consumes"] for x in (f"--{a}", case / ARTIFACT_FILE[a])]
    truth = case / ARTIFACT_FILE[produced]
    tool = Path(sys.executable).parent / "qsm-ci"
    words = [tool, "run", entry, *given, "--truth", truth, "--runner", "local", "-o", f"{out}/"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    library = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": path, "PYTHONPATH": library},
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    scores = {
        name.lower(): float(value)
        for name, value in re.findall(r"^  (\w+) +(-?[\d.]+)$", done.stdout, re.M)
    }
    return scores | {"seconds": float(re.findall(r"\(([\d.]+)s\)", done.stdout)[0])}


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--only", multiple=True, help="Slugs.")
@click.option("--shape", nargs=3, type=int, default=(124, 152, 120), show_default=True)
@click.option("--voxel", type=float, default=1.5, show_default=True)
@click.option("--phantom", is_flag=True, help="The textured phantom, dipole inversion alone.")
def main(
    folder: Path | None,
    only: tuple[str, ...],
    shape: tuple[int, ...],
    voxel: float,
    phantom: bool,
) -> None:
    """Print a table of all entries."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (folder or Path(temporary)).resolve()
        if not (folder / "params.json").exists():
            if phantom:
                write_phantom(folder)
            else:
                write_case(folder, shape, voxel)
        click.echo("| entry | stage | NRMSE % | XSIM | wall s |\n|---|---|---|---|---|")
        for entry in sorted(p.parent for p in ENTRIES.glob("*/algorithm.yml")):
            stage = yaml.safe_load((entry / "algorithm.yml").read_text())["stage"]
            if (only and entry.name not in only) or (phantom and stage != "dipole"):
                continue
            (folder / "out").mkdir(exist_ok=True)
            scores = run_entry(entry, folder, folder / "out")
            row = f"{scores['nrmse']:.1f} | {scores['xsim']:.3f} | {scores['seconds']:.0f}"
            click.echo(f"| {entry.name} | {stage} | {row} |")


if __name__ == "__main__":
    main()
