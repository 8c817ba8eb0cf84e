"""Write BIDS derivatives: images, sidecars and the description of the data set.

Every file is written beside its final place and then renamed, so that a run that is killed, or
a disk that fills, never leaves half a file under a final name.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline import __version__
from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.naming import NOTES, OUTPUTS, output_path
from qsm_pipeline.bids.ownership import OWN_KEY, PRODUCT, RAW, fingerprint
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.io.writing import cannot_write

BIDS_VERSION = "1.10.0"
_MAX_OWN_BYTES = 2**16
_SOFTWARE = ("numpy", "scipy", "torch", "nibabel", "numba", "scikit-image", "nipype", "pybids")
_IGNORED = (
    "*.html",
    "logs",
    "work",
    "figures",
    "*.svg",
    "*.toml",
    "*_desc-qc_Chimap.json",
    "group_*",
)
_README = """# QSM derivatives

Susceptibility maps and what they were made from, written by qsm-pipeline {version}. Open
`sub-*.html` first; `group.html` has all participants together.

| file | unit | what it is |
|---|---|---|
{outputs}
| `sub-*/figures/` | | The pictures of the page. |
| `group_*.tsv` | | All participants in one table, from the level `group`. |
| `logs/` | | Settings that repeat the run, the methods text, the record of each run. |

Not every run has every file. The JSON file beside each image has the keys of BIDS, such as `Units`
and `Sources`, and

| key | what it holds |
|---|---|
{keys}

Numbers of these are rounded to six digits.
"""

KEYS = {
    "EchoTimes": "Echo times that were used, in seconds.",
    "FieldStrengthUsed": "Field strength in tesla.",
    "SignConvention": "What a positive value means.",
    "SusceptibilityReference": "What is zero: `brain`, `csf`, `region` or `none`.",
    "BrainVolumeMl": "Volume of the brain mask in ml.",
    "WeightingEchoTime": "Echo time in seconds that the weighted images were made from.",
    "Warnings": "What to know before the map is used.",
    "Findings": "Provenance: what the steps decided and found in the data.",
    "Inferred": "Provenance: what the raw files did not state outright.",
    "Parameters": "Provenance: every method, and every parameter of every step.",
    "Software": "Provenance: the version of each package.",
}
"""What stands in the sidecar of an image besides the keys of BIDS."""


def _readme() -> str:
    return _README.format(version=__version__, outputs=output_rows(), keys=key_rows())


def output_rows() -> str:
    """Return a row of a Markdown table for each file that a run may write."""
    return "\n".join(
        f"| `{each.pattern}` | {each.units} | {each.description}"
        + (f" {each.sign[0].upper()}{each.sign[1:]}. |" if each.sign else " |")
        for each in (OUTPUTS | NOTES).values()
    )


def key_rows() -> str:
    """Return a row of a Markdown table for each of `KEYS`."""
    return "\n".join(f"| `{key}` | {what} |" for key, what in KEYS.items())


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where; folders are created.
    data : bytes
        The whole content.

    Raises
    ------
    OutputError
        If the folder or the file cannot be written; nothing is left behind.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # the name tells whose it is, should the process be killed before it can remove it
        prefix = f".{path.name[:200]}."
        descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        with contextlib.suppress(OSError):  # some shared file systems have no modes
            os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as err:
        with contextlib.suppress(OSError):
            if temporary:
                os.unlink(temporary)
        raise cannot_write(path, err, len(data)) from err


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write sorted, indented JSON; the same data give the same bytes.

    Raises
    ------
    ValueError
        If a number is not finite, which JSON cannot hold.
    OutputError
        If the file cannot be written.
    """
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False, default=_plain)
    write_atomic(path, (text + "\n").encode())


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"A sidecar cannot hold a {type(value).__name__}: {value!r}")


