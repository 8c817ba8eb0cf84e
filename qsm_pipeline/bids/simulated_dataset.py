"""Write simulated scans as a raw BIDS data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline import __version__
from qsm_pipeline.bids.derivatives import write_image, write_json
from qsm_pipeline.bids.naming import OUTPUTS, build_name, folder, output_path
from qsm_pipeline.bids.vendor_encoding import ENCODERS
from qsm_pipeline.numerics.core.units import hz_per_ppm
from qsm_pipeline.numerics.simulate import Scan, simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams


def tilted_affine(
    shape: tuple[int, int, int], voxel_size_mm: tuple[float, float, float], tilt_deg: float
) -> np.ndarray:
    """Return an affine centred on the brain, tilted about the left-right axis."""
    angle = math.radians(tilt_deg)
    rotation = np.array(
        [
            [1, 0, 0],
            [0, math.cos(angle), -math.sin(angle)],
            [0, math.sin(angle), math.cos(angle)],
        ]
    )
    matrix = rotation * np.asarray(voxel_size_mm)
    centre = matrix @ ((np.asarray(shape) - 1) / 2)
    return nib.affines.from_matvec(matrix, np.array([0.0, 0.0, -4.0]) - centre)


def write_simulated_dataset(
    bids_dir: Path,
    *,
    subjects: int = 1,
    shape: tuple[int, int, int] = (144, 176, 128),
    voxel_size_mm: tuple[float, float, float] = (1.3, 1.3, 1.3),
    tilt_deg: float = 0.0,
    session: str | Sequence[str] = "",
    vendor: str = "siemens",
    single_file: bool = False,
    params: ScanParams | None = None,
    n_lesions: int = 0,
    seed: int = 0,
    truth: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> list[Scan]:
    """Write ``subjects`` simulated participants as one maker's scanner would store them.

    Parameters
    ----------
    bids_dir : pathlib.Path
        Folder of the data set, made if needed.
    subjects : int
        Number of participants, ``sub-01`` onwards, each with a head of its own.
    shape, voxel_size_mm, tilt_deg
        Matrix, voxel size in mm and tilt of the slices in degrees.
    session : str or sequence of str
        Session labels, none if empty. The head is the same in each, the noise is not.
    vendor : str
        Key of `qsm_pipeline.bids.vendor_encoding.ENCODERS`.
    single_file : bool
        All echoes in one 4D file, which BIDS allows for ``T2starw`` but not for ``MEGRE``.
    params : ScanParams, optional
        Sequence.
    n_lesions : int
        Microbleeds and calcifications of each participant.
    seed : int
        Seed of the first participant.
    truth : bool
        Whether the maps that an ideal reconstruction would give are written too, as derivatives
        in ``derivatives/truth``, named like those of qsm-pipeline.
    tell : callable, optional
        Gets what is being simulated.

    Returns
    -------
    list of Scan
        The scans with their truth.
    """
    params = params or ScanParams()
    affine = tilted_affine(shape, voxel_size_mm, tilt_deg)
    bids_dir.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": "Simulated gradient-echo scans of qsm-pipeline",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["The qsm-pipeline developers", "A simulator"],
        "HEDVersion": "8.2.0",
    }
    write_json(bids_dir / "dataset_description.json", description)
    (bids_dir / "README").write_text(
        "Multi-echo gradient-echo scans of a procedural head, simulated by qsm-pipeline. The data "
        "set holds no measurement of a person and may be used for any purpose.\n"
    )
    sessions = [session] if isinstance(session, str) else list(session) or [""]
    planned = [(number, label) for number in range(subjects) for label in sessions]
    scans = []
    for done, (number, label) in enumerate(planned):
        entities = {"sub": f"{number + 1:02d}"} | ({"ses": label} if label else {})
        tell(f"simulating {build_name(entities, '')} ({done + 1} of {len(planned)})")
        scan = simulate_scan(
            shape,
            affine,
            params,
            seed=seed + number,
            n_lesions=n_lesions,
            repetition=sessions.index(label),
        )
        scans.append(scan)
        anat = bids_dir / folder(entities, "anat")
        anat.mkdir(parents=True, exist_ok=True)
        _write_echoes(anat, entities, scan, params, affine, vendor, single_file)
        if truth:
            _write_truth(bids_dir / "derivatives" / "truth", entities, scan, params, affine)
    return scans


def _write_truth(
    out_dir: Path,
    entities: dict[str, str],
    scan: Scan,
    params: ScanParams,
    affine: np.ndarray,
) -> None:
    write_json(
        out_dir / "dataset_description.json",
        {
            "Name": "Truth of simulated gradient-echo scans",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "qsm-pipeline-simulate", "Version": __version__}],
        },
    )
    to_hz = hz_per_ppm(params.b0_tesla)
    maps = {
        "chi": scan.chi_ppm,
        "brain_mask": scan.brain,
        "total_field": scan.total_field_ppm * scan.brain * to_hz,
        "local_field": scan.local_field_ppm * scan.brain * to_hz,
    }
    like = nib.Nifti1Image(scan.brain.numpy().astype(np.uint8), affine)
    like.header.set_xyzt_units("mm", "sec")
    for name, values in maps.items():
        spec = OUTPUTS[name]
        about = {"Description": f"Simulated, without error: {spec.description}"}
        about |= {"Units": spec.units} if spec.units else {"Type": spec.mask_type}
        about |= {"SignConvention": spec.sign} if spec.sign else {}
        path = out_dir / output_path(entities, name)
        write_json(out_dir / output_path(entities, name, extension=".json"), about)
        write_image(path, values.numpy(), like.header, spec.window)


def _write_echoes(
    anat: Path,
    entities: dict[str, str],
    scan: Scan,
    params: ScanParams,
    affine: np.ndarray,
    vendor: str,
    single_file: bool,
) -> None:
    maker, encode = ENCODERS[vendor]
    echoes = [
        encode(phase.numpy(), magnitude.numpy())
        for phase, magnitude in zip(scan.phase_rad, scan.magnitude, strict=True)
    ]
    common: dict[str, object] = {
        "MagneticFieldStrength": params.b0_tesla,
        "Manufacturer": maker,
        "RepetitionTime": params.repetition_time_s,
        "FlipAngle": params.flip_angle_deg,
    }
    if params.alternating_rad:
        common["BipolarReadout"] = True
    for part, first in echoes[0].items():
        meta = common | ({"Units": "arbitrary"} if part == "phase" else {})
        stored = [echo[part].values for echo in echoes]
        if single_file:
            everything = np.stack(stored, axis=-1)
            files: list[Any] = [({}, "T2starw", params.echo_times_s, everything)]
        else:
            times = enumerate(params.echo_times_s)
            files = [({"echo": str(i + 1)}, "MEGRE", t, stored[i]) for i, t in times]
        for echo, suffix, time, values in files:
            image = nib.Nifti1Image(values, affine)
            image.header.set_xyzt_units("mm", "sec")
            image.header.set_dim_info(slice=2)
            image.header.set_slope_inter(first.slope, first.intercept)
            names = {**entities, **echo, "part": part}
            nib.save(image, anat / build_name(names, suffix))
            write_json(anat / build_name(names, suffix, ".json"), {"EchoTime": time, **meta})
