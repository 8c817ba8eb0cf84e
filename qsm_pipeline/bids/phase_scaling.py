"""From what a phase file holds to radians: the decision and the arithmetic.

Header and sidecar decide first. The range that was found in the data is only used to confirm a
convention that they leave open, and a range that fits none is refused with its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsm_pipeline.exceptions import BIDSInputError

_TOLERANCE = 1.002
_FULL = 0.95  # share of a range that must be reached if nothing but the range speaks for it
_NAMED = 0.5  # the same if the manufacturer is known to use it
_WALL = 0.002  # least share of voxels in the last 2 % of a range that wraps there
_MAX_UNWRAPPED_RAD = 200.0
_HALF_TURNS = (math.pi / 2, 500 * math.pi, 90.0)


@dataclass(frozen=True)
class StoredPhase:
    """What is known of the phase images of one run, over all echoes.

    Parameters
    ----------
    file : str
        Name for messages.
    minimum, maximum : float
        Extremes of the finite voxels after the slope and intercept of the header.
    integer_dtype : bool
        Whether the file stores integers.
    whole_numbers : bool
        Whether all values are whole numbers after header scaling.
    slope, intercept : float
        Of the header, if all echoes share them, else NaN.
    low_wall, high_wall : float
        Share of voxels in the lowest and highest 2 % of the range.
    manufacturer : str
        ``Siemens``, ``Philips``, ``GE``, another or empty.
    units : str
        ``rad``, ``arbitrary`` or empty.
    """

    file: str
    minimum: float
    maximum: float
    integer_dtype: bool = False
    whole_numbers: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    low_wall: float = 0.0
    high_wall: float = 0.0
    manufacturer: str = ""
    units: str = ""


@dataclass(frozen=True)
class PhaseScaling:
    """How to turn stored values (after header scaling) into radians.

    Parameters
    ----------
    rad_per_unit, offset_rad : float
        ``sign * (value * rad_per_unit + offset_rad)``, then wrapped to [-pi, pi).
    sign : int
        -1 for makers whose phase falls where the field is higher.
    reason : str
        One sentence on the scale, for log and sidecar.
    sign_reason : str
        One sentence on the sign.
    """

    rad_per_unit: float
    offset_rad: float
    sign: int
    reason: str
    sign_reason: str

    def to_radians(self, values: np.ndarray) -> np.ndarray:
        """Return the wrapped phase.

        Parameters
        ----------
        values : numpy.ndarray
            Stored values after header scaling.

        Returns
        -------
        numpy.ndarray, float32, same shape
            Radians in [-pi, pi].
        """
        phase = np.float64(self.sign * self.rad_per_unit) * values + self.sign * self.offset_rad
        return _wrapped(phase)


@dataclass(frozen=True)
class _Convention:
    """A range that phase is known to be stored in; ``period`` units are one turn."""

    name: str
    low: float
    period: float
    makers: tuple[str, ...] = ()

    def reached(self, facts: StoredPhase) -> float:
        """Return the share of the range that the data reach, or 0 if they leave it."""
        high = self.low + self.period
        slack = (_TOLERANCE - 1) * self.period / 2
        if facts.minimum < self.low - slack or facts.maximum > high + slack:
            return 0.0
        if self.low == 0:
            return facts.maximum / high
        return max(-facts.minimum, facts.maximum) / high if facts.minimum < 0 else 0.0


_CONVENTIONS = (
    _Convention("-4096..4096 for -pi..pi", -4096, 8192, ("Siemens",)),
    _Convention("0..4095 for one turn", 0, 4096, ("Siemens", "Philips")),
    _Convention("milliradians", -1000 * math.pi, 2000 * math.pi, ("GE", "Philips")),
    _Convention("milliradians from 0", 0, 2000 * math.pi, ("Philips",)),
    _Convention("degrees", -180, 360),
    _Convention("degrees from 0", 0, 360),
    _Convention("radians", -math.pi, 2 * math.pi),
    _Convention("radians from 0", 0, 2 * math.pi),
)


def decide_phase_scaling(facts: StoredPhase) -> PhaseScaling:
    """Decide how stored phase becomes radians.

    Parameters
    ----------
    facts : StoredPhase
        What header, sidecar and data say.

    Returns
    -------
    PhaseScaling

    Raises
    ------
    BIDSInputError
        If the phase is constant or its range fits no convention.

    Notes
    -----
    In order: a header that maps 12-bit integers symmetrically about zero (Siemens: slope 2,
    intercept -4096; Philips: slope 1.534, intercept -3141.6), ``Units: rad``, a known range, and
    last a range of floats that ends in walls on both sides, as only wrapped phase does.
    GE phase has the opposite sign of Siemens and Philips phase.
    """
    if not facts.maximum > facts.minimum:
        raise BIDSInputError(
            f"{facts.file}: every voxel of the phase is {facts.minimum:g}, expected an image"
        )
    if _has_walls(facts) and any(abs(facts.maximum / w - 1) < 1e-3 for w in _HALF_TURNS):
        raise BIDSInputError(
            f"{facts.file}: the phase wraps at {_span(facts)}, which is half a turn, as if it "
            "were the arctangent of imaginary over real part, which takes opposite signals for "
            "equal. Compute it from both (atan2), or give part-real and part-imag images"
        )
    scale = _from_header(facts) or _from_units(facts) or _from_range(facts) or _from_walls(facts)
    if scale is None:
        raise BIDSInputError(_no_convention(facts))
    per_unit, offset, reason = scale
    if facts.units == "rad" and per_unit != 1:
        reason += "; the sidecar says rad, which these values cannot be"
    sign, sign_reason = _sign(facts.manufacturer)
    return PhaseScaling(per_unit, offset, sign, reason, sign_reason)


def decide_each(whole: StoredPhase, echoes: Sequence[StoredPhase]) -> list[PhaseScaling]:
    """Decide how the echoes of one run become radians, each for itself where they must.

    Parameters
    ----------
    whole : StoredPhase
        All echoes together.
    echoes : sequence of StoredPhase
        Each of them.

    Returns
    -------
    list of PhaseScaling
        That of all together, unless each echo alone fits a convention and not all the same one, as
        where a converter wrote some files with another slope or range.

    Raises
    ------
    BIDSInputError
        If neither is possible.
    """
    try:
        alone = [decide_phase_scaling(echo) for echo in echoes]
    except BIDSInputError:
        alone = []
    if len({(each.rad_per_unit, each.offset_rad) for each in alone}) > 1:
        return alone
    return [decide_phase_scaling(whole)] * len(echoes)


def _span(facts: StoredPhase) -> str:
    return f"{facts.minimum:.6g}..{facts.maximum:.6g}"


def _from_header(facts: StoredPhase) -> tuple[float, float, str] | None:
    slope, intercept = facts.slope, facts.intercept
    if not facts.integer_dtype or not math.isfinite(slope) or slope == 0 or intercept == 0:
        return None
    half = 2048 * slope
    stored = sorted(((facts.minimum - intercept) / slope, (facts.maximum - intercept) / slope))
    if abs(intercept + half) > 0.01 * abs(half) or stored[0] < -0.5 or stored[1] > 4095.5:
        return None
    return (
        math.pi / abs(half),
        0.0,
        f"12-bit integers that the header (slope {slope:g}, intercept {intercept:g}) maps to "
        f"+-{abs(half):.6g}, taken as +-pi",
    )


def _from_units(facts: StoredPhase) -> tuple[float, float, str] | None:
    if facts.units != "rad":
        return None
    largest = max(abs(facts.minimum), abs(facts.maximum))
    if largest <= 2 * math.pi * _TOLERANCE:
        if _has_walls(facts) and largest < math.pi / 2:
            raise BIDSInputError(
                f"{facts.file}: the sidecar says rad, but the phase wraps at {_span(facts)}; "
                "expected -pi..pi. Rescale the images, or set Units to arbitrary"
            )
    elif facts.whole_numbers or _from_range(facts) or largest > _MAX_UNWRAPPED_RAD:
        return None
    wrapped = "" if largest <= math.pi * _TOLERANCE else ", wrapped to -pi..pi"
    return 1.0, 0.0, f"Radians by the sidecar; range {_span(facts)}{wrapped}"


def _from_range(facts: StoredPhase) -> tuple[float, float, str] | None:
    fitting = [
        (not (_has_walls(facts) and reached > 1 - _WALL), not named, convention)
        for convention in _CONVENTIONS
        for named in (facts.manufacturer in convention.makers,)
        for reached in (convention.reached(facts),)
        if reached >= (_NAMED if named else _FULL)
    ]
    if not fitting:
        return None
    *_, best = min(fitting, key=lambda item: item[:2])
    offset = -math.pi if best.low == 0 and best.period == 4096 else 0.0
    maker = facts.manufacturer or "a maker that the sidecar does not name"
    return (
        1.0 if best.period == 2 * math.pi else 2 * math.pi / best.period,
        offset,
        f"Range {_span(facts)} of {maker} taken as {best.name}",
    )


def _from_walls(facts: StoredPhase) -> tuple[float, float, str] | None:
    if facts.whole_numbers or facts.units == "rad" or not _has_walls(facts):
        return None
    half = (facts.maximum - facts.minimum) / 2
    return (
        math.pi / half,
        0.0,
        f"Arbitrary floats that wrap at {_span(facts)}, taken as -pi..pi",
    )


def _has_walls(facts: StoredPhase) -> bool:
    symmetric = abs(facts.minimum + facts.maximum) <= 0.005 * (facts.maximum - facts.minimum)
    return symmetric and min(facts.low_wall, facts.high_wall) >= _WALL


def _sign(manufacturer: str) -> tuple[int, str]:
    if manufacturer == "GE":
        return -1, "Inverted: the phase of GE has the opposite sign of Siemens and Philips"
    if manufacturer in ("Siemens", "Philips"):
        return 1, f"Kept, as usual for {manufacturer}"
    who = f"{manufacturer} is not known" if manufacturer else "The sidecar names no manufacturer"
    return 1, f"Kept: {who}, so the sign of Siemens and Philips was assumed"


def _no_convention(facts: StoredPhase) -> str:
    kind = "integers" if facts.integer_dtype else "floats"
    known = ", ".join(convention.name for convention in _CONVENTIONS)
    return (
        f"{facts.file}: the phase ranges over {_span(facts)} ({kind}, slope {facts.slope:g}, "
        f"intercept {facts.intercept:g}, manufacturer {facts.manufacturer or 'not given'}, Units "
        f"{facts.units or 'not given'}), which fits no known convention ({known}); convert the "
        "images to radians and set Units to rad"
    )


def alternating_axis(
    phase_rad: np.ndarray, magnitude: np.ndarray, axes: Sequence[int] = (2, 1, 0)
) -> int | None:
    """Find the axis along which every second slice has the opposite sign.

    Parameters
    ----------
    phase_rad, magnitude : numpy.ndarray, shape (X, Y, Z)
        One echo.
    axes : sequence of int
        Candidates, the likeliest first.

    Returns
    -------
    int or None
        The axis, if neighbouring slices are anticorrelated (below -0.3) in the median and in
        four of five pairs. Raw GE data come like this; true phase never does.
    """
    for axis in axes:
        phase, size = np.moveaxis(phase_rad, axis, 0), np.moveaxis(magnitude, axis, 0)
        found = []
        for k in range(phase.shape[0] - 1):
            weight = size[k] * size[k + 1]
            total = float(weight.sum(dtype=np.float64))
            if total > 0:
                cosine = np.cos(phase[k] - phase[k + 1])
                found.append(float((weight * cosine).sum(dtype=np.float64)) / total)
        if len(found) >= 3 and np.median(found) < -0.3 and np.mean(np.array(found) < 0) >= 0.8:
            return axis
    return None


def negate_alternate_slices(phase_rad: np.ndarray, axis: int) -> np.ndarray:
    """Return phase (..., X, Y, Z) with pi added to every second slice along a spatial axis."""
    steps = np.arange(phase_rad.shape[axis - 3]) % 2 * np.float32(math.pi)
    return _wrapped(phase_rad + _along(steps, axis))


def shared_ramp(
    phase_rad: np.ndarray, magnitude: np.ndarray, echo_times_s: Sequence[float]
) -> tuple[float, float, float]:
    """Find the steps from voxel to voxel along each axis that all echoes share.

    An image whose field of view or k-space lies beside the centre has such a ramp, which can be
    too steep to unwrap.

    Parameters
    ----------
    phase_rad, magnitude : numpy.ndarray, shape (E, X, Y, Z)
        All echoes.
    echo_times_s : sequence of float, length E
        Increasing. Of a single echo the ramp of the field goes with it, which is background.

    Returns
    -------
    tuple of float, length 3
        Mean steps in rad, from -pi to pi.
    """
    steps = []
    for axis in range(3):
        lines = tuple(slice(None, None, 1 if a == axis else 2) for a in range(3))  # enough
        size = np.moveaxis(magnitude[0][lines], axis, 0)[1:]
        rises = [np.diff(np.moveaxis(echo[lines], axis, 0), axis=0) for echo in phase_rad[:2]]
        signal = [size * np.exp(1j * rise) for rise in rises]
        step = float(np.angle(signal[0].sum()))
        if len(signal) > 1:
            first, second = echo_times_s[:2]
            evolved = float(np.angle((signal[1] * signal[0].conj()).sum()))
            step -= evolved * first / (second - first)
        steps.append(step - 2 * math.pi * round(step / (2 * math.pi)))
    return steps[0], steps[1], steps[2]


def remove_ramp(phase_rad: np.ndarray, steps_rad: Sequence[float]) -> np.ndarray:
    """Return wrapped phase (..., X, Y, Z) without a ramp of so many rad per voxel of each axis."""
    ramp = np.zeros((1, 1, 1), np.float32)
    for axis, step in enumerate(steps_rad):
        places = np.arange(phase_rad.shape[axis - 3], dtype=np.float32)
        ramp = ramp + _along(np.float32(step) * places, axis)
    return _wrapped(phase_rad - ramp)


def _along(values: np.ndarray, axis: int) -> np.ndarray:
    """Return a value for each place along an axis of a volume, to be added to all of it."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return values.reshape(shape).astype(np.float32)


def _wrapped(phase_rad: np.ndarray) -> np.ndarray:
    turns = np.round(phase_rad / (2 * math.pi))
    return (phase_rad - 2 * math.pi * turns).astype(np.float32)
