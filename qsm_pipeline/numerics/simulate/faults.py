"""Every kind of fault that a map may have, at strengths from weak to strong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qsm_pipeline.numerics.simulate import field_faults as field
from qsm_pipeline.numerics.simulate import scan_faults as raw


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Parameters
    ----------
    name : str
        Key.
    stage : {"scan", "unwrapped", "local", "map"}
        What it changes: the raw scan, unwrapped phase, the local field, or the map.
    reasons : tuple of str
        Kinds of evidence that name it rightly, of `qsm_pipeline.steps.quality`.
    strengths : tuple of float
        From weak to strong.
    meaning : str
        What the strength is.
    apply : callable
        Of a stage ``scan``: takes a `RawScan`, a strength and a generator. Of the others: the
        volume, its mask, its grid, a strength and a generator. Returns what it was given, changed.
    least_echoes : int
        Scans with fewer cannot have it.
    """

    name: str
    stage: str
    reasons: tuple[str, ...]
    strengths: tuple[float, ...]
    meaning: str
    apply: Callable[..., Any]
    least_echoes: int = 1


def _scan(
    name: str,
    reasons: tuple[str, ...],
    strengths: tuple[float, ...],
    meaning: str,
    apply: Callable[..., Any],
    least_echoes: int = 1,
) -> Fault:
    return Fault(name, "scan", reasons, strengths, meaning, apply, least_echoes)


