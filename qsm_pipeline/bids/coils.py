"""Runs of which each receive coil has images of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qsm_pipeline.bids.load import LoadedRun, load_run
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.numerics.core.grid import Grid

Combine = Callable[
    [Iterable[np.ndarray], Iterable[tuple[np.ndarray, np.ndarray]], Grid],
    tuple[np.ndarray, np.ndarray],
]
"""Makes one scan of coils: first echoes, phase and magnitude of all, and their grid."""

_REC = re.compile(r"(?:coil|channel|ch)0*(\d+)", re.I)


def coil_number(entities: Mapping[str, str]) -> int | None:
    """Return the number of the coil that ``coil-01`` or ``rec-coil01`` names, or None."""
    label = entities.get("coil", "")
    if label.isascii() and label.isdecimal():
        return int(label)
    match = _REC.fullmatch(entities.get("rec", ""))
    return int(match[1]) if match and "coil" not in entities else None


def without_coil(entities: Mapping[str, str]) -> dict[str, str]:
    """Return the entities of the run that a coil belongs to."""
    key = "coil" if "coil" in entities else "rec"
    return {k: v for k, v in entities.items() if k != key}


def merged(coils: Mapping[int, GreRun]) -> GreRun:
    """Return one run of several coils.

    Raises
    ------
    BIDSInputError
        If they have other echo times, field strengths or parts.
    """
    numbers = sorted(coils)
    first = coils[numbers[0]]
    for number in numbers[1:]:
        _check_alike(number, coils[number], numbers[0], first)
    if not (first.magnitude or first.real):
        raise BIDSInputError(
            f"{first.prefix}: the phase of {len(numbers)} single coils needs their magnitudes to "
            "be combined; add the part-mag images of every coil"
        )
    notes = first.inferred | {
        "coils": (
            f"{len(numbers)} single coils ({_listed(numbers)}) are combined, each relative to a "
            "virtual reference coil"
        )
    }
    gaps = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if gaps:
        notes["missing_coils"] = f"Coil {_listed(gaps)} is not there"
    others = tuple(coils[number].to_dict() for number in numbers[1:])
    return replace(first, coils=others, inferred=notes)


def _check_alike(number: int, coil: GreRun, first_number: int, first: GreRun) -> None:
    for what, got, expected in (
        ("echo times in s", coil.echo_times_s, first.echo_times_s),
        ("field strength in T", coil.b0_tesla, first.b0_tesla),
        ("parts", _parts(coil), _parts(first)),
    ):
        if got != expected:
            raise BIDSInputError(
                f"{first.prefix}: the {what} of coil {number} are {got}, but {expected} of coil "
                f"{first_number}; correct or remove it"
            )


def _parts(run: GreRun) -> list[str]:
    return [part for part in ("phase", "magnitude", "real", "imag") if getattr(run, part)]


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def load_combined(run: GreRun, combine: Combine) -> LoadedRun:
    """Read a run, and combine its coils where they have images of their own.

    Every coil is read twice, its first echo before all others, so that two are never in memory.

    Parameters
    ----------
    run : GreRun
        The files.
    combine : callable
        `qsm_pipeline.steps.coils.combine_coils`.

    Returns
    -------
    LoadedRun
        With the notes of the first coil.

    Raises
    ------
    BIDSInputError, MaskError
        As `qsm_pipeline.bids.load.load_run`; also if a coil lies elsewhere.
    """
    if not run.coils:
        return load_run(run)
    own, *others = run.each_coil
    first = load_run(_first_echo(own))
    rest = [
        replace(coil, mask="", reference_region="") for coil in others
    ]  # those of the first do
    valid = first.valid_mask.copy()
    whole: list[LoadedRun] = []  # the first coil without its images

    def first_echoes() -> Iterator[np.ndarray]:
        yield _complex_first_echo(first)
        for coil in rest:
            read = load_run(_first_echo(coil))
            _check_place(read, first, coil)
            yield _complex_first_echo(read)

    def echoes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for coil in (own, *rest):
            read = load_run(coil)
            assert read.magnitude is not None
            valid[:] &= read.valid_mask
            if not whole:
                whole.append(replace(read, phase_rad=read.phase_rad[:0], magnitude=None))
            yield read.phase_rad, read.magnitude

    phase, magnitude = combine(first_echoes(), echoes(), first.grid)
    phase[:, ~valid] = 0
    magnitude[:, ~valid] = 0
    return replace(whole[0], phase_rad=phase, magnitude=magnitude, valid_mask=valid)


def _complex_first_echo(read: LoadedRun) -> np.ndarray:
    assert read.magnitude is not None
    return read.magnitude[0] * np.exp(1j * read.phase_rad[0])


def _first_echo(run: GreRun) -> GreRun:
    """Return the run with its first echo alone, where that is a file of its own."""
    if len(run.phase or run.real) < 2:
        return run
    parts: dict[str, Any] = {part: getattr(run, part)[:1] for part in _parts(run)}
    times, metadata = run.echo_times_s[:1], run.metadata[:1]
    return replace(
        run, echo_times_s=times, metadata=metadata, mask="", reference_region="", **parts
    )


def _check_place(read: LoadedRun, first: LoadedRun, coil: GreRun) -> None:
    if read.grid != first.grid:
        name = (coil.phase or coil.real)[0]
        raise BIDSInputError(
            f"{name} has another shape, voxel size or orientation than the other coils; correct "
            "or remove it"
        )