def write_image(
    path: Path,
    values: np.ndarray,
    like: nib.Nifti1Header,
    window: tuple[float, float] | None = None,
) -> None:
    """Write a volume in the space of an input image.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.nii.gz``.
    values : numpy.ndarray, shape (X, Y, Z)
        Stored as uint8 if bool, as they are if integers, else as float32, without slope.
    like : nibabel.Nifti1Header
        Its sform, qform and units are kept to the bit, so the affine is too; a unit of length
        that it leaves open is written as mm.
    window : tuple of float, optional
        Values that a viewer shows as black and white; else it chooses.

    Raises
    ------
    ValueError
        If the shape differs from the header's, or a value is not finite.
    OutputError
        If the file cannot be written.
    """
    if values.shape != like.get_data_shape()[:3]:
        raise ValueError(
            f"{path.name}: shape {values.shape}, expected {like.get_data_shape()[:3]}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{path.name}: some values are not finite")
    kinds: dict[str, Any] = {"b": np.uint8, "i": values.dtype, "u": values.dtype}
    stored = values.astype(kinds.get(values.dtype.kind, np.float32))
    header = nib.Nifti1Header.from_header(like, check=False)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header["pixdim"][4:] = 0
    header["scl_slope"], header["scl_inter"] = np.nan, np.nan
    header["cal_min"], header["cal_max"] = window or (0, 0)
    header["descrip"] = header["aux_file"] = header["intent_name"] = b""
    header["intent_code"] = 0
    if header.get_xyzt_units()[0] == "unknown":
        header.set_xyzt_units("mm", header.get_xyzt_units()[1])
    header.extensions.clear()
    plain = nib.Nifti1Image(stored, None, header).to_bytes()
    packed = io.BytesIO()  # level 6 takes twice as long for 2 % fewer bytes
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=3, mtime=0, filename="") as file:
        file.write(plain)
    write_atomic(path, packed.getvalue())