FAULTS = (
    _scan("sign", ("sign",), (1,), "the phase has the other sign", raw.negated),
    _scan("field strength", ("scale",), (1.5, 2, 3), "factor", raw.other_field_strength),
    _scan("echo times", ("scale",), (1.5, 2, 4), "factor", raw.other_echo_times),
    _scan("phase scale", ("images",), (0.9, 0.75, 0.5), "factor", raw.scaled_phase),
    _scan("phase scale up", ("images",), (1.2, 1.5, 2), "factor", raw.scaled_phase),
    _scan("B0 tilted", ("axis",), (20, 45, 90), "degrees", raw.tilted_b0),
    _scan("axes swapped", ("axis",), (1,), "two axes of the affine", raw.swapped_axes),
    _scan("slice thickness", ("axis",), (1.5, 2, 3), "factor", raw.other_voxel_size),
    _scan("flip left-right", ("pairing",), (1,), "of the phase", raw.flipped_phase(0)),
    _scan("flip front-back", ("pairing",), (1,), "of the phase", raw.flipped_phase(1)),
    _scan("flip up-down", ("pairing",), (1,), "of the phase", raw.flipped_phase(2)),
    _scan("phase shifted", ("pairing",), (6, 12, 24), "mm", raw.shifted_phase),
    _scan("echoes swapped", ("echoes", "scale"), (1, 2, 3), "places apart", raw.swapped_echoes, 2),
    _scan("echo copied", ("echoes", "images"), (1, 2), "echoes", raw.copied_echo, 2),
    _scan("motion", ("echoes",), (1, 3, 6), "mm", raw.moved_echoes, 2),
    _scan("drift", ("echoes",), (0.2, 0.5, 1), "rad", raw.drifting_phase, 3),
    _scan("bipolar", ("echoes",), (0.5, 1.5, 4), "rad", raw.bipolar_readout, 3),
    _scan("noise", ("noise",), (0.05, 0.15, 0.4), "of the signal", raw.noisy),
    _scan("phase clipped", ("images",), (0.9, 0.7, 0.4), "of half a turn", raw.clipped_phase),
    _scan(
        "magnitude overflow",
        ("images",),
        (0.9, 0.6, 0.3),
        "of the largest",
        raw.overflown_magnitude,
    ),
    _scan("slices missing", ("images",), (0.05, 0.15, 0.3), "of the slices", raw.missing_slices),
    _scan("block missing", ("images",), (6, 12, 24), "mm", raw.missing_block),
    _scan("spike", ("stripes", "noise", "echoes"), (0.05, 0.15, 0.4), "of the signal", raw.spike),
    _scan("ghost", ("echoes", "noise"), (0.05, 0.15, 0.4), "of the signal", raw.ghost),
    _scan(
        "phase interpolated",
        ("images", "unwrapping", "noise"),
        (0.1, 0.25, 0.5),
        "of a voxel",
        raw.interpolated_phase,
    ),
    _scan("slice offsets", ("echoes", "stripes"), (0.1, 0.4, 1), "rad", raw.offset_slices),
    _scan("phase filtered", ("filter", "background"), (16, 8, 4), "mm", raw.filtered_phase),
    _scan("open fringes", ("echoes", "unwrapping"), (1, 3, 6), "lines an echo", raw.open_fringes),
    _scan("phase in levels", ("noise", "images"), (32, 12, 6), "levels", raw.coarse_phase),
    _scan("metal", ("sources",), (8, 15, 25), "mm", raw.signal_void),
    _scan("mask too wide", ("mask",), (4, 8, 16), "mm", raw.leaking_mask),
    _scan("mask leaks", ("mask",), (15, 25, 40), "mm", raw.one_sided_leak),
    _scan("lobe missing", ("mask",), (0.1, 0.25, 0.4), "of the length", raw.missing_lobe),
    _scan("mask with holes", ("mask",), (10, 40, 120), "holes", raw.holes),
    _scan("mask eroded", ("mask",), (4, 8, 14), "mm", raw.eroded_mask),
    _scan("thin slab", ("coverage",), (32, 24, 16), "mm", raw.thin_slab),
    Fault(
        "region off a turn",
        "unwrapped",
        ("unwrapping", "sources"),
        (6, 12, 24),
        "mm",
        field.turned_region,
    ),
    Fault(
        "echo off a turn",
        "unwrapped",
        ("unwrapping", "echoes"),
        (6, 12, 24),
        "mm",
        field.turned_echo,
        2,
    ),
    Fault(
        "turns scattered",
        "unwrapped",
        ("unwrapping", "sources"),
        (0.005, 0.03, 0.1),
        "of the voxels",
        field.scattered_turns,
    ),
    Fault(
        "background left",
        "local",
        ("background",),
        (0.3, 0.8, 2),
        "of the local field",
        field.background_left,
    ),
    Fault("field units", "local", ("scale",), (0.25, 3, 10), "factor", field.wrong_units),
    Fault(
        "slice steps",
        "local",
        ("stripes",),
        (0.2, 0.5, 1),
        "of the local field",
        field.slice_steps_left,
    ),
    Fault("over-filtered", "local", ("background",), (16, 8, 4), "mm", field.over_filtered),
    Fault("streaks", "map", ("inversion",), (2, 4, 8), "factor", field.streaks),
    Fault("map too smooth", "map", ("inversion",), (2, 4, 8), "mm", field.oversmoothed),
    _scan("phase turned", ("pairing",), (10, 30, 90), "degrees", raw.turned_phase),
    _scan(
        "phase smoothed",
        ("images", "unwrapping", "noise", "echoes"),
        (3, 5),
        "voxels",
        raw.smoothed_phase,
    ),
    _scan("echo lost", ("echoes", "noise"), (0.2, 0.5, 1), "of the signal", raw.lost_echo, 3),
    _scan("slab step", ("echoes", "stripes", "unwrapping"), (0.7, 1.5, 3), "rad", raw.slab_step),
    _scan("echo negated", ("echoes",), (1, 2), "echoes", raw.negated_echo, 3),
    _scan("mask moved", ("mask",), (6, 12, 20), "mm", raw.moved_mask),
    Fault("field negated", "local", ("sign",), (1,), "local field", field.negated),
    Fault("ramp left", "local", ("background",), (0.5, 1, 2), "of the field", field.ramp_left),
    Fault(
        "noise in the map", "map", ("inversion", "noise"), (0.5, 1, 2), "of its SD", field.noisy
    ),
)
"""In the order in which they were conceived."""

HELD_OUT = frozenset([f.name for f in FAULTS[1:45:2]] + [f.name for f in FAULTS[45:]])
"""Kinds that the limits of the verdict were not set on: every other, and the last nine, which were
written after the limits."""
