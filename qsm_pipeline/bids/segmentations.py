"""Segmentations of a participant in folders of derivatives."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.files import check_declared_size, file_size
from qsm_pipeline.bids.images import has_voxels_of
from qsm_pipeline.bids.naming import build_name, folder, parse_name
from qsm_pipeline.bids.region_names import names_beside
from qsm_pipeline.exceptions import BIDSInputError

_MAX_VOXELS = 2**28
"""Of a segmentation or a T1-weighted image: 640 along each axis, more than any has."""
_OWN_SPACES = ("orig", "T1w", "scanner", "individual")
_NAMING = ("seg", "desc", "atlas")
_NOT_MATCHED = {"space", "seg", "atlas", "scale", "res", "desc", "label", "den", "echo", "part"}
_FREESURFER = (("aseg.mgz", "aseg"), ("aparc.DKTatlas+aseg.deep.mgz", "fastsurfer"))
_ANATOMY = ("T1.mgz", "nu.mgz", "orig.mgz")
_TRANSFORM = re.compile(r"_from-(T1w|MEGRE|T2starw|GRE)_to-(T1w|MEGRE|T2starw|GRE)_")


@dataclass(frozen=True)
class Segmentation:
    """Labels of a participant and how they come into the space of the run.

    Parameters
    ----------
    labels : str
        Image of integers.
    name : str
        Label for ``seg-`` in the names of what is made from it.
    names : str
        File that names the labels, or empty.
    same_grid : bool
        Whether the labels have the voxels of the run.
    transform : str
        File of the transform between T1w and the run, or empty.
    inverse : bool
        Whether that transform goes from the run's image to T1w.
    anatomy : str
        T1-weighted image in the space of the labels, to be registered where there is no transform.
    """

    labels: str
    name: str
    names: str = ""
    same_grid: bool = False
    transform: str = ""
    inverse: bool = False
    anatomy: str = ""


def find_segmentation(
    entities: Mapping[str, str], image: Path, derivatives: Sequence[Path], name: str = ""
) -> Segmentation | None:
    """Find the segmentation that fits a run best.

    Parameters
    ----------
    entities : mapping of str to str
        Entities of the run.
    image : pathlib.Path
        An image of the run; a segmentation with its voxels is used as it is.
    derivatives : sequence of pathlib.Path
        Folders with ``sub-<label>`` folders: BIDS derivatives such as fMRIPrep's, or the subjects
        of FreeSurfer and FastSurfer.
    name : str
        Of the segmentation (its ``seg``, ``desc`` or ``atlas``); any by default.

    Returns
    -------
    Segmentation or None
        First one with the voxels of the run, then one in T1w space with a transform, then one with
        a T1-weighted image that can be registered; of these aseg first, then those of the folder
        that is named first. None if there is none.

    Raises
    ------
    BIDSInputError
        If the choice is not unique, none has that name, or one in T1w space has neither
        transform nor image.
    """
    roots = [root.absolute() for root in derivatives]
    own = [list(_of_bids(root, entities, image)) for root in roots]
    of_all = own if any(own) else [list(_of_freesurfer(root, entities)) for root in roots]
    if not any(of_all):
        return None
    named = [[each for each in found if name in ("", each.name)] for found in of_all]
    if not any(named):
        there = ", ".join(sorted({each.name for found in of_all for each in found}))
        raise BIDSInputError(
            f"{build_name(entities, '')}: there is no segmentation {name!r}, but {there}; name "
            "one of these with --segmentation"
        )
    best = max(_rank(each) for found in named for each in found)
    choices = ([each for each in found if _rank(each) == best] for found in named)
    choice = next(filter(None, choices))  # of the folder named first
    if len(choice) > 1:
        raise BIDSInputError(
            f"{build_name(entities, '')}: {len(choice)} segmentations fit equally well: "
            f"{', '.join(s.labels for s in choice)}; choose one with --segmentation "
            f"{choice[0].name}, or keep one"
        )
    if not any(best[:3]):
        raise BIDSInputError(
            f"{choice[0].labels} is in T1w space, but there is neither a transform "
            "(*_from-T1w_to-MEGRE_mode-image_xfm.txt) nor a T1-weighted image beside it"
        )
    return choice[0]


def _rank(segmentation: Segmentation) -> tuple[bool, bool, bool, bool]:
    return (
        segmentation.same_grid,
        bool(segmentation.transform),
        bool(segmentation.anatomy),
        segmentation.name == "aseg",
    )


def _of_bids(root: Path, entities: Mapping[str, str], image: Path) -> Iterator[Segmentation]:
    for level in (folder(entities), folder({"sub": entities["sub"]})):
        for path in sorted((root / level / "anat").glob("*_dseg.nii*")):
            try:
                name = parse_name(path.name)
            except ValueError:
                continue
            if name.suffix != "dseg":
                continue
            same_grid = has_voxels_of(path, image)
            # acquisition and run of a T1-weighted image have nothing to do with those of the run
            matched = {
                k: v
                for k, v in name.entities.items()
                if (k not in _NOT_MATCHED if same_grid else k in ("sub", "ses"))
            }
            if not matched.items() <= entities.items():
                continue
            named = next((name.entities[k] for k in _NAMING if k in name.entities), "")
            if not same_grid and (
                not named or name.entities.get("space", "T1w") not in _OWN_SPACES
            ):
                continue  # tissue classes, or the space of a template
            transform, inverse = ("", False) if same_grid else _transform(path.parent)
            yield Segmentation(
                str(path),
                named or "labels",
                str(names_beside(path) or ""),
                same_grid,
                transform,
                inverse,
                "" if same_grid else _anatomy(path),
            )
        if "ses" not in entities:
            break


def _of_freesurfer(root: Path, entities: Mapping[str, str]) -> Iterator[Segmentation]:
    subject = f"sub-{entities['sub']}"
    longer = f"{subject}_ses-{entities['ses']}" if "ses" in entities else subject
    for name in dict.fromkeys((longer, subject)):
        mri = root / name / "mri"
        for file, seg in _FREESURFER:
            if (mri / file).is_file():
                anatomy = next((str(mri / a) for a in _ANATOMY if (mri / a).is_file()), "")
                yield Segmentation(str(mri / file), seg, anatomy=anatomy)
                return


def _transform(folder: Path) -> tuple[str, bool]:
    """Return the transform between T1w and the run in a folder, and whether it ends in T1w."""
    for path in sorted(folder.glob("*_xfm.*")):
        match = _TRANSFORM.search(path.name)
        if match and "T1w" in match.groups() and match[1] != match[2] and path.suffix != ".json":
            return str(path), match[2] == "T1w"
    return "", False


def _anatomy(labels: Path) -> str:
    for pattern in ("*_desc-preproc_T1w.nii*", "*_T1w.nii*"):
        for path in sorted(labels.parent.glob(pattern)):
            with contextlib.suppress(ValueError):  # a name that is not BIDS
                if parse_name(path.name).entities.get("space", "T1w") in _OWN_SPACES:
                    return str(path)
    return ""


def read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image of labels.

    Parameters
    ----------
    path : pathlib.Path
        NIfTI, or ``.mgz`` of FreeSurfer.

    Returns
    -------
    labels : numpy.ndarray, shape (A, B, C), int32
        Whole numbers, not negative.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to RAS+ mm.

    Raises
    ------
    BIDSInputError
        If the file is no volume of whole numbers.
    """
    values, affine = read_any(path)
    if values.min() < 0 or not np.array_equal(values, np.round(values)):
        raise BIDSInputError(f"{path} holds other values than whole numbers, expected labels")
    return values.astype(np.int32), affine


