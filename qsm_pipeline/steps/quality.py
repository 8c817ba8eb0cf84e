"""What each quality metric means to a person, and what to do where its limit is not kept.

The command, the pages and ``qsm-pipeline explain`` read this table. Nothing that computes is
imported with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qsm_pipeline.exceptions import did_you_mean
from qsm_pipeline.numerics.quality.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from qsm_pipeline.numerics.quality.verdict import Verdict

_ECHO = re.compile(r"snr_echo_(\d+)")


@dataclass(frozen=True)
class Quality:
    """A quality metric in words.

    Parameters
    ----------
    name : str
        As in the table and in the keys of its limits.
    kind : str
        What it is evidence of, such as ``sign``, ``mask`` or ``echoes``.
    title : str
        What people call it.
    unit : str
        Its unit, empty for a plain number.
    meaning : str
        What it tells, in one sentence.
    fault : str
        What is probably wrong where its limit is not kept, in one clause.
    action : str
        What to look at, and what to do.
    figure : str
        The picture that shows it, of `qsm_pipeline.reports.figures.FIGURES`.
    """

    name: str
    kind: str
    title: str
    unit: str
    meaning: str
    fault: str
    action: str
    figure: str


VERDICT = (
    "The verdict on a map (verdict)\n"
    "  good: every quality metric keeps its limits.\n"
    "  look: one does not; the verdict names it, what is probably wrong, what to do, and the "
    "picture that shows it.\n"
    "  wrong: one is beyond its limit by as much as the limit is from what sound maps have.\n"
    "  The reason is the metric nearest to a cause: the noise of the phase, not the streaks that "
    "it makes.\n"
    "  Limits are changed in [quality_limits] of the file of --config-file; docs/verdict.md says "
    "how they were set."
)

QUALITIES = (
    Quality(
        "phase_range_turns",
        "images",
        "Range of the phase",
        "turns",
        "Wrapped phase fills a whole turn, whatever its units were.",
        "the phase does not fill one turn: it was scaled wrongly, clipped or filtered, or is no "
        "wrapped phase",
        "look at the colours of the wrapped phase and at the numbers in its file; convert it "
        "again from DICOM, or give the right units",
        "phase",
    ),
    Quality(
        "clipped_percent",
        "images",
        "Clipped values",
        "%",
        "Voxels at the largest or smallest value of their image; sound images have nearly none.",
        "values are cut off at an end of their range",
        "convert the images again from DICOM without rescaling to fewer bits",
        "phase",
    ),
    Quality(
        "missing_percent",
        "images",
        "Voxels without data",
        "%",
        "Voxels that are zero, or the same in two echoes.",
        "a part of the brain has no data, or an echo is a copy of another",
        "look at the magnitude and the phase of all echoes for empty slices; copy or convert "
        "them again",
        "lastphase",
    ),
    Quality(
        "phase_levels",
        "images",
        "Levels of the phase",
        "",
        "How many different values the phase has; scanners store about 4096.",
        "the phase was stored in too few levels",
        "convert the phase again from DICOM without rescaling to fewer bits",
        "phase",
    ),
    Quality(
        "phase_pairing",
        "pairing",
        "Phase and magnitude fit together",
        "",
        "Phase hangs together where there is signal; below 0 it does so better where the "
        "magnitude is flipped or moved.",
        "phase and magnitude do not show the same head at the same place: one is flipped, moved "
        "or of another scan",
        "compare the magnitude with the phase, slice by slice and side by side; convert both "
        "again in one step",
        "phase",
    ),
    Quality(
        "snr_echo_1",
        "noise",
        "Signal to noise, first echo",
        "",
        "How much stronger the signal of the brain is than its noise; the noise of the phase is "
        "its inverse in rad.",
        "the signal is weak, so the phase is noisy",
        "look at the magnitude; take larger voxels, fewer accelerations or another coil "
        "combination when you scan again",
        "magnitude",
    ),
    Quality(
        "mask_volume_ml",
        "mask",
        "Volume of the brain mask",
        "mL",
        "Brains of adults have about 1100 to 1600 mL, of newborns 350 to 500 mL.",
        "the mask is too small or too large for a brain",
        "look at the outline of the mask: cut off, or with scalp; give your own with "
        "--mask-pattern or try another --mask-method",
        "mask",
    ),
    Quality(
        "mask_compactness",
        "mask",
        "Compactness of the mask",
        "",
        "How smooth the surface of the mask is: a ball has 1, masks with holes or fringes less.",
        "the mask is ragged, flat or full of holes",
        "look at the outline of the mask for holes and fringes; try --mask-refinement none or "
        "your own mask with --mask-pattern",
        "mask",
    ),
    Quality(
        "mask_holes_percent",
        "mask",
        "Holes in the mask",
        "%",
        "Volume that the mask surrounds and does not hold.",
        "the mask has holes; what lies in them acts as a source outside the brain",
        "fill the holes of your mask, or let the command find one with --mask-method",
        "mask",
    ),
    Quality(
        "mask_dark_percent",
        "mask",
        "Dark voxels in the mask",
        "%",
        "Voxels far darker than brain in the first echo.",
        "the mask holds bone, air or scalp, or magnitudes that overflowed",
        "look at the outline of the mask, and for dark spots in bright tissue; give a tighter "
        "mask with --mask-pattern",
        "mask",
    ),
    Quality(
        "dark_inside_percent",
        "images",
        "Dark voxels within the brain",
        "%",
        "Voxels far darker than brain, away from its surface.",
        "the magnitude is dark where the brain is bright: values overflowed, or a part has no "
        "signal",
        "look at the magnitude of the first echo; convert it again from DICOM without rescaling "
        "to fewer bits",
        "magnitude",
    ),
    Quality(
        "tissue_beside_percent",
        "mask",
        "Tissue beside the mask",
        "%",
        "How much of what lies just outside the mask looks like brain, all around.",
        "the mask leaves out a part of the brain",
        "look where the outline of the mask cuts through tissue; give your own with "
        "--mask-pattern or try another --mask-method",
        "mask",
    ),
    Quality(
        "coverage_mm",
        "coverage",
        "Extent of the brain",
        "mm",
        "Shortest side of the part of the brain that was scanned; in a thin slab background and "
        "susceptibility cannot be told apart well.",
        "too little of the brain was scanned, or the mask lost most of it",
        "compare values within such scans only, away from the ends of the slab; cover at least "
        "40 mm when you scan again",
        "mask",
    ),
    Quality(
        "unwrapping_jumps_percent",
        "unwrapping",
        "Jumps left by unwrapping",
        "%",
        "Neighbours away from the surface that differ by more than half a turn: unwrapping has "
        "left a cut there.",
        "unwrapping has left steps of whole turns within the brain",
        "look at the unwrapped phase for steps of colour; try --unwrap romeo-individual",
        "unwrapped",
    ),
    Quality(
        "unwrapping_incongruence_rad",
        "unwrapping",
        "Incongruence of unwrapping",
        "rad",
        "What unwrapping has added besides whole turns, which exact methods never do; Laplacian "
        "unwrapping always does and has no limit.",
        "unwrapping has added something that is no whole turn",
        "look at the unwrapped phase; try --unwrap romeo",
        "unwrapped",
    ),
    Quality(
        "turns_off_percent",
        "unwrapping",
        "Echoes off by a turn",
        "%",
        "Voxels with an echo that has another number of turns than the field says.",
        "echoes differ by whole turns in a part of the brain",
        "compare the unwrapped phase of the first and last echo; try --unwrap romeo-individual",
        "lastunwrapped",
    ),
    Quality(
        "fit_residual_percent",
        "echoes",
        "Misfit of the field",
        "%",
        "The part of the signal that one field for all echoes does not explain: motion, low "
        "signal, flow or badly combined coils.",
        "one field does not explain all echoes",
        "look at the wrapped phase of the last echo and its echo times; motion and low signal "
        "make it worse towards the last echo",
        "lastphase",
    ),
    Quality(
        "echo_misfit_rad",
        "echoes",
        "Phase of the echoes off a line",
        "rad",
        "How far the phase of an echo is from that of the field, without noise: motion, drift, "
        "another readout direction, a wrong echo time or order.",
        "the echoes contradict each other",
        "look at the wrapped phase of all echoes and their echo times; try --readout bipolar, "
        "and leave out the echo that differs",
        "lastphase",
    ),
    Quality(
        "decay_misfit_percent",
        "echoes",
        "Magnitude of the echoes off a decay",
        "%",
        "How far the magnitude of an echo is from an exponential decay, without noise.",
        "the magnitudes are no decay: motion, a wrong order of the echoes, or scaling that "
        "differs between them",
        "look at the magnitude of all echoes and their echo times; leave out the echo that "
        "differs",
        "r2star",
    ),
    Quality(
        "relative_decay",
        "scale",
        "Decay of the signal",
        "",
        "Median R2* over that of an adult at this field strength.",
        "the signal decays too fast or too slowly for these echo times and this field strength, "
        "so that one of them is wrong",
        "compare EchoTime (in s) and MagneticFieldStrength in the sidecars with the protocol",
        "r2star",
    ),
    Quality(
        "unreliable_percent",
        "echoes",
        "Voxels without a trusted field",
        "%",
        "The part of the brain whose field is not used, because the echoes disagree or the phase"
        " is too steep.",
        "much of the brain has no field that can be trusted",
        "look at the weight of the field: at the rim it is the mask, in the middle motion or low"
        " signal",
        "weights",
    ),
    Quality(
        "unreliable_inside_percent",
        "unwrapping",
        "Voxels without a trusted field, inside",
        "%",
        "The part of the inner brain whose field is not used.",
        "within the brain there are places whose field cannot be trusted: unwrapping failed "
        "there, the echoes disagree or the data are damaged",
        "look at the weight of the field and the unwrapped phase for the place; try --unwrap "
        "romeo-individual",
        "weights",
    ),
    Quality(
        "strong_source_ml",
        "sources",
        "Volume around strong sources",
        "mL",
        "Bleedings, calcifications or implants, around which the map may be wrong; it is left "
        "out of desc-qsm_mask.",
        "the field is so steep in some place (a bleeding, calcification or implant, or unwrapping "
        "that failed around it) that the map may be wrong there",
        "look at the figure of strong sources; read values there with care or not at all",
        "strongsources",
    ),
    Quality(
        "background_ratio",
        "filter",
        "Background in the total field",
        "",
        "Size of the total field over that of the local field: air around the brain makes it "
        "large.",
        "there is hardly any background, as if the phase had been high-pass filtered; "
        "susceptibility is then too small",
        "use the phase as it was reconstructed, not that of an SWI product",
        "totalfield",
    ),
    Quality(
        "long_waves_percent",
        "background",
        "Long waves in the local field",
        "%",
        "Share of the local field that is smoother than about 25 mm: background that was left "
        "raises it, a high-pass filter lowers it.",
        "the local field has too much or too little that is smooth: background was left, or a "
        "filter took a part of the brain's own field",
        "look at the local field for shading; try another --background, and see that the phase "
        "was not filtered",
        "localfield",
    ),
    Quality(
        "field_noise_percent",
        "noise",
        "Noise of the local field",
        "%",
        "Noise from voxel to voxel over the size of the local field.",
        "the field is mostly noise",
        "look at the local field and the wrapped phase; take larger voxels or longer echo times "
        "when you scan again",
        "localfield",
    ),
    Quality(
        "slice_ripple_percent",
        "stripes",
        "Stripes across slices",
        "%",
        "How much whole slices stand out from their neighbours.",
        "slices have offsets of their own, as in two-dimensional or interleaved acquisitions, or"
        " the images hold stripes",
        "look at the local field in all three planes; tell the scanner's reconstruction, or "
        "remove the offsets of slices",
        "localfield",
    ),
    Quality(
        "cone_share",
        "dipole",
        "Field that no susceptibility has",
        "",
        "Power near the cone where the field of any dipole vanishes, over the power elsewhere: "
        "well below 1 for the field of a brain.",
        "much of the local field is no field of susceptibility: noise, background, steps or a "
        "wrong geometry",
        "look at the local field and the residual; the other metrics tell which step it comes "
        "from",
        "residual",
    ),
    Quality(
        "axis_misfit",
        "axis",
        "Axis of the dipole",
        "",
        "How well the direction of B0 explains the local field against all other directions: "
        "below 1 it is the best.",
        "the field fits dipoles along another axis: the orientation or the voxel size in the "
        "image's header is wrong",
        "compare orientation and voxel size of the images with the protocol; convert them again "
        "from DICOM, and do not reorient or crop phase with tools that drop the header",
        "residual",
    ),
    Quality(
        "inversion_residual_percent",
        "inversion",
        "Field that the map does not explain",
        "%",
        "How much of the local field is missing in the field of the map.",
        "the map does not explain the field that it was made from",
        "look at the residual: anatomy in it asks for less regularisation, shading for another "
        "--background",
        "residual",
    ),
    Quality(
        "residual_unevenness",
        "place",
        "Places that the map does not explain",
        "",
        "Size of the residual in its worst place over the typical one.",
        "in one place the map does not explain the field",
        "look at the residual for the place: a vessel, a bleeding, a hole of the mask, motion",
        "residual",
    ),
    Quality(
        "streaking_index",
        "inversion",
        "Streaks",
        "",
        "Power near the magic angle over the power elsewhere: about 1 without streaks, more with"
        " them, less in smoothed maps.",
        "the map has streaks",
        "look for streaks from veins and nuclei; give more regularisation or another --inversion",
        "chi",
    ),
    Quality(
        "chi_spread_ppm",
        "scale",
        "Contrast of the map",
        "ppm",
        "Half the width of the middle two thirds of the values; brains have 0.02 to 0.04 ppm.",
        "the contrast is not that of a brain: too small or too large by a factor",
        "compare EchoTime (in s), MagneticFieldStrength and the units of the phase with the "
        "protocol; with a method of your own, its regularisation",
        "histogram",
    ),
    Quality(
        "iron_ppm",
        "scale",
        "Iron in the map",
        "ppm",
        "How far the most paramagnetic half percent, veins and nuclei, stands out.",
        "nuclei and veins are too weak or too strong by a factor",
        "compare EchoTime (in s), MagneticFieldStrength and the units of the phase with the "
        "protocol",
        "nuclei",
    ),
    Quality(
        "asymmetry",
        "sign",
        "Sign of the map",
        "",
        "Iron is stronger than myelin, so the upper tail of the values is longer: below 0 the "
        "map may be upside down.",
        "what should be veins and nuclei is diamagnetic, so the phase has the wrong sign",
        "check Manufacturer in the sidecars, and the conversion; turn the sign of the phase",
        "nuclei",
    ),
    Quality(
        "iron_decays",
        "sign",
        "Iron where the magnitude is dark",
        "",
        "Veins and nuclei are paramagnetic and decay fast, so that they are dark beside their "
        "surroundings in the last echo: the value is positive in brains.",
        "what is dark in the last echo is not paramagnetic: the phase has the wrong sign, or the "
        "magnitude is of another head",
        "check Manufacturer in the sidecars, and the conversion; turn the sign of the phase",
        "nuclei",
    ),
    Quality(
        "rim_ratio",
        "background",
        "Rim of the map",
        "",
        "Size of the values in the outer 3 mm over that within: a rim is background that was "
        "left, or a mask that is too wide.",
        "the map has a bright or dark rim, which is background",
        "look at the local field at the surface; try another --background or a tighter mask",
        "localfield",
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
        return replace(first, name=wanted, title=f"Signal to noise, echo {match[1]}")
    if wanted not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"no quality metric is {name!r}; there are {', '.join(known)}{near}")
    return known[wanted]


def in_words(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the sidecar, the page and the command tell it.

    Parameters
    ----------
    verdict : Verdict
        From `qsm_pipeline.numerics.quality.verdict.judge`.

    Returns
    -------
    dict of str to Any
        ``Level``; of those that are not good also ``Reason`` and ``Action`` in words, ``Kind``,
        ``Metric`` and ``Figure`` of the reason, and ``Also``, other metrics; ``Score``.
    """
    said: dict[str, Any] = {"Level": verdict.level, "Score": round(verdict.score, 2)}
    if verdict.reason:
        one = quality(verdict.reason)
        said |= {"Reason": one.fault, "Action": one.action, "Kind": one.kind}
        said |= {"Metric": one.name, "Figure": one.figure, "Also": list(verdict.also)}
    return said


def explained(name: str = "") -> str:
    """Return what there is to know of one quality metric, of all, or of the verdict."""
    if name.lower() == "verdict":
        return f"{VERDICT}\n"
    chosen = [quality(name)] if name else list(QUALITIES)
    return "\n\n".join(map(_text, chosen)) + "\n"


def _text(one: Quality) -> str:
    low, high = (DEFAULT_LIMITS.get(f"{end}_{one.name}") for end in ("min", "max"))
    parts = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high else ""]
    limits = " and ".join(part for part in parts if part)
    expected = f"Expected: {limits} {one.unit}".rstrip() + "." if limits else "Without a limit."
    return (
        f"{one.title} ({one.name})\n  {one.meaning}\n  {expected}\n"
        f"  If it is not kept: {one.fault}.\n"
        f"  What to do: {one.action}."
    )