def sidecar(
    run: GreRun,
    quantity: str,
    *,
    sources: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    inferred: Mapping[str, str] | None = None,
    findings: Mapping[str, Any] | None = None,
    reference: str = "",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the JSON sidecar of one output: keys of BIDS, and those of `KEYS`.

    Parameters
    ----------
    run : GreRun
        Where it came from.
    quantity : str
        A key of `qsm_pipeline.bids.naming.OUTPUTS`.
    sources : sequence of str
        Outputs of this data set that it was made from, relative paths; the raw images are always
        listed.
    parameters : mapping, optional
        Every parameter of every step that it went through.
    inferred : mapping, optional
        Notes of `qsm_pipeline.bids.load.load_run`; those of the run if not given.
    findings : mapping, optional
        What the steps decided or found; those of `KEYS` stand beside the others.
    reference : str
        What the susceptibility is relative to.
    extra : mapping, optional
        Further keys, which win over the others.

    Returns
    -------
    dict
    """
    spec = OUTPUTS[quantity]
    raw = [f"bids:{RAW}:{path}" for path in run.sources]
    if run.mask:
        raw.append(Path(run.mask).absolute().as_uri())
    data: dict[str, Any] = {
        "Description": spec.description,
        "Sources": raw + [f"bids::{path}" for path in sources],
        "Parameters": shortened(dict(parameters or {})),
        "Inferred": dict(run.inferred if inferred is None else inferred),
        **({} if run.from_field_map else {"EchoTimes": list(run.echo_times_s)}),
        "FieldStrengthUsed": run.b0_tesla,
        "Software": software_versions(),
    }
    if spec.mask_type:
        data |= {"Type": spec.mask_type, "SpatialReference": "orig"}
    else:
        data |= {"Units": spec.units, "SkullStripped": spec.skull_stripped}
    if spec.sign:
        data["SignConvention"] = spec.sign
    if reference:
        data["SusceptibilityReference"] = reference
    found = shortened(dict(findings or {}))
    data |= {key: found.pop(key) for key in KEYS if key in found}
    if found:
        data["Findings"] = found
    return data | dict(extra or {})


def shortened(value: Any) -> Any:
    """Return a value of a sidecar with its numbers rounded to six digits, which is enough.

    Examples
    --------
    >>> shortened({"tilt": 12.000000000000002, "b0": [0.1234567891, 3]})
    {'tilt': 12.0, 'b0': [0.123457, 3]}
    """
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: shortened(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(each) for each in value]
    return value


def write_output(
    out_dir: Path,
    run: GreRun,
    quantity: str,
    values: np.ndarray,
    like: nib.Nifti1Header,
    metadata: Mapping[str, Any],
    *,
    extra_entities: Mapping[str, str] | None = None,
) -> Path:
    """Write one output and its sidecar; return the path of the image.

    The sidecar comes first, so an image under its final name is always described.
    """
    relative = output_path(run.entities, quantity, extra=extra_entities)
    image = out_dir / relative
    write_json(
        out_dir / output_path(run.entities, quantity, extra=extra_entities, extension=".json"),
        metadata,
    )
    write_image(image, values, like, OUTPUTS[quantity].window)
    return image


def write_dataset_files(
    out_dir: Path, bids_dir: Path, *, container: Mapping[str, str] | None = None
) -> None:
    """Write ``dataset_description.json``, ``README.md`` and ``.bidsignore``.

    The last two stay as they are where somebody else wrote them; see also
    `qsm_pipeline.bids.ownership.check_owner`.

    Parameters
    ----------
    out_dir : pathlib.Path
        The derivatives folder.
    bids_dir : pathlib.Path
        The raw data set, for ``SourceDatasets`` and ``DatasetLinks``.
    container : mapping, optional
        ``Type``, ``Tag`` and ``URI`` of the container that this runs in.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    generated: dict[str, Any] = {"Name": PRODUCT, "Version": __version__}
    if container:
        generated["Container"] = dict(container)
    raw = _raw_description(bids_dir)
    name = raw.get("Name", bids_dir.name)
    uri = bids_dir.absolute().as_uri()
    source = {"URL": uri} | ({"DOI": raw["DatasetDOI"]} if "DatasetDOI" in raw else {})
    write_json(
        out_dir / "dataset_description.json",
        {
            "Name": f"QSM of {name}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [generated],
            "SourceDatasets": [source],
            "DatasetLinks": {RAW: uri},
            OWN_KEY: {"SourceParticipants": fingerprint(bids_dir)},
            "HEDVersion": raw.get("HEDVersion", "8.2.0"),
            "License": raw.get("License", "n/a"),
            "Authors": [
                *raw.get("Authors", [f"The authors of {name}"]),
                "qsm-pipeline (software)",
            ],
        },
    )
    readme, ignored = _readme(), "\n".join(_IGNORED) + "\n"
    for name, text in {"README.md": readme, ".bidsignore": ignored}.items():
        if _may_write(out_dir / name, text):
            write_atomic(out_dir / name, text.encode())


def _may_write(path: Path, text: str) -> bool:
    """Return whether a file is not there yet, or was written by any version of this product."""
    if not os.path.lexists(path):
        return True
    first = text.splitlines()[0]
    try:
        return read_limited(path, _MAX_OWN_BYTES).startswith(f"{first}\n".encode())
    except BIDSInputError:
        return False


def _raw_description(bids_dir: Path) -> dict[str, Any]:
    """Return the usable text fields of the raw description; a broken one gives none."""
    try:
        data = read_json_object(bids_dir / "dataset_description.json")
    except BIDSInputError:
        return {}
    texts = ("Name", "DatasetDOI", "License", "HEDVersion")
    kept = {k: data[k] for k in texts if isinstance(data.get(k), str) and data[k].strip()}
    authors = data.get("Authors")
    if isinstance(authors, list) and authors and all(isinstance(a, str) for a in authors):
        kept["Authors"] = authors
    return kept


def software_versions() -> dict[str, str]:
    """Return the versions of this software and of what it computes with."""
    own = {"qsm-pipeline": __version__, "python": platform.python_version()}
    return {**own, **_installed()}


@cache
def _installed() -> dict[str, str]:
    versions = {}
    for name in _SOFTWARE:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
