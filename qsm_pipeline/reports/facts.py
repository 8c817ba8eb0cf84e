"""What the page says of a run in words: acquisition, decisions, results, software."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.images import open_image
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError

_PROCESSING = {
    "BrainMask": "Brain mask",
    "MaskRefinement": "Refinement of its rim",
    "BrainVolumeMl": "Brain volume (ml)",
    "PhaseOffsetRemoval": "Phase offset",
    "BipolarCorrection": "Bipolar correction",
    "BipolarReadout": "Bipolar readout",
    "SusceptibilityReference": "Reference of the susceptibility",
    "ReferenceMeanPpm": "Mean of the reference before it was subtracted (ppm)",
}

_TYPES: dict[str, Any] = {
    "Inferred": dict,
    "Findings": dict,
    "Parameters": dict,
    "Software": dict,
    "Metrics": dict,
    "Verdict": dict,
    "Warnings": list,
    "ReferenceRelativeToBrainPpm": (int, float),
    "ReferenceStandardDeviationPpm": (int, float),
    "ReferenceMeanPpm": (int, float),
}
"""Keys of a sidecar that are not taken as they are, because somebody may have changed them."""


@dataclass(frozen=True)
class Facts:
    """Tables of one run, each a mapping from what to its value as text.

    Parameters
    ----------
    acquisition : dict
        Echoes, field strength and geometry.
    decisions : dict
        What the files did not state outright.
    processing : dict
        How the map was made, in short.
    parameters : dict
        Every parameter.
    software : dict
        Versions.
    warnings : list of str
        What has to be known before the map is used.
    """

    acquisition: dict[str, str]
    decisions: dict[str, str] = field(default_factory=dict)
    processing: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_sidecar(out_dir: Path, run: GreRun, quantity: str = "chi") -> dict[str, Any]:
    """Return the sidecar of an output with its findings on top, empty if it cannot be read."""
    path = out_dir / output_path(run.entities, quantity, extension=".json")
    try:
        data = read_json_object(path, finite=True)
    except BIDSInputError:
        return {}
    if isinstance(data.get("Findings"), dict):
        data = data.pop("Findings") | data
    wrong = [k for k, kind in _TYPES.items() if k in data and not isinstance(data[k], kind)]
    return {key: value for key, value in data.items() if key not in wrong}


def warnings_of(sidecar: Mapping[str, Any]) -> list[str]:
    """Return the warnings in the sidecar of a map, none if they are damaged."""
    found = sidecar.get("Warnings")
    return [str(each) for each in found] if isinstance(found, list) else []


def facts_of(run: GreRun, out_dir: Path) -> Facts:
    """Collect what is known of a run from its files.

    Parameters
    ----------
    run : GreRun
        The run.
    out_dir : pathlib.Path
        Derivatives data set.
    """
    sidecar = read_sidecar(out_dir, run)
    echoes = {
        "Echoes": str(len(run.echo_times_s)),
        "Echo times (ms)": ", ".join(f"{1000 * t:.2f}" for t in run.echo_times_s),
        "Readout": run.readout,
    }
    if run.from_field_map:
        echoes = {"Echoes": "none: a field map"}
    acquisition = echoes | {"Field strength (T)": f"{run.b0_tesla:g}"} | _geometry(run)
    return Facts(
        acquisition,
        decisions={
            _in_words(key): str(value)
            for key, value in {**run.inferred, **sidecar.get("Inferred", {})}.items()
        },
        processing={
            name: as_text(sidecar[key]) for key, name in _PROCESSING.items() if key in sidecar
        },
        parameters={k: as_text(v) for k, v in sidecar.get("Parameters", {}).items()},
        software={k: str(v) for k, v in sidecar.get("Software", {}).items()},
        warnings=warnings_of(sidecar),
    )


def _in_words(key: str) -> str:
    words = {"b0_tesla": "field strength"}.get(key, key.replace("_", " "))
    return words[:1].upper() + words[1:]


def as_text(value: Any) -> str:
    """Return a value of a sidecar as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        pairs = (f"{key} = {as_text(v)}" for key, v in value.items() if v not in ("", None))
        return ", ".join(pairs) or "none"
    return str(value)


def voxel_size_mm(paths: Sequence[str]) -> str:
    """Return the voxel size of the first image that can be read as text, empty if none can."""
    for image in _images(paths):
        return _times(nib.affines.voxel_sizes(image.affine))
    return ""


def _times(voxel_mm: np.ndarray) -> str:
    return " x ".join(f"{v:.2f}" for v in voxel_mm)


def _images(paths: Sequence[str]) -> Iterator[nib.Nifti1Image]:
    """Give those images that can be read and have voxels of some size."""
    for path in paths:
        with contextlib.suppress(BIDSInputError):
            image = open_image(path)
            voxel = nib.affines.voxel_sizes(image.affine)
            if np.isfinite(voxel).all() and voxel.all():
                yield image


def _geometry(run: GreRun) -> dict[str, str]:
    """Return matrix, voxel size and tilt, where there is an image to read them from."""
    for image in _images((*run.phase, *run.real)):
        affine = image.affine
        voxel = nib.affines.voxel_sizes(affine)
        b0 = (affine[:3, :3] / voxel)[2]
        tilt_deg = np.degrees(np.arccos(np.clip(np.abs(b0).max(), 0, 1)))
        return {
            "Matrix": " x ".join(str(n) for n in image.shape[:3]),
            "Voxel size (mm)": _times(voxel),
            "B0 in voxel axes": "(" + ", ".join(f"{b:.3f}" for b in b0) + ")",
            "Angle of B0 to the nearest axis (degrees)": f"{tilt_deg:.1f}",
        }
    return {}
