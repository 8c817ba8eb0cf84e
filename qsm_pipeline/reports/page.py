"""One self-contained HTML page per participant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.figures import three_planes

_FIGURES = (
    ("fieldmap_magnitude", "Magnitude with the outline of the mask", None, ""),
    ("total_field", "Total field", (-150.0, 150.0), "Hz"),
    ("local_field", "Local field", (-8.0, 8.0), "Hz"),
    ("chi", "Susceptibility", (-0.1, 0.1), "ppm"),
    ("uncertainty", "Uncertainty of the susceptibility", (0.0, 0.01), "ppm"),
    ("r2star", "R2*", (0.0, 60.0), "1/s"),
)


def render_page(
    subject: str, runs: Sequence[GreRun], problems: Sequence[str], out_dir: Path
) -> str:
    """Return the page of a participant, made from the files that were written.

    Parameters
    ----------
    subject : str
        Label without ``sub-``.
    runs : sequence of GreRun
        All runs of the participant.
    problems : sequence of str
        What failed or was left out, one sentence each.
    out_dir : pathlib.Path
        Derivatives data set.

    Returns
    -------
    str
        HTML with its images inlined.
    """
    environment = Environment(
        loader=PackageLoader("qsm_pipeline", "data"), autoescape=select_autoescape(default=True)
    )
    sections = [_section(run, out_dir) for run in runs]
    return environment.get_template("participant.html.jinja").render(
        subject=subject, sections=sections, problems=problems
    )


def _section(run: GreRun, out_dir: Path) -> dict[str, Any]:
    mask_path = out_dir / output_path(run.entities, "brain_mask")
    mask = nib.load(mask_path) if mask_path.is_file() else None
    figures = _wrapped_phase(run)
    for quantity, caption, window, unit in _FIGURES:
        path = out_dir / output_path(run.entities, quantity)
        if path.is_file():
            contour = mask if quantity == "fieldmap_magnitude" else None
            picture = three_planes(nib.load(path), window=window, unit=unit, contour=contour)
            figures.append({"caption": caption, "picture": picture})
    facts: dict[str, Any] = _geometry(mask) | {
        "Echo times (ms)": ", ".join(f"{1000 * t:.2f}" for t in run.echo_times_s),
        "Field strength (T)": f"{run.b0_tesla:g}",
    }
    sidecar = out_dir / output_path(run.entities, "chi", extension=".json")
    if sidecar.is_file():
        data = json.loads(sidecar.read_text())
        facts |= {f"Inferred: {key}": value for key, value in data.get("Inferred", {}).items()}
        for key in ("Parameters", "Software"):
            facts |= {f"{key}: {k}": v for k, v in data.get(key, {}).items()}
        for key in ("BrainMask", "BrainVolumeMl", "SusceptibilityReference", "ReferenceMeanPpm"):
            if key in data:
                facts[key] = data[key]
    return {"title": run.prefix, "facts": facts, "figures": figures}


def _wrapped_phase(run: GreRun) -> list[dict[str, str]]:
    """Draw the raw phase of the first echo, in the units of its file."""
    if not run.phase or not Path(run.phase[0]).is_file():
        return []
    image = nib.load(run.phase[0])
    try:
        first = image.slicer[..., 0] if image.ndim == 4 else image
        picture = three_planes(first)
    except (OSError, EOFError, ValueError):  # the run's own problem names the file
        return []
    return [{"caption": "Wrapped phase of the first echo, as stored", "picture": picture}]


def _geometry(mask: nib.Nifti1Image | None) -> dict[str, str]:
    """Return voxel size and tilt, where there is an image to read them from."""
    if mask is None:
        return {}
    cosines = mask.affine[:3, :3] / np.linalg.norm(mask.affine[:3, :3], axis=0)
    tilt_deg = np.degrees(np.arccos(np.clip(np.abs(cosines[2]).max(), 0, 1)))
    voxel = " x ".join(f"{v:.2f}" for v in mask.header.get_zooms()[:3])
    return {
        "Voxel size (mm)": voxel,
        "Angle of B0 to the nearest axis (degrees)": f"{tilt_deg:.1f}",
    }
