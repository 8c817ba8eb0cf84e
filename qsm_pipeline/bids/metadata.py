"""Checks of what the sidecars say; validators let most of these mistakes pass."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.numerics.core.units import GAMMA_BAR_HZ_PER_T

MIN_ECHO_TIME_S, MAX_ECHO_TIME_S = 1e-5, 0.2
B0_RANGE_TESLA = (0.05, 20.0)
KEPT_KEYS = (
    "EchoTime",
    "EchoTime1",
    "EchoTime2",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "Units",
    "Manufacturer",
    "ManufacturersModelName",
    "SoftwareVersions",
    "ImageType",
    "ImageTypeText",
    "SeriesDescription",
    "MRAcquisitionType",
    "PhilipsScaleSlope",
    "PhilipsRescaleSlope",
    "PhilipsRescaleIntercept",
    "RepetitionTime",
    "FlipAngle",
    "PixelBandwidth",
    "ParallelReductionFactorInPlane",
)
"""What a run carries along; the rest of a sidecar can be very long."""

_FIELD_MAP_WORDS = ("FIELDMAPHZ", "FIELDMAP", "FIELD_MAP", "B0", "B0MAP", "B0 MAP")


def number(metadata: Mapping[str, Any], key: str, file: str, unit: str) -> tuple[float, str]:
    """Read a finite number, also from text that holds nothing but one.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the file.
    key, file, unit : str
        What is read, and for whom; the last two only for the message.

    Returns
    -------
    float
        The value.
    str
        A note if the sidecar held text, else empty.

    Raises
    ------
    BIDSInputError
        If the key is missing or is not a finite number.
    """
    if key not in metadata:
        raise BIDSInputError(
            f"{file}: {key} is missing from its sidecar; expected a number in {unit}. Add it to "
            "the JSON file beside the image or to one that is inherited"
        )
    value = metadata[key]
    note = ""
    if isinstance(value, str):
        try:
            value = float(value)
            note = f"{key} was the text {metadata[key]!r} and was read as a number"
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise BIDSInputError(
            f"{file}: {key} is {_short(metadata[key])}, expected one finite number in {unit}"
        )
    return float(value), note


def echo_time_s(metadata: Mapping[str, Any], file: str) -> tuple[float, str]:
    """Return the echo time in seconds and a note, or refuse it.

    Raises
    ------
    BIDSInputError
        If it is missing, not a number, not positive, or too long to be in seconds.
    """
    value, note = number(metadata, "EchoTime", file, "seconds")
    check_echo_time(value, file)
    return value, note


def check_echo_time(value: float, file: str) -> None:
    """Refuse an echo time that is not positive or looks like milliseconds."""
    if value <= 0:
        raise BIDSInputError(f"{file}: EchoTime is {value:g} s, expected a positive time")
    if value < MIN_ECHO_TIME_S:
        raise BIDSInputError(
            f"{file}: EchoTime is {value:g} s, expected seconds and at least {MIN_ECHO_TIME_S:g}"
        )
    if value > MAX_ECHO_TIME_S:
        unit, parts = (
            ("milliseconds", 1e3) if value <= 1e3 * MAX_ECHO_TIME_S else ("microseconds", 1e6)
        )
        raise BIDSInputError(
            f"{file}: EchoTime is {value:g}, expected seconds and at most {MAX_ECHO_TIME_S:g}; "
            f"it looks like {unit}, so write {value / parts:g} instead"
        )


def check_increasing(echo_times_s: Sequence[float], file: str) -> None:
    """Refuse echo times that repeat or fall."""
    for earlier, later in pairwise(echo_times_s):
        if later - earlier < 1e-6:
            times = ", ".join(f"{t:g}" for t in echo_times_s)
            raise BIDSInputError(
                f"{file}: the echo times are {times} s, expected them to differ and to increase"
            )


def field_strength_tesla(metadata: Mapping[str, Any], file: str) -> tuple[float, str]:
    """Return the field strength in tesla and how it was found.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the file.
    file : str
        For the message.

    Returns
    -------
    float
        From ``ImagingFrequency`` where that agrees with ``MagneticFieldStrength`` within 10 %:
        the latter is nominal, and a "3 T" magnet of 123.2 MHz has 2.89 T.
    str
        One sentence.

    Raises
    ------
    BIDSInputError
        If the field strength is missing, implausible or contradicts the frequency.
    """
    nominal, note = number(metadata, "MagneticFieldStrength", file, "tesla")
    low, high = B0_RANGE_TESLA
    if not low <= nominal <= high:
        advice = ""
        if low <= nominal / 1e4 <= high:
            advice = f"; it looks like gauss, so write {nominal / 1e4:g} instead"
        elif 10 < nominal < 1000:  # both are in use: 64 mT scanners, and 63.9 MHz of 1.5 T
            tesla = nominal * 1e6 / GAMMA_BAR_HZ_PER_T
            advice = (
                f"; it looks like a frequency in MHz, so write {tesla:.4g} instead, or like "
                f"millitesla, so write {nominal / 1e3:g}"
            )
        elif low <= nominal / 1e3 <= high:
            advice = f"; it looks like millitesla, so write {nominal / 1e3:g} instead"
        raise BIDSInputError(
            f"{file}: MagneticFieldStrength is {nominal:g}, expected tesla between {low:g} and "
            f"{high:g}{advice}"
        )
    said = f"MagneticFieldStrength {nominal:g} T was used" + (f"; {note}" if note else "")
    frequency = metadata.get("ImagingFrequency")
    if isinstance(frequency, bool) or not isinstance(frequency, int | float):
        return nominal, said
    if not _is_finite(frequency) or frequency <= 0:
        return nominal, said
    b0_tesla = frequency * 1e6 / GAMMA_BAR_HZ_PER_T
    if abs(b0_tesla / nominal - 1) > 0.1:
        raise BIDSInputError(
            f"{file}: MagneticFieldStrength is {nominal:g} T but ImagingFrequency "
            f"{frequency:g} MHz means {b0_tesla:.3g} T; correct the one that is wrong"
        )
    return b0_tesla, (
        f"{b0_tesla:.4f} T from ImagingFrequency {frequency:g} MHz; MagneticFieldStrength "
        f"{nominal:g} T is nominal"
    )


def manufacturer(metadata: Mapping[str, Any]) -> str:
    """Return ``Siemens``, ``Philips``, ``GE``, another maker as written, or an empty string."""
    name = metadata.get("Manufacturer")
    if not isinstance(name, str):
        return ""
    name = name.strip()
    lower = name.lower()
    for known in ("Siemens", "Philips"):
        if known.lower() in lower:
            return known
    if lower == "ge" or lower.startswith(("ge ", "ge_", "ge-", "general electric", "gems")):
        return "GE"
    return name


def phase_units(metadata: Mapping[str, Any], file: str) -> str:
    """Return ``rad``, ``arbitrary`` or an empty string if the sidecar does not say.

    Raises
    ------
    BIDSInputError
        If ``Units`` is something else, above all ``Hz``.
    """
    units = metadata.get("Units", "")
    if units == "Hz":
        raise BIDSInputError(
            f"{file}: Units is Hz, so this is a field map and not phase; QSM needs the phase "
            "images themselves (Units rad or arbitrary)"
        )
    if units not in ("rad", "arbitrary", ""):
        raise BIDSInputError(
            f"{file}: Units of the phase is {_short(units)}, expected 'rad' or 'arbitrary'"
        )
    return units


def refuse_field_map(metadata: Mapping[str, Any], file: str) -> None:
    """Refuse an image that its ``ImageType`` calls a field map."""
    for key in ("ImageType", "ImageTypeText"):
        words = metadata.get(key)
        if isinstance(words, list):
            found = [w for w in words if isinstance(w, str) and w.upper() in _FIELD_MAP_WORDS]
            if found:
                raise BIDSInputError(
                    f"{file}: {key} holds {found[0]!r}, so this is a field map made by the "
                    "scanner and not phase; QSM needs the phase images themselves"
                )


def phase_difference_s(metadata: Mapping[str, Any], file: str) -> float | None:
    """Return the echo spacing of a phase *difference* image, or None for ordinary phase.

    Sidecars of a phase difference hold ``EchoTime1`` and ``EchoTime2``, and for Siemens also the
    second one as ``EchoTime``. Converters write both beside ordinary phase too, whose own
    ``EchoTime`` is another one: then that is right.

    Raises
    ------
    BIDSInputError
        If there is no ``EchoTime``, and the two are not echo times in their order.
    """
    if "EchoTime1" not in metadata and "EchoTime2" not in metadata:
        return None
    own = metadata.get("EchoTime")
    if own is not None and own != metadata.get("EchoTime2"):
        return None
    first, _ = number(metadata, "EchoTime1", file, "seconds")
    second, _ = number(metadata, "EchoTime2", file, "seconds")
    check_increasing((first, second), file)
    check_echo_time(first, file)
    check_echo_time(second, file)
    return second - first


def refuse_difference(metadata: Mapping[str, Any], file: str) -> None:
    """Refuse a phase difference among several echoes."""
    if "EchoTime" not in metadata and {"EchoTime1", "EchoTime2"} & set(metadata):
        raise BIDSInputError(
            f"{file}: EchoTime1 and EchoTime2 say that this is a phase difference, which cannot "
            "stand among several echoes"
        )


_FILTERED = re.compile(
    r"high[\s_-]*pass|homodyne|phase[\s_-]*filter|filtered[\s_-]*phase|unsharp|\bhpf?\b", re.I
)


def filtered_phase(metadata: Mapping[str, Any]) -> str:
    """Return the text in a sidecar that says that the phase was filtered; empty without one."""
    for key in (
        "ImageType",
        "ImageTypeText",
        "SeriesDescription",
        "ProtocolName",
        "ImageComments",
    ):
        value = metadata.get(key)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _FILTERED.search(text.replace("_", " ")):
                return f"{key} {_short(text)}"
    return ""


def readout(all_metadata: Iterable[Mapping[str, Any]]) -> str:
    """Return ``monopolar``, ``bipolar`` or ``unknown``, as far as the sidecars tell.

    No BIDS key holds this; the word is looked for in every short text of the sidecar.
    """
    for metadata in all_metadata:
        for key, value in metadata.items():
            named = key.lower() in ("bipolar", "isbipolar", "bipolarreadout")
            if named and isinstance(value, bool):
                return "bipolar" if value else "monopolar"
            if isinstance(value, str) and len(value) < 200:
                for word in ("bipolar", "monopolar"):
                    if word in value.lower():
                        return word
    return "unknown"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
