"""Read the images of a run, check them against each other and scale the phase."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np

from qsm_pipeline.bids import metadata as md
from qsm_pipeline.bids.images import (
    check_same_space,
    check_volume,
    open_image,
    read_values,
    slope_and_intercept,
)
from qsm_pipeline.bids.phase_scaling import (
    StoredPhase,
    alternating_axis,
    decide_each,
    negate_alternate_slices,
    remove_ramp,
    shared_ramp,
)
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError, MaskError
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import GAMMA_BAR_HZ_PER_T

HZ_PER_UNIT = {"Hz": 1.0, "rad/s": 1 / (2 * math.pi), "T": GAMMA_BAR_HZ_PER_T}
"""Units that a field map may have."""
_VOXEL_SIZE_MM = (0.005, 100.0)
_STEEP_RAMP_RAD = 0.3
_MAX_MAGNITUDE = 1e15
"""Squares of magnitudes are summed in float32."""


@dataclass(frozen=True)
class LoadedRun:
    """The arrays of a run, ready for the numerics.

    Parameters
    ----------
    phase_rad : numpy.ndarray, shape (E, X, Y, Z), float32
        Wrapped phase, growing where the field is higher; 0 where not valid.
    magnitude : numpy.ndarray, shape (E, X, Y, Z), float32, or None
        0 where not valid; None if the run has none.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    header : nibabel.Nifti1Header
        Of the first phase (or real) image.
    echo_times_s : tuple of float
        Increasing.
    b0_tesla : float
        Field strength.
    valid_mask : numpy.ndarray, shape (X, Y, Z), bool
        Where every echo holds a finite value and the slice is not empty.
    mask, reference_region : numpy.ndarray, shape (X, Y, Z), bool, or None
        The user's own masks.
    inferred : dict of str to str
        The notes of the run and those of reading it.
    """

    phase_rad: np.ndarray
    magnitude: np.ndarray | None
    affine: np.ndarray
    header: nib.Nifti1Header
    echo_times_s: tuple[float, ...]
    b0_tesla: float
    valid_mask: np.ndarray
    mask: np.ndarray | None
    inferred: dict[str, str]
    reference_region: np.ndarray | None = None

    @property
    def grid(self) -> Grid:
        """Geometry of the volumes."""
        return Grid.from_affine(self.valid_mask.shape, self.affine)


def load_run(run: GreRun) -> LoadedRun:
    """Read one run.

    Parameters
    ----------
    run : GreRun
        From `qsm_pipeline.bids.collect.collect_runs`.

    Returns
    -------
    LoadedRun

    Raises
    ------
    BIDSInputError
        If a file cannot be read, the files do not fit together, or the phase cannot be scaled.
    MaskError
        If the user's mask does not fit or is empty.
    """
    notes = dict(run.inferred)
    n_echoes = len(run.echo_times_s)
    parts = {
        part: _read_part(getattr(run, part), n_echoes)
        for part in ("phase", "magnitude", "real", "imag")
        if getattr(run, part)
    }
    leading = "phase" if "phase" in parts else "real"
    first = parts[leading].images[0]
    _check_geometry(parts, leading)
    _note_orientation(first, notes)
    valid = np.ones(first.shape[:3], bool)
    for part in parts.values():
        valid &= np.isfinite(part.values).all(axis=0)
        part.values[~np.isfinite(part.values)] = 0
    if not valid.any():
        raise BIDSInputError(f"{run.prefix}: no voxel holds finite data in every echo and part")
    maker = md.manufacturer(run.metadata[0]) if run.metadata else ""
    magnitude = parts["magnitude"].values if "magnitude" in parts else None
    if leading == "phase":
        valid &= ~_empty_slices(parts["phase"].values)
        if run.from_field_map:
            valid &= parts["phase"].values[0] != 0
            phase = _phase_of_field_map(parts["phase"], run, notes)
        else:
            phase = _phase_in_radians(parts["phase"], run, maker, valid, notes)
    else:
        phase, magnitude = _from_real_and_imaginary(parts, maker, notes)
    if magnitude is not None:
        _clean_magnitude(magnitude, run.prefix, notes)
        valid &= ~_empty_slices(magnitude)
    if not valid.any():
        raise BIDSInputError(f"{run.prefix}: no voxel holds finite data in every echo")
    _check_echoes_differ(phase, run)
    if not run.from_field_map:
        _check_slices_differ(phase[0], run.prefix)
    _note_missing_slices(valid, notes)
    if not valid.all():
        notes["invalid_voxels"] = (
            f"{int((~valid).sum())} of {valid.size} voxels are not finite or lie in empty "
            "slices and were left out"
        )
    if magnitude is not None and not run.from_field_map:
        phase = _repair_slice_signs(phase, magnitude, first, maker, notes)
        phase = _without_steep_ramp(phase, magnitude, run, notes)
    phase[:, ~valid] = 0
    if magnitude is not None:
        magnitude[:, ~valid] = 0
    mask, region = (
        _read_mask(path, first) if path else None for path in (run.mask, run.reference_region)
    )
    return LoadedRun(
        phase,
        magnitude,
        first.affine,
        first.header.copy(),
        run.echo_times_s,
        run.b0_tesla,
        valid,
        mask,
        notes,
        region,
    )


@dataclass(frozen=True)
class _Part:
    """All echoes of one part: the open files and their values after header scaling."""

    images: tuple[nib.Nifti1Image, ...]
    values: np.ndarray


def _read_part(paths: tuple[str, ...], n_echoes: int) -> _Part:
    images = tuple(open_image(path) for path in paths)
    if len(paths) == 1 and n_echoes > 1:
        shape = images[0].shape
        if len(shape) != 4 or shape[3] != n_echoes:
            raise BIDSInputError(
                f"{paths[0]} has shape {shape}, expected 3 spatial axes and {n_echoes} echoes, "
                "one for each EchoTime"
            )
        check_volume(images[0])
        return _Part(images, np.ascontiguousarray(np.moveaxis(read_values(images[0]), 3, 0)))
    for image in images:
        shape = image.shape
        if len(shape) > 3 and any(n != 1 for n in shape[3:]):
            raise BIDSInputError(
                f"{image.get_filename()} has shape {shape} but one EchoTime; split it into one "
                "file for each echo, or list all echo times in its sidecar"
            )
        check_volume(image)
        if shape[:3] != images[0].shape[:3]:
            raise BIDSInputError(
                f"{image.get_filename()} has shape {shape[:3]}, but {images[0].shape[:3]} in "
                f"{images[0].get_filename()}; the images of one run must agree"
            )
    stack = np.empty((len(images), *images[0].shape[:3]), np.float32)
    for echo, image in enumerate(images):
        stack[echo] = read_values(image).reshape(stack.shape[1:])
    return _Part(images, stack)


def _check_geometry(parts: dict[str, _Part], leading: str) -> None:
    first = parts[leading].images[0]
    try:
        grid = Grid.from_affine(parts[leading].values.shape[1:], first.affine)
        low, high = _VOXEL_SIZE_MM
        if not low <= min(grid.voxel_size_mm) <= max(grid.voxel_size_mm) <= high:
            voxel = " x ".join(f"{size:.4g}" for size in grid.voxel_size_mm)
            raise ValueError(f"The voxel size is {voxel} mm, expected {low:g} to {high:g} mm")
    except ValueError as err:
        raise BIDSInputError(f"{first.get_filename()}: {err}; correct its header") from err
    for part in parts.values():
        for image in part.images:
            check_same_space(image, first, BIDSInputError)
        if len(part.values) != len(parts[leading].values):
            raise BIDSInputError(
                f"{part.images[0].get_filename()} holds {len(part.values)} echoes, expected "
                f"{len(parts[leading].values)}"
            )


def _note_orientation(image: nib.Nifti1Image, notes: dict[str, str]) -> None:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        notes["orientation"] = (
            "The header gives no orientation (sform and qform codes are 0): B0 was assumed "
            "along the third voxel axis"
        )
    elif int(header["sform_code"]) and int(header["qform_code"]):
        try:
            difference = np.abs(image.get_sform() - image.get_qform())[:3, :3].max()
        except ValueError:
            notes["orientation"] = "The qform of the header is no rotation; the sform was used"
            return
        if difference > 1e-2:
            notes["orientation"] = (
                f"The sform and qform of the header differ by {difference:.3g}; the sform was used"
            )


def _check_echoes_differ(phase: np.ndarray, run: GreRun) -> None:
    """Refuse a run in which a file was copied to the name of another echo."""
    files = [Path(path).name for path in run.phase or run.real]
    for later in range(1, len(phase)):
        for echo in range(later):
            if np.array_equal(phase[echo], phase[later]):
                if len(files) > later:
                    what = f"{files[echo]} and {files[later]}"
                else:
                    what = f"echoes {echo + 1} and {later + 1} of {files[0]}"
                raise BIDSInputError(
                    f"{what} hold the same phase in every voxel, which no two echoes do; convert "
                    "the images again"
                )


def _check_slices_differ(phase: np.ndarray, prefix: str) -> None:
    """Refuse a slice that was repeated until it looked like a volume."""
    for axis in range(3):
        slices = np.moveaxis(phase, axis, 0)
        filled = [k for k, one in enumerate(slices) if one.max() > one.min()]
        if len(filled) > 1 and all(
            np.array_equal(slices[a], slices[b]) for a, b in pairwise(filled)
        ):
            raise BIDSInputError(
                f"{prefix}: all {len(filled)} slices along voxel axis {axis} hold the same phase, "
                "expected slices that were measured: one slice has no map, since the field of "
                "every source reaches through many"
            )


def _note_missing_slices(valid: np.ndarray, notes: dict[str, str]) -> None:
    """Note slices without data between others."""
    for axis in range(3):
        filled = np.flatnonzero(valid.any(axis=tuple(a for a in range(3) if a != axis)))
        missing = sorted(set(range(filled[0], filled[-1])) - set(filled.tolist()))
        if missing:
            listed = ", ".join(str(k) for k in missing[:8]) + (", ..." if missing[8:] else "")
            notes["missing_slices"] = (
                f"{len(missing)} slices along voxel axis {axis} ({listed}) hold no data in some "
                "image, with others on both sides: nothing is mapped there, and the brain may be "
                "lost on one side of them. Convert the images again"
            )


def _empty_slices(values: np.ndarray) -> np.ndarray:
    """Return where some echo is zero in a whole slice, as (X, Y, Z) bool."""
    filled = values != 0
    empty = np.zeros(values.shape[1:], bool)
    for axis in range(3):
        others = tuple(1 + a for a in range(3) if a != axis)
        missing = ~filled.any(axis=others).all(axis=0)
        shape = [1, 1, 1]
        shape[axis] = -1
        empty |= missing.reshape(shape)
    return empty


def _clean_magnitude(magnitude: np.ndarray, prefix: str, notes: dict[str, str]) -> None:
    """Set negative values to zero, and refuse what is nothing or too much."""
    if (magnitude < 0).any():
        notes["negative_magnitude"] = "Negative magnitudes were set to zero"
        np.maximum(magnitude, 0, out=magnitude)
    if not magnitude.any():
        raise BIDSInputError(f"{prefix}: every voxel of the magnitude is zero")
    if magnitude.max() > _MAX_MAGNITUDE:
        raise BIDSInputError(
            f"{prefix}: the magnitude reaches {magnitude.max():.3g}, too large to compute with "
            f"(at most {_MAX_MAGNITUDE:g}); correct its slope"
        )


def _phase_in_radians(
    part: _Part, run: GreRun, maker: str, valid: np.ndarray, notes: dict[str, str]
) -> np.ndarray:
    names = [Path(path).name for path in run.phase]
    units = [md.phase_units(m, n) for m, n in zip(run.metadata, names, strict=True)]
    if len(set(units)) > 1:
        raise BIDSInputError(f"{names[0]}: the echoes have different Units: {sorted(set(units))}")
    flat = part.values.reshape(len(part.values), -1)
    inside = flat if valid.all() else flat[:, valid.ravel()]
    if not inside.size:
        empty = [name for name, echo in zip(names, part.values, strict=False) if not echo.any()]
        if 0 < len(empty) < len(names):
            raise BIDSInputError(
                f"{run.prefix}: no voxel of the phase is finite and not empty, since "
                f"{', '.join(empty)} is 0 in every voxel, as after dividing by that echo; move "
                "the images of this echo away, and the others are mapped"
            )
        raise BIDSInputError(f"{run.prefix}: no voxel of the phase is finite and not empty")
    known = {"manufacturer": maker, "units": units[0] if units else ""}
    headers = [slope_and_intercept(image) for image in part.images]
    kinds = [image.get_data_dtype().kind in "iu" for image in part.images]
    if len(headers) < len(inside):  # all echoes in one file
        headers, kinds = headers * len(inside), kinds * len(inside)
    echoes = [
        _stored_phase(name, echo, integer, header, known)
        for name, echo, integer, header in zip(
            names * (len(inside) // len(names)), inside, kinds, headers, strict=True
        )
    ]
    header = headers[0] if len(set(headers)) == 1 else (math.nan, math.nan)
    whole = _stored_phase(names[0], inside, all(kinds), header, known)
    scalings = decide_each(whole, echoes)
    reasons = list(dict.fromkeys(scaling.reason for scaling in scalings))
    notes["phase_scaling"] = "; ".join(reasons)
    if len(reasons) > 1:
        notes["phase_stored_differently"] = (
            "The echoes store their phase in different ways, and each was scaled by its own: "
            f"{'; '.join(reasons)}. Check the conversion"
        )
    notes["phase_sign"] = scalings[0].sign_reason
    _doubt_sign(maker, notes)
    del flat, inside
    for scaling, echo in zip(scalings, part.values, strict=True):
        echo[...] = scaling.to_radians(echo)  # in place, or the run would need half as much again
    return part.values


def _stored_phase(
    file: str,
    values: np.ndarray,
    integer: bool,
    header: tuple[float, float],
    known: dict[str, str],
) -> StoredPhase:
    low, high = float(values.min()), float(values.max())
    margin = 0.02 * (high - low)
    return StoredPhase(
        file=file,
        minimum=low,
        maximum=high,
        integer_dtype=integer,
        whole_numbers=bool((values == np.round(values)).all()),
        slope=header[0],
        intercept=header[1],
        low_wall=float((values < low + margin).mean()),
        high_wall=float((values > high - margin).mean()),
        **known,
    )


def _phase_of_field_map(part: _Part, run: GreRun, notes: dict[str, str]) -> np.ndarray:
    """Return the phase that a field map makes by the virtual echo time of its run."""
    units = run.metadata[0]["Units"]
    turns = part.values.astype(np.float64) * HZ_PER_UNIT[units] * run.echo_times_s[0]
    notes["phase_sign"] = "Kept: a field map is positive where the field is higher"
    return (2 * math.pi * (turns - np.round(turns))).astype(np.float32)


def _doubt_sign(maker: str, notes: dict[str, str]) -> None:
    if maker not in ("Siemens", "Philips", "GE"):
        who = f"the manufacturer {maker!r}" if maker else "a sidecar without Manufacturer"
        notes["phase_sign_assumed"] = (
            f"The sign of the phase is not known for {who}: that of Siemens and Philips was "
            "assumed. If veins are dark in the map, it is the other one: add Manufacturer to the "
            "JSON files beside the phase"
        )


def _from_real_and_imaginary(
    parts: dict[str, _Part], maker: str, notes: dict[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    real, imag = parts["real"].values, parts["imag"].values
    for part in (parts["real"], parts["imag"]):
        if part.values.min() >= 0:
            raise BIDSInputError(
                f"{part.images[0].get_filename()} has no negative value (least "
                f"{part.values.min():g}), expected signed data; correct its slope and intercept"
            )
    sign = -1 if maker == "GE" else 1
    notes["phase_scaling"] = "Phase and magnitude were computed from real and imaginary parts"
    notes["phase_sign"] = (
        "Inverted: the phase of GE has the opposite sign of Siemens and Philips"
        if sign < 0
        else f"Kept, manufacturer {maker or 'not given'}"
    )
    _doubt_sign(maker, notes)
    return np.arctan2(sign * imag, real), np.hypot(real, imag)


def _repair_slice_signs(
    phase: np.ndarray,
    magnitude: np.ndarray,
    image: nib.Nifti1Image,
    maker: str,
    notes: dict[str, str],
) -> np.ndarray:
    """Undo signs that alternate between slices, along any axis."""
    slice_axis = image.header.get_dim_info()[2]
    axes = [2, 1, 0] if slice_axis is None or maker != "GE" else [slice_axis]
    repaired = []
    for axis in axes:
        if alternating_axis(phase[0], magnitude[0], (axis,)) is not None:
            phase = negate_alternate_slices(phase, axis)
            repaired.append(axis)
    if repaired:
        listed = " and ".join(str(axis) for axis in repaired)
        notes["slice_sign"] = (
            f"The sign alternated between slices along voxel axis {listed}, as in raw GE data or "
            "where k-space was not centred; every second slice was negated"
        )
    return phase


def _without_steep_ramp(
    phase: np.ndarray, magnitude: np.ndarray, run: GreRun, notes: dict[str, str]
) -> np.ndarray:
    steps = shared_ramp(phase, magnitude, run.echo_times_s)
    steep = [step if abs(step) > _STEEP_RAMP_RAD else 0.0 for step in steps]
    if not any(steep):
        return phase
    listed = ", ".join(f"{step:.2f}" for step in steep)
    notes["phase_ramp"] = (
        f"All echoes share a ramp of the phase ({listed} rad from voxel to voxel along the axes), "
        "as where the field of view or k-space was not centred; it was removed"
    )
    return remove_ramp(phase, steep)


def _read_mask(path: str, first: nib.Nifti1Image) -> np.ndarray:
    image = open_image(path)
    check_same_space(image, first, MaskError)
    mask = np.nan_to_num(read_values(image).reshape(first.shape[:3])) > 0.5
    if not mask.any():
        raise MaskError(f"{path} is empty: no voxel is above 0.5")
    return mask
