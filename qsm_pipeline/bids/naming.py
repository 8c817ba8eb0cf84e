"""BIDS file names, taken apart and built by pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

ENTITY_ORDER = (
    "sub",
    "ses",
    "sample",
    "task",
    "tracksys",
    "acq",
    "nuc",
    "voi",
    "ce",
    "trc",
    "stain",
    "rec",
    "dir",
    "run",
    "mod",
    "echo",
    "flip",
    "inv",
    "mt",
    "part",
    "proc",
    "hemi",
    "space",
    "split",
    "recording",
    "chunk",
    "atlas",
    "seg",
    "scale",
    "res",
    "den",
    "label",
    "desc",
)
"""Entities in the order that BIDS 1.11 asks for in a file name."""

LONG_NAMES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "modality": "mod",
    "inversion": "inv",
    "mtransfer": "mt",
    "resolution": "res",
    "density": "den",
    "segmentation": "seg",
    "description": "desc",
    "processing": "proc",
    "hemisphere": "hemi",
}
"""The names that pybids and BIDS filter files use, where they differ from the key."""

RUN_ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "run", "chunk")
"""What tells one gradient-echo run from another and may stand in the name of its maps."""

_NO_ACQ = "qsmGre"
_DERIVED_ENTITIES = ("space", "seg", "res", "label", "desc")
_LABEL = re.compile(r"[0-9a-zA-Z]+(\+[0-9a-zA-Z]+)*")
_EXTENSION = re.compile(r"(\.nii\.gz|\.nii|\.json|\.tsv|\.[0-9a-zA-Z]+)$")


@dataclass(frozen=True)
class ParsedName:
    """A BIDS file name in its parts.

    Parameters
    ----------
    entities : dict of str to str
        Entity keys (``sub``, ``acq``) to labels, in the order of the name.
    suffix : str
        Last part of the name, such as ``MEGRE``; empty if there is none.
    extension : str
        With its dot, such as ``.nii.gz``; empty if there is none.
    """

    entities: dict[str, str]
    suffix: str
    extension: str


def parse_name(name: str) -> ParsedName:
    """Take a file name apart; any folders before it are ignored.

    Parameters
    ----------
    name : str
        File name or path.

    Returns
    -------
    ParsedName

    Raises
    ------
    ValueError
        If a part before the suffix is not ``key-label`` or a key comes twice.

    Examples
    --------
    >>> parse_name("sub-01/anat/sub-01_echo-2_part-phase_MEGRE.nii.gz").entities
    {'sub': '01', 'echo': '2', 'part': 'phase'}
    """
    base = PurePosixPath(name).name
    match = _EXTENSION.search(base)
    extension = match.group(1) if match else ""
    *pairs, suffix = base.removesuffix(extension).split("_")
    if "-" in suffix:
        pairs, suffix = [*pairs, suffix], ""
    entities: dict[str, str] = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not (key and dash and label):
            raise ValueError(f"{base}: {pair!r} is not a BIDS entity of the form key-label")
        if key in entities:
            raise ValueError(f"{base}: the entity {key!r} comes twice")
        entities[key] = label
    return ParsedName(entities, suffix, extension)


def build_name(entities: Mapping[str, str], suffix: str, extension: str = ".nii.gz") -> str:
    """Build a file name with its entities in BIDS order.

    Parameters
    ----------
    entities : mapping of str to str
        Entity keys to labels.
    suffix, extension : str
        The end of the name; an empty suffix gives a bare prefix.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a key is unknown or a label is not alphanumeric.

    Examples
    --------
    >>> build_name({"desc": "brain", "sub": "01", "run": "1"}, "mask")
    'sub-01_run-1_desc-brain_mask.nii.gz'
    """
    unknown = sorted(set(entities) - set(ENTITY_ORDER))
    if unknown:
        raise ValueError(f"Unknown BIDS entity {unknown[0]!r}; known: {', '.join(ENTITY_ORDER)}")
    for key, label in entities.items():
        if not is_label(label):
            raise ValueError(f"The label of {key!r} must be letters and digits, got {label!r}")
    parts = [f"{key}-{entities[key]}" for key in ENTITY_ORDER if key in entities]
    return "_".join([*parts, suffix] if suffix else parts) + (extension if suffix else "")


def is_label(text: str) -> bool:
    """Return whether a text may be the label of an entity: letters and digits."""
    return _LABEL.fullmatch(text) is not None


def folder(entities: Mapping[str, str], datatype: str = "") -> PurePosixPath:
    """Return ``sub-<label>[/ses-<label>][/<datatype>]`` relative to the data set."""
    path = PurePosixPath(f"sub-{entities['sub']}")
    if "ses" in entities:
        path /= f"ses-{entities['ses']}"
    return path / datatype if datatype else path


@dataclass(frozen=True)
class Output:
    """How one kind of output is named and described.

    Parameters
    ----------
    suffix, desc, datatype : str
        Parts of its name; an empty ``desc`` is left out.
    units : str
        BIDS units, empty for masks.
    description : str
        One sentence for the sidecar.
    mask_type : str
        BIDS ``Type`` of a mask, empty for maps.
    skull_stripped : bool
        Whether everything outside the mask is zero.
    window : tuple of float, optional
        Values that a viewer shows as black and white when it opens the file.
    sign : str
        What a positive value means, empty where there are none but positive ones.
    extension : str
        Of its file.
    """

    suffix: str
    desc: str = ""
    datatype: str = "anat"
    units: str = ""
    description: str = ""
    mask_type: str = ""
    skull_stripped: bool = True
    window: tuple[float, float] | None = None
    sign: str = ""
    extension: str = ".nii.gz"

    @property
    def pattern(self) -> str:
        """Return how its files are called below the folder of a participant or session."""
        desc = f"_desc-{self.desc}" if self.desc else ""
        return f"{self.datatype}/*{desc}_{self.suffix}{self.extension}"


_FIELD_SIGN = "positive is a stronger field, a higher frequency"

OUTPUTS = {
    "chi": Output(
        "Chimap",
        units="ppm",
        description="Magnetic susceptibility.",
        window=(-0.1, 0.1),
        sign="positive is paramagnetic (iron), negative is diamagnetic (myelin, calcium)",
    ),
    "uncertainty": Output(
        "Chimap",
        "uncertainty",
        units="ppm",
        description="Expected error of the susceptibility, one standard deviation.",
        window=(0.0, 0.05),
    ),
    "brain_mask": Output(
        "mask",
        "brain",
        mask_type="Brain",
        description="Brain before any erosion.",
        window=(0.0, 1.0),
    ),
    "qsm_mask": Output(
        "mask",
        "qsm",
        mask_type="ROI",
        description="Where the susceptibility map is valid.",
        window=(0.0, 1.0),
    ),
    "total_field": Output(
        "fieldmap",
        "total",
        "fmap",
        "Hz",
        "Field offset from all sources.",
        window=(-100.0, 100.0),
        sign=_FIELD_SIGN,
    ),
    "local_field": Output(
        "fieldmap",
        "local",
        "fmap",
        "Hz",
        "Field offset from sources inside the mask alone.",
        window=(-6.0, 6.0),
        sign=_FIELD_SIGN,
    ),
    "weights": Output(
        "fieldmap",
        "weights",
        "fmap",
        "arbitrary",
        "Reliability of the field offset from 0 to 1, in proportion to its inverse standard "
        "deviation.",
        window=(0.0, 1.0),
    ),
    "fieldmap_magnitude": Output(
        "magnitude",
        "",
        "fmap",
        "arbitrary",
        "Magnitude combined over the echoes.",
        skull_stripped=False,
    ),
    "r2star": Output(
        "R2starmap", units="1/s", description="Transverse relaxation rate R2*.", window=(0.0, 60.0)
    ),
    "r2star_error": Output(
        "R2starmap",
        "uncertainty",
        units="1/s",
        description="Standard deviation of the error of R2* from noise.",
        window=(0.0, 10.0),
    ),
    "t2star": Output(
        "T2starmap", units="s", description="Transverse relaxation time T2*.", window=(0.0, 0.1)
    ),
    "s0": Output("S0map", units="arbitrary", description="Magnitude at echo time zero."),
    "swi": Output(
        "T2starw",
        "swi",
        units="arbitrary",
        description="Susceptibility-weighted image: magnitude darkened where the local field is "
        "positive.",
    ),
    "minip": Output(
        "T2starw",
        "minip",
        units="arbitrary",
        description="Minimum of the susceptibility-weighted image over a slab along B0.",
    ),
    "tswi": Output(
        "T2starw",
        "tswi",
        units="arbitrary",
        description="True susceptibility-weighted image: magnitude darkened where the "
        "susceptibility is positive.",
    ),
}
"""Every image that a run may write, by the name that the workflows use."""

NOTES = {
    "qc": Output(
        "Chimap",
        "qc",
        description="Verdict on the map, and quality metrics with their definitions and limits.",
        extension=".json",
    ),
    "labels": Output("dseg", description="Regions in the space of the run."),
    "regions": Output(
        "dseg",
        "chi",
        units="ppm",
        description="Susceptibility of each region, where there was a segmentation.",
        extension=".tsv",
    ),
}
"""What is written about a run besides its images, by its own writers."""


def output_path(
    entities: Mapping[str, str],
    quantity: str,
    *,
    extra: Mapping[str, str] | None = None,
    extension: str = ".nii.gz",
) -> PurePosixPath:
    """Return where an output of a run goes, relative to the derivatives folder.

    Parameters
    ----------
    entities : mapping of str to str
        Entities of the run; keys outside `RUN_ENTITIES` raise.
    quantity : str
        A key of `OUTPUTS` or `NOTES`.
    extra : mapping of str to str, optional
        Further ``space``, ``seg``, ``res``, ``label`` or ``desc``, which replaces the usual one.
    extension : str
        With its dot.

    Returns
    -------
    pathlib.PurePosixPath

    Raises
    ------
    ValueError
        If the quantity or an entity is unknown, or ``sub`` is missing.

    Notes
    -----
    BIDS allows no ``task``, ``ce`` or ``rec`` in ``fmap/``, and a ``magnitude`` there counts for
    every field map whose entities include its own. So in ``fmap/`` all that tells runs apart is
    joined to the ``acq`` label: ``acq-q_rec-b_run-1`` becomes ``acq-qRecBRun1``, and a run
    without any of it ``acq-qsmGre``.

    Examples
    --------
    >>> str(output_path({"sub": "01", "ses": "a", "run": "1"}, "chi"))
    'sub-01/ses-a/anat/sub-01_ses-a_run-1_Chimap.nii.gz'
    """
    known = OUTPUTS | NOTES
    if quantity not in known:
        raise ValueError(f"Unknown output {quantity!r}; known: {', '.join(known)}")
    if "sub" not in entities:
        raise ValueError("The entities of an output must hold 'sub'")
    spec = known[quantity]
    named = _named_entities(entities, RUN_ENTITIES)
    if spec.datatype == "fmap":
        named = _fieldmap_entities(named)
    if spec.desc:
        named["desc"] = spec.desc
    named |= _named_entities(extra or {}, _DERIVED_ENTITIES)
    return folder(entities, spec.datatype) / build_name(named, spec.suffix, extension)


def figure_path(entities: Mapping[str, str], name: str, suffix: str) -> PurePosixPath:
    """Return where a figure of a run goes, relative to the derivatives folder.

    Parameters
    ----------
    entities : mapping of str to str
        Entities of the run.
    name : str
        Of the figure, letters and digits.
    suffix : str
        Of the raw images.

    Examples
    --------
    >>> str(figure_path({"sub": "01", "ses": "a"}, "chi", "MEGRE"))
    'sub-01/figures/sub-01_ses-a_desc-chi_MEGRE.webp'
    """
    named = _named_entities(entities, RUN_ENTITIES) | {"desc": name}
    return PurePosixPath(f"sub-{entities['sub']}") / "figures" / build_name(named, suffix, ".webp")


def _named_entities(entities: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    refused = [key for key in entities if key not in allowed]
    if refused:
        raise ValueError(
            f"The entity {refused[0]!r} cannot stand in an output name; allowed: "
            f"{', '.join(allowed)}"
        )
    return dict(entities)


def _fieldmap_entities(entities: Mapping[str, str]) -> dict[str, str]:
    acq = entities.get("acq", _NO_ACQ)
    for key in ("task", "ce", "rec", "run", "chunk"):
        if key in entities:
            label = entities[key]
            acq += f"{key.capitalize()}{label[0].upper()}{label[1:]}"
    return {k: entities[k] for k in ("sub", "ses") if k in entities} | {"acq": acq}
