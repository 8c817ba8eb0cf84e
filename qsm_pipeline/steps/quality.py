"""What each quality metric means to a person, and what to do where its limit is not kept.

The command, the pages and ``qsm-pipeline explain`` read this table. Nothing that computes is
imported with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qsm_pipeline.exceptions import did_you_mean
from qsm_pipeline.numerics.quality.limits import DEFAULT_LIMITS

_ECHO = re.compile(r"snr_echo_(\d+)")


@dataclass(frozen=True)
class Quality:
    """A quality metric in words.

    Parameters
    ----------
    name : str
        As in the table and in the keys of its limits.
    title : str
        What people call it.
    unit : str
        Its unit, empty for a plain number.
    meaning : str
        What it tells, in one sentence.
    action : str
        What to look at, and what to do.
    """

    name: str
    title: str
    unit: str
    meaning: str
    action: str


QUALITIES = (
    Quality(
        "snr_echo_1",
        "Signal to noise, first echo",
        "",
        "How much stronger the signal of the brain is than its noise; the noise of the phase is "
        "its inverse in rad.",
        "look at the magnitude; take larger voxels, fewer accelerations or another coil "
        "combination when you scan again",
    ),
    Quality(
        "mask_volume_ml",
        "Volume of the brain mask",
        "mL",
        "Brains of adults have about 1100 to 1600 mL.",
        "look at the outline of the mask: cut off, or with scalp; give your own with "
        "--mask-pattern or try another --mask-method",
    ),
    Quality(
        "mask_compactness",
        "Compactness of the mask",
        "",
        "How smooth the surface of the mask is: a ball has 1, masks with holes or fringes less.",
        "look at the outline of the mask for holes and fringes; try --mask-refinement none or "
        "your own mask with --mask-pattern",
    ),
    Quality(
        "unwrapping_jumps_percent",
        "Jumps left by unwrapping",
        "%",
        "Neighbours that differ by more than half a turn: unwrapping has left a cut there.",
        "look at the unwrapped phase for steps of colour; try --unwrap romeo-individual",
    ),
    Quality(
        "unwrapping_incongruence_rad",
        "Incongruence of unwrapping",
        "rad",
        "What unwrapping has added besides whole turns, which exact methods never do; Laplacian "
        "unwrapping always does and has no limit.",
        "look at the unwrapped phase; try --unwrap romeo",
    ),
    Quality(
        "fit_residual_percent",
        "Misfit of the field",
        "%",
        "The part of the signal that one field for all echoes does not explain: motion, low "
        "signal, flow or badly combined coils.",
        "look at the wrapped phase of the last echo and its echo times; motion and low signal "
        "make it worse towards the last echo",
    ),
    Quality(
        "unreliable_percent",
        "Voxels without a trusted field",
        "%",
        "The part of the brain whose field is not used, because the echoes disagree or the phase "
        "is too steep.",
        "look at the weight of the field: at the rim it is the mask, in the middle motion or low "
        "signal",
    ),
    Quality(
        "strong_source_ml",
        "Volume around strong sources",
        "mL",
        "Bleedings, calcifications or implants, around which the map may be wrong; it is left out "
        "of desc-qsm_mask.",
        "look at the figure of strong sources; read values there with care or not at all",
    ),
    Quality(
        "inversion_residual_percent",
        "Field that the map does not explain",
        "%",
        "How much of the local field is missing in the field of the map.",
        "look at the residual: anatomy in it asks for less regularisation, shading for another "
        "--background",
    ),
    Quality(
        "streaking_index",
        "Streaks",
        "",
        "Power near the magic angle over the power elsewhere: about 1 without streaks, more with "
        "them, less in smoothed maps.",
        "look for streaks from veins and nuclei; give more regularisation or another --inversion",
    ),
    Quality(
        "reference_sd_ppm",
        "Spread in the reference region",
        "ppm",
        "How homogeneous the region is that has the value zero.",
        "look at the map in the reference region; try --reference brain",
    ),
    Quality(
        "rim_ratio",
        "Rim of the map",
        "",
        "Size of the values in the outer 3 mm over that within: a rim is background that was "
        "left, or a mask that is too wide.",
        "look at the local field at the surface; try another --background or a tighter mask",
    ),
)
"""In the order of processing."""


def quality(name: str) -> Quality:
    """Return the words for a metric.

    Parameters
    ----------
    name : str
        Of the metric, in upper or lower case; ``snr_echo_<number>`` of any echo.

    Raises
    ------
    ValueError
        If there is none of that name; with the nearest.

    Examples
    --------
    >>> quality("snr_echo_3").title
    'Signal to noise, echo 3'
    """
    wanted = name.lower().replace("-", "_")
    known = {each.name: each for each in QUALITIES}
    match = _ECHO.fullmatch(wanted)
    if match and wanted not in known:
        first = known["snr_echo_1"]
        title = f"Signal to noise, echo {match[1]}"
        return Quality(wanted, title, first.unit, first.meaning, first.action)
    if wanted not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"no quality metric is {name!r}; there are {', '.join(known)}{near}")
    return known[wanted]


def explained(name: str = "") -> str:
    """Return what there is to know of one quality metric, or of all."""
    chosen = [quality(name)] if name else list(QUALITIES)
    return "\n\n".join(map(_text, chosen)) + "\n"


def _text(one: Quality) -> str:
    low, high = (DEFAULT_LIMITS.get(f"{end}_{one.name}") for end in ("min", "max"))
    parts = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high else ""]
    limits = " and ".join(part for part in parts if part)
    expected = f"Expected: {limits} {one.unit}".rstrip() + "." if limits else "Without a limit."
    return (
        f"{one.title} ({one.name})\n  {one.meaning}\n  {expected}\n"
        f"  If it is not kept: {one.action}."
    )
