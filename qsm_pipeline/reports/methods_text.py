"""The methods section of a paper, from the settings with which the maps were really made.

It holds what the consensus on QSM (doi:10.1002/mrm.30006) wants reported: software and version,
the algorithm and the parameters of each step with their defaults, the reference with its region,
and what was excluded. Citations stand as ``[@key]``, keys of ``data/references.bib``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.facts import as_text
from qsm_pipeline.steps.methods import OWN_MASK, methods, stage

_NAMED = 8


@dataclass(frozen=True)
class Mapped:
    """A run with a map.

    Parameters
    ----------
    run : GreRun
        The run.
    sidecar : mapping
        Of its susceptibility map.
    voxel_size_mm : str
        As text, empty if unknown.
    """

    run: GreRun
    sidecar: Mapping[str, Any]
    voxel_size_mm: str = ""


@dataclass(frozen=True)
class Section:
    """Text for runs that were made in the same way.

    Parameters
    ----------
    title : str
        Which runs.
    paragraphs : tuple of str
        With citations as ``[@key]``.
    """

    title: str
    paragraphs: tuple[str, ...]


def methods_sections(mapped: Sequence[Mapped]) -> list[Section]:
    """Return the text, one section for each way in which maps were made.

    Parameters
    ----------
    mapped : sequence of Mapped
        All runs that are to be described.
    """
    groups: dict[tuple[str, ...], list[Mapped]] = {}
    for one in mapped:
        groups.setdefault(_steps(one), []).append(one)
    return [
        Section(_title(group, len(groups) == 1), (_acquisition(group), *steps, _reference(group)))
        for steps, group in groups.items()
    ]


def _title(group: Sequence[Mapped], alone: bool) -> str:
    names = [one.run.prefix for one in group]
    if alone and len(names) > _NAMED:
        return f"All {len(names)} runs"
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _acquisition(group: Sequence[Mapped]) -> str:
    texts = list(dict.fromkeys(_one_acquisition(one) for one in group))
    if len(texts) > _NAMED:
        texts = [*texts[:_NAMED], f"{len(texts) - _NAMED} further combinations of these"]
    return "Gradient-echo data: " + "; or ".join(texts) + "."


def _one_acquisition(one: Mapped) -> str:
    run = one.run
    times = ", ".join(f"{1000 * t:.2f}" for t in run.echo_times_s)
    parts = [
        f"{run.b0_tesla:g} T",
        "field maps" if run.from_field_map else f"{len(run.echo_times_s)} echo(es) at {times} ms",
        f"voxels of {one.voxel_size_mm} mm" if one.voxel_size_mm else "",
        f"{run.readout} readout" if run.readout != "unknown" else "",
    ]
    given = run.metadata[0] if run.metadata else {}
    parts += [
        f"{name} {as_text(given[key])}{unit}"
        for key, name, unit in (
            ("Manufacturer", "scanner", ""),
            ("ManufacturersModelName", "model", ""),
            ("RepetitionTime", "repetition time", " s"),
            ("FlipAngle", "flip angle", " degrees"),
            ("PixelBandwidth", "bandwidth", " Hz per pixel"),
            ("ParallelReductionFactorInPlane", "in-plane acceleration", ""),
        )
        if key in given
    ]
    return ", ".join(part for part in parts if part)


def _steps(one: Mapped) -> tuple[str, ...]:
    """Return the paragraphs that depend on the settings alone."""
    sidecar, used = one.sidecar, one.sidecar.get("Parameters", {})
    return (
        _software(sidecar),
        _mask(sidecar, used),
        _phase(one.run, sidecar, used),
        _field(one, used),
        _inversion(used),
        *_extras(used),
    )


def _software(sidecar: Mapping[str, Any]) -> str:
    versions = dict(sidecar.get("Software", {}))
    own = versions.pop("qsm-pipeline", "of unknown version")
    rest = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Susceptibility maps were made with qsm-pipeline {own} ({rest}), a workflow of Nipype "
        "[@gorgolewski2011] for data in BIDS [@gorgolewski2016]. All parameters are given, "
        "defaults included, as the consensus on QSM asks [@consensus2024]."
    )


def _mask(sidecar: Mapping[str, Any], used: Mapping[str, Any]) -> str:
    how = str(sidecar.get("BrainMask", used.get("MaskMethod", "")))
    if how == OWN_MASK:
        text = "The brain mask was supplied by the user and not changed."
    else:
        text = _step("mask", how, used, "MaskParameters")
    if sidecar.get("MaskRefinement") == "phase-quality":
        text += " " + _step("mask_refinement", "phase-quality", used, "MaskRefinementParameters")
    if used.get("TwoPass"):
        text += " " + _step("two_pass", "phase-quality", used, "TwoPassParameters")
    return text


def _phase(run: GreRun, sidecar: Mapping[str, Any], used: Mapping[str, Any]) -> str:
    if run.from_field_map:
        return "The total field was taken from field maps that were made before."
    text = ""
    if sidecar.get("BipolarCorrection"):
        text += "The phase by which even echoes differ from odd ones was removed. "
    if not str(sidecar.get("PhaseOffsetRemoval", "none")).startswith("none"):
        text += _step("phase_offset", "mcpc-3d-s", used, "PhaseOffsetParameters") + " "
    name = str(used.get("Unwrapping", ""))
    return text + _step("unwrap", name, used, "UnwrappingParameters")


def _field(one: Mapped, used: Mapping[str, Any]) -> str:
    text = ""
    if len(one.run.echo_times_s) > 1:
        name = str(used.get("FieldFit", ""))
        text = _step("field_fit", name, used, "FieldFitParameters")
    elif not one.run.from_field_map:
        text = (
            "The total field is the unwrapped phase divided by the echo time, so that it holds "
            "the phase offset of the coils."
        )
    if "FieldRegionParameters" in used:
        text += " " + _step("field_region", "phase-quality", used, "FieldRegionParameters")
    text += f" {_step('reliability', 'weights', used, 'ExclusionParameters')} "
    name = str(used.get("BackgroundRemoval", ""))
    text += _step("background", name, used, "BackgroundParameters")
    if (used.get("BackgroundParameters") or {}).get("screening_mm") and name == "lbv-pdf":
        text += " LBV was screened at long distances, which removes most of the phase offset."
    return text


def _inversion(used: Mapping[str, Any]) -> str:
    name = str(used.get("Inversion", ""))
    text = _step("inversion", name, used, "InversionParameters")
    if "RimWeight" in used:
        text += " " + _step("rim_weight", "ramp", used, "RimWeight")
    if name == "cycleqsm" and (used.get("InversionParameters") or {}).get("magnitude"):
        text += (
            " It starts from a few iterations of total variation, whose gradients cost less at "
            "edges of the magnitude [@liu2012]."
        )
    if "Generator" in used:
        text += f" Trained weights: {used['Generator']}."
    return text + " The dipole kernel is that of the continuous Fourier transform [@marques2005]."


def _extras(used: Mapping[str, Any]) -> list[str]:
    """Return what was made of the map besides, if anything."""
    texts = []
    if "SusceptibilityWeighting" in used:
        texts.append(_step("weighting", "swi", used, "SusceptibilityWeighting"))
    if "Regions" in used:
        texts.append(f"Susceptibility was averaged over the regions of {used['Regions']}.")
    return texts


def _reference(group: Sequence[Mapped]) -> str:
    """Return the sentence on the reference, with the values that the consensus asks for."""
    first = group[0].sidecar
    used = first.get("Parameters", {})
    name = str(first.get("SusceptibilityReference", "none"))
    text = _step("reference", name, used, "ReferenceParameters")
    if name in ("brain", "none"):
        return text
    means = [one.sidecar.get("ReferenceRelativeToBrainPpm") for one in group]
    spreads = [one.sidecar.get("ReferenceStandardDeviationPpm") for one in group]
    known = [(m, s) for m, s in zip(means, spreads, strict=True) if m is not None]
    if not known:
        return text
    mean, spread = fmean(m for m, _ in known), fmean(s for _, s in known)
    over = (
        ""
        if len(known) == 1
        else (
            f" (mean over {len(known)} runs; standard deviation of the means "
            f"{pstdev([m for m, _ in known]):.4f} ppm)"
        )
    )
    return (
        f"{text} Relative to the whole brain mask this region has {mean:.4f} ± {spread:.4f} ppm"
        f"{over}."
    )


def _step(stage_name: str, name: str, used: Mapping[str, Any], parameters: str) -> str:
    """Return the sentence of a method; of one that is not known (any more) its name."""
    known = methods(stage_name)
    text = known[name].sentence if name in known else f"{stage(stage_name).title}: {name}"
    return f"{text}{_values(used, parameters)}."


def _values(used: Mapping[str, Any], key: str) -> str:
    """Return the parameters of a step in brackets, nothing if it has none."""
    values = used.get(key) or {}
    return f" ({as_text(values)})" if values else ""
