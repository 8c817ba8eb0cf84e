"""Small raw BIDS trees with real NIfTI files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (10, 12, 8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SIDECAR = {"MagneticFieldStrength": 3, "Manufacturer": "Siemens"}


def wrapped_phase(shape=SHAPE, echo_time_s=0.004, seed=0):
    """Phase in radians that reaches both ends of -pi..pi, as air noise makes it do."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, shape[0])[:, None, None]
    phase = 2 * np.pi * 100 * echo_time_s * x + np.zeros(shape)
    phase[:, :2] = rng.uniform(-np.pi, np.pi, (shape[0], 2, shape[2]))
    phase[0, 0, :2] = -3.1415, 3.1415
    return np.angle(np.exp(1j * phase))


def magnitude(shape=SHAPE, echo_time_s=0.004):
    """Smooth positive magnitude that falls with the echo time."""
    x = np.linspace(-1, 1, shape[1])[None, :, None]
    return 100 * np.exp(-echo_time_s / 0.03) * (1.5 - x**2) + np.zeros(shape)


def write_image(path, values, affine=AFFINE, dtype=np.float32, slope=None, intercept=None):
    """Write stored values as they are, with the slope and intercept of the header if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values).astype(dtype), affine)
    image.header.set_xyzt_units("mm", "sec")
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    return path


def write_sidecar(path, data):
    """Write JSON beside an image (or to a ``.json`` path itself)."""
    path = Path(str(path).removesuffix(".nii.gz").removesuffix(".json") + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def place_image(root, name, image, sidecar):
    """Put a given image, open or a file, into ``sub-01/anat`` with a sidecar."""
    path = root / "sub-01" / "anat" / f"sub-01_{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, nib.Nifti1Image):
        nib.save(image, path)
    else:
        path.write_bytes(image.read_bytes())
    write_sidecar(path, sidecar)


def make_dataset(root):
    """Write the root files of a raw data set."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Test", "BIDSVersion": "1.10.0", "Authors": ["A. One", "B. Two"]})
    )
    return root


def add_megre(
    root,
    sub="01",
    ses=None,
    between="",
    echo_times_s=(0.004, 0.008, 0.012),
    parts=("mag", "phase"),
    shape=SHAPE,
    affine=AFFINE,
    sidecar=SIDECAR,
):
    """Add a multi-echo run; return ``{(part, echo): path}``.

    ``between`` holds further entities such as ``acq-a_run-1``.
    """
    start = f"sub-{sub}" + (f"_ses-{ses}" if ses else "") + (f"_{between}" if between else "")
    folder = root / f"sub-{sub}" / (f"ses-{ses}" if ses else "") / "anat"
    paths = {}
    for echo, time in enumerate(echo_times_s, 1):
        phase, size = wrapped_phase(shape, time), magnitude(shape, time)
        values = {
            "mag": size,
            "phase": phase,
            "real": size * np.cos(phase),
            "imag": size * np.sin(phase),
        }
        for part in parts:
            path = folder / f"{start}_echo-{echo}_part-{part}_MEGRE.nii.gz"
            write_image(path, values[part], affine)
            units = {"Units": "rad"} if part == "phase" else {}
            write_sidecar(path, {"EchoTime": time, **sidecar, **units})
            paths[part, echo] = path
    return paths


def add_single_echo(root, sub="01", between="", echo_time_s=0.02, sidecar=SIDECAR):
    """Add a single-echo T2starw run with magnitude and phase."""
    start = root / f"sub-{sub}" / "anat" / (f"sub-{sub}" + (f"_{between}" if between else ""))
    paths = {}
    for part, values in (
        ("mag", magnitude(echo_time_s=echo_time_s)),
        ("phase", wrapped_phase(echo_time_s=echo_time_s)),
    ):
        path = start.parent / f"{start.name}_part-{part}_T2starw.nii.gz"
        write_image(path, values)
        units = {"Units": "rad"} if part == "phase" else {}
        write_sidecar(path, {"EchoTime": echo_time_s, **sidecar, **units})
        paths[part] = path
    return paths
