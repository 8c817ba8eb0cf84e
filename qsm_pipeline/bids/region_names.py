"""Names and sides of labels."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from qsm_pipeline.exceptions import BIDSInputError

_SIDED = {
    4: "Lateral-Ventricle",
    5: "Inf-Lat-Vent",
    2: "Cerebral-White-Matter",
    3: "Cerebral-Cortex",
    7: "Cerebellum-White-Matter",
    8: "Cerebellum-Cortex",
    10: "Thalamus",
    11: "Caudate",
    12: "Putamen",
    13: "Pallidum",
    17: "Hippocampus",
    18: "Amygdala",
    26: "Accumbens-area",
    28: "VentralDC",
    30: "vessel",
    31: "choroid-plexus",
}
_RIGHT = {
    4: 43,
    5: 44,
    2: 41,
    3: 42,
    7: 46,
    8: 47,
    10: 49,
    11: 50,
    12: 51,
    13: 52,
    17: 53,
    18: 54,
    26: 58,
    28: 60,
    30: 62,
    31: 63,
}
FREESURFER = {
    **{index: f"Left-{name}" for index, name in _SIDED.items()},
    **{_RIGHT[index]: f"Right-{name}" for index, name in _SIDED.items()},
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    24: "CSF",
    72: "5th-Ventricle",
    77: "WM-hypointensities",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
"""Labels of FreeSurfer's aseg, which FastSurfer and fMRIPrep share."""

_LINE = re.compile(r"\s*(\d+)[\s|,;]+([^\s|,;]+)")
_SIDE = re.compile(r"(?:^|[-_. ])(left|right|lh|rh|l|r)(?=$|[-_. ])", re.IGNORECASE)


def hemisphere(name: str) -> str:
    """Return ``left`` or ``right`` if the name says so, else ``n/a``.

    Examples
    --------
    >>> [hemisphere(n) for n in ("Left-Caudate", "ctx-rh-insula", "Putamen_L", "Brain-Stem")]
    ['left', 'right', 'left', 'n/a']
    """
    sides = {match.lower()[0] for match in _SIDE.findall(name)}
    return {"l": "left", "r": "right"}[sides.pop()] if len(sides) == 1 else "n/a"


def read_names(path: Path) -> dict[int, str]:
    """Read the names of labels.

    Parameters
    ----------
    path : pathlib.Path
        A BIDS table with the columns ``index`` and ``name``, or a text file whose lines begin with
        a number and a name, as FreeSurfer's colour tables do.

    Raises
    ------
    BIDSInputError
        If the file cannot be read or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BIDSInputError(f"{path} cannot be read: {error}") from None
    names: dict[int, str] = {}
    if path.suffix == ".tsv":
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            index, name = row.get("index") or "", row.get("name") or ""
            if index.strip().isdigit() and name.strip():
                names[int(index)] = name.strip()
    else:
        names = {int(m[1]): m[2] for m in map(_LINE.match, lines) if m}
    names.pop(0, None)
    if not names:
        raise BIDSInputError(
            f"{path} names no label; expected a table with index and name, or lines such as "
            "'11 Left-Caudate'"
        )
    return names


def names_beside(labels: Path) -> Path | None:
    """Return the file that names the labels of an image, if there is one.

    Looked for beside the image, as ``<image>.tsv``, ``.txt`` or ``.nii.txt``, and, as BIDS has it,
    in the folders above for a table whose name is the end of the image's.
    """
    stem = labels.name.removesuffix(".gz")
    for suffix in (".nii", ".mgz", ".mgh"):
        stem = stem.removesuffix(suffix)
    for ending in (".tsv", ".txt", ".nii.txt"):
        if (beside := labels.with_name(stem + ending)).is_file():
            return beside
    for folder in list(labels.parents)[1:4]:
        for path in sorted(folder.glob("*dseg.tsv"), key=lambda p: -len(p.name)):
            if stem.endswith("_" + path.stem) and path.stem != "dseg":
                return path
    return None
