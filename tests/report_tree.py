"""A small output folder as the pipeline leaves it, for the tests of pages and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.naming import figure_path, output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.figures import FIGURES, Scene

SHAPE = (20, 24, 10)
OUTPUTS = ("brain_mask", "qsm_mask", "chi", "fieldmap_magnitude", "total_field", "local_field")
SIDECAR = {
    "Inferred": {"PhaseScale": "<b>4096</b>"},
    "BrainVolumeMl": 1234.5,
    "BrainMask": "robust",
    "PhaseOffsetRemoval": "none",
    "SusceptibilityReference": "brain",
    "Parameters": {
        "Unwrapping": "romeo",
        "UnwrappingParameters": {"template_echo": 1},
        "BackgroundRemoval": "vsharp",
        "BackgroundParameters": {"max_radius_mm": 11.25},
        "Inversion": "tkd",
        "InversionParameters": {"threshold": 0.175},
    },
    "Software": {"qsm-pipeline": "9.8.7", "torch": "2.0"},
}


def oblique_affine() -> np.ndarray:
    """Voxels of 1 x 1 x 3 mm, the first axis to the left, tilted by 20 degrees."""
    angle = np.radians(20)
    affine = np.diag([-1.0, 1.0, 3.0, 1.0])
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[1:3, 1:3] = np.array(turn) @ np.diag([1.0, 3.0])
    affine[:3, 3] = (9.5, -11.0, -14.0)
    return affine


def make_run(folder: Path) -> GreRun:
    """Write the raw image of a run with one echo."""
    path = folder / "phase.nii.gz"
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(values, oblique_affine()), path)
    return GreRun(
        bids_dir=str(folder),
        suffix="MEGRE",
        entities={"sub": "01"},
        echo_times_s=(0.004,),
        b0_tesla=3.0,
        phase=(str(path),),
        magnitude=(str(path),),
    )


def write_maps(run: GreRun, out: Path) -> dict[str, np.ndarray]:
    """Write the maps of a run, noise inside an ellipsoid, and the sidecar; return the values."""
    noise = np.random.default_rng(0)
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    brain = np.square(np.meshgrid(*axes, indexing="ij")).sum(0) < 0.8
    maps = {}
    for quantity in OUTPUTS:
        values = noise.normal(size=SHAPE).astype(np.float32) * 0.08 * brain
        if quantity.endswith("_mask"):
            values = brain.astype(np.uint8)
        path = out / output_path(run.entities, quantity)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, oblique_affine()), path)
        maps[quantity] = values
    write_json(out / output_path(run.entities, "chi", extension=".json"), SIDECAR)
    return maps


def scene(run: GreRun, out: Path) -> Scene:
    """Return everything that can be drawn, with the local field for what is not written."""
    paths = {q: str(out / output_path(run.entities, q)) for q in OUTPUTS}
    field = paths["local_field"]
    others = (
        "weights",
        "predicted_field",
        "residual",
        "uncertainty",
        "r2star",
        "t2star",
        "unsure",
    )
    raw = ("magnitude", "phase", "unwrapped", "quality", "s0", "swi", "minip", "tswi")
    return Scene(
        paths
        | dict.fromkeys(others, field)
        | dict.fromkeys(raw, run.phase[0])
        | {"combined": paths["fieldmap_magnitude"]},
        {"n0_ppm": 0.02, "knee_per_mm": 0.2, "power": 3.0},
    )


def write_figures(run: GreRun, out: Path, names: tuple[str, ...] = tuple(FIGURES)) -> None:
    """Draw figures into the output folder."""
    shown = scene(run, out)
    for name in names:
        path = out / figure_path(run.entities, name, run.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FIGURES[name].draw(shown))


def make_record(run: GreRun, *problems: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return the record of a participant with one run."""
    entry = {
        "run": replace(run).to_dict(),
        "problems": list(problems),
        "node_seconds": {"read": 1.25, "invert": 61.0},
    }
    return {
        "subject": "01",
        "version": "9.8.7",
        "runs": {run.prefix: entry},
        "left_out": [],
        **more,
    }