def voxels_of(path: Path) -> int:
    """Return how many voxels the header of a volume of NIfTI or FreeSurfer declares.

    Raises
    ------
    BIDSInputError
        If it cannot be read, or declares more than the file can hold or any segmentation needs.
    """
    return math.prod(_opened(path).shape)


def _opened(path: Path) -> Any:
    file_size(path)
    try:
        image: Any = nib.load(path)
        voxels = math.prod(image.shape)
        declared = voxels * image.get_data_dtype().itemsize
    except Exception as error:  # noqa: BLE001, nibabel raises many kinds
        raise BIDSInputError(f"{path} cannot be read as an image: {error}") from None
    if voxels > _MAX_VOXELS:
        shape = " x ".join(map(str, image.shape))
        raise BIDSInputError(f"{path} has {shape} voxels, expected at most {_MAX_VOXELS:.1e}")
    check_declared_size(path, declared)
    return image


def read_any(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a volume of NIfTI or FreeSurfer as (A, B, C) float32 with its affine.

    Raises
    ------
    BIDSInputError
        If it cannot be read or is not one volume.
    """
    image = _opened(path)
    try:
        values = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # noqa: BLE001, nibabel raises many kinds
        raise BIDSInputError(f"{path} cannot be read as an image: {error}") from None
    values = values.reshape(values.shape[:3] + tuple(n for n in values.shape[3:] if n != 1))
    if values.ndim != 3 or not np.isfinite(values).all():
        raise BIDSInputError(f"{path} has shape {image.shape}, expected one volume of numbers")
    return values, np.asarray(image.affine, dtype=float)
