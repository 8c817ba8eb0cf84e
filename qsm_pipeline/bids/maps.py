"""Local fields and susceptibility maps as files, with their units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.images import check_same_space, open_image, read_values
from qsm_pipeline.bids.metadata import field_strength_tesla
from qsm_pipeline.bids.naming import RUN_ENTITIES, output_path, parse_name
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import hz_per_ppm, rad_per_s_per_ppm

UNITS = ("ppm", "hz", "rad/s", "rad")


@dataclass(frozen=True)
class Volume:
    """A NIfTI file with one value for each voxel.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    values : numpy.ndarray, shape (X, Y, Z), float32
        Zero where the file holds no finite number.
    image : nibabel.Nifti1Image
        The open file.
    grid : Grid
        Geometry.
    """

    path: Path
    values: np.ndarray
    image: nib.Nifti1Image
    grid: Grid


def read_volume(path: Path, like: Volume | None = None) -> Volume:
    """Read a volume.

    Parameters
    ----------
    path : pathlib.Path
        NIfTI file.
    like : Volume, optional
        A volume that must have the same voxels.

    Raises
    ------
    BIDSInputError
        If the file cannot be read, is not one volume, or lies elsewhere than ``like``.
    """
    image = open_image(str(path))
    if len(image.shape) < 3 or any(n != 1 for n in image.shape[3:]):
        raise BIDSInputError(f"{path} has shape {image.shape}, expected one volume")
    if like is not None:
        check_same_space(image, like.image, BIDSInputError)
    try:
        grid = Grid.from_affine(image.shape[:3], image.affine)
    except ValueError as error:
        raise BIDSInputError(f"{path}: {error}; correct its header") from error
    values = np.nan_to_num(read_values(image), posinf=0, neginf=0).reshape(image.shape[:3])
    return Volume(path, values, image, grid)


def read_mask(path: Path, like: Volume) -> np.ndarray:
    """Read a mask as (X, Y, Z) bool; raise `BIDSInputError` if it does not fit or is empty."""
    mask = read_volume(path, like).values > 0.5
    if not mask.any():
        raise BIDSInputError(f"{path} is empty: no voxel is above 0.5")
    return mask


def sidecar_beside(path: Path) -> dict[str, Any]:
    """Return the JSON file beside an image, an empty dictionary if there is none."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    return read_json_object(beside) if beside.is_file() else {}


def ppm_per_unit(
    path: Path,
    metadata: Mapping[str, Any],
    units: str = "",
    b0_tesla: float | None = None,
    echo_time_s: float | None = None,
) -> float:
    """Return what a field has to be multiplied with to be in ppm.

    Parameters
    ----------
    path : pathlib.Path
        The field, for messages.
    metadata : mapping
        Its sidecar: ``Units``, and ``FieldStrengthUsed`` of our own derivatives or
        ``MagneticFieldStrength`` with ``ImagingFrequency``.
    units : str
        One of `UNITS`, which wins over the sidecar.
    b0_tesla : float, optional
        Field strength, which wins over the sidecar.
    echo_time_s : float, optional
        For a field in ``rad``: the time over which the phase evolved.

    Raises
    ------
    BIDSInputError
        If the units, or the field strength that they need, are not known.
    """
    units = (units or str(metadata.get("Units", ""))).lower()
    if units not in UNITS:
        raise BIDSInputError(
            f"{path}: the units of the field are {units or 'not given'!r}, expected "
            f"{', '.join(UNITS)}; give --units, or Units in the JSON file beside it"
        )
    if units == "ppm":
        return 1.0
    if units == "rad" and not (echo_time_s and echo_time_s > 0):
        raise BIDSInputError(
            f"{path}: a field in rad needs the time over which the phase evolved; give "
            "--echo-time in seconds"
        )
    if b0_tesla is None:
        used = metadata.get("FieldStrengthUsed")
        if isinstance(used, int | float) and used > 0:
            b0_tesla = float(used)
        elif "MagneticFieldStrength" in metadata:
            b0_tesla = field_strength_tesla(metadata, str(path))[0]
        else:
            raise BIDSInputError(
                f"{path}: a field in {units} needs the field strength; give --b0 in tesla, or "
                "MagneticFieldStrength in the JSON file beside it"
            )
    if units == "hz":
        return 1 / hz_per_ppm(b0_tesla)
    seconds = echo_time_s if units == "rad" and echo_time_s else 1.0
    return 1 / (rad_per_s_per_ppm(b0_tesla) * seconds)


def field_in_ppm(
    path: Path,
    units: str = "",
    b0_tesla: float | None = None,
    echo_time_s: float | None = None,
) -> float:
    """Return what the field in a file has to be multiplied with; see :func:`ppm_per_unit`."""
    return ppm_per_unit(path, sidecar_beside(path), units, b0_tesla, echo_time_s)


def refuse_map(path: Path) -> None:
    """Refuse a susceptibility map where a field is expected.

    Raises
    ------
    BIDSInputError
        If the name or the sidecar of the file says that it is a map.
    """
    described = str(sidecar_beside(path).get("Description", ""))
    if "_Chimap." in path.name or described.startswith("Magnetic susceptibility"):
        raise BIDSInputError(
            f"{path} is a susceptibility map, expected a local field, such as "
            "sub-*/fmap/*_desc-local_fieldmap.nii.gz of the pipeline"
        )


def find_local_fields(derivatives: Path) -> list[tuple[Path, Path]]:
    """Find the local fields of a derivatives folder, each with the mask of its run.

    Raises
    ------
    BIDSInputError
        If there is none, or a mask has a name that is not BIDS.
    """
    found = []
    for mask in sorted(derivatives.rglob("*_desc-qsm_mask.nii.gz")):
        try:
            named = parse_name(mask.name).entities
            entities = {key: named[key] for key in RUN_ENTITIES if key in named}
            field = derivatives / output_path(entities, "local_field")
        except ValueError as error:
            raise BIDSInputError(
                f"{mask} has no name as qsm-pipeline gives them ({error}); rename or remove it"
            ) from error
        if field.is_file():
            found.append((field, mask))
    if not found:
        raise BIDSInputError(
            f"{derivatives} holds no local field: expected the files "
            "sub-*/fmap/*_desc-local_fieldmap.nii.gz and sub-*/anat/*_desc-qsm_mask.nii.gz that "
            "qsm-pipeline writes"
        )
    return found


def find_maps(derivatives: Path) -> list[Path]:
    """Find the susceptibility maps of a derivatives folder; those with ``desc`` are other things.

    Raises
    ------
    BIDSInputError
        If there is none, or one is not in ppm.
    """
    named = sorted(derivatives.rglob("*_Chimap.nii*"))
    found = [path for path in named if "_desc-" not in path.name]  # other tools' names are no BIDS
    if not found:
        raise BIDSInputError(f"{derivatives} holds no map: expected *_Chimap.nii.gz")
    for path in found:
        units = sidecar_beside(path).get("Units")
        if units != "ppm":
            raise BIDSInputError(
                f"{path}: Units in the JSON file beside it is {units!r}, expected 'ppm'"
            )
    return found
