"""Images that might be a gradient-echo scan under another name, and what to rename them to."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qsm_pipeline.bids.selection import SUFFIXES

_SHOWN = 3
_MAX_FILES = 10_000
_PHASE = re.compile(
    r"part-(phase|imag|real)|_ph(ase)?(?=[_.])|_(GRE|swi|SWI|QSM|qsm|GREphase)(?=[_.])"
)
_DCM2NIIX_PHASE = re.compile(r"_ph(ase)?$")
_ECHO = re.compile(r"echo-(?!\d{1,3}(?:_|$))[^_]*")


def near_misses(folder: Path) -> str:
    """Return what there is in a participant's folder and how BIDS would name it.

    Parameters
    ----------
    folder : pathlib.Path
        Of a participant.

    Returns
    -------
    str
        To go on a sentence with; empty if nothing looks like phase or a gradient echo.
    """
    found = [(path, advice) for path in _images(folder) if (advice := _advice(path, folder))]
    if not found:
        return ""
    shown = [f"{path.relative_to(folder.parent)}: {advice}" for path, advice in found[:_SHOWN]]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f". There is {'; '.join(shown)}{more}"


def _images(folder: Path) -> list[Path]:
    images: list[Path] = []
    seen = 0
    for root, folders, files in os.walk(folder):
        folders.sort()
        seen += len(files)
        if seen > _MAX_FILES:
            break
        images += [
            Path(root) / name for name in sorted(files) if name.endswith((".nii", ".nii.gz"))
        ]
    return images


def _advice(path: Path, folder: Path) -> str:
    """Return what to do with a file that looks like part of a gradient-echo scan, else nothing."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    suffix = stem.rsplit("_", 1)[-1]
    if suffix not in SUFFIXES and not (_PHASE.search(path.name) or _ECHO.search(stem)):
        return ""
    if "inv-" in stem or suffix in (
        "MP2RAGE",
        "UNIT1",
        "bold",
        "sbref",
        "dwi",
        "epi",
        "phasediff",
    ):
        return f"{suffix} is no gradient echo that can be mapped"
    sub = folder.name
    relative = path.relative_to(folder).parts
    ses = next((part for part in relative[:-1] if part.startswith("ses-")), "")
    prefix = f"{sub}_{ses}" if ses else sub
    kept = re.findall(r"(?:acq|rec|run)-[0-9A-Za-z]+", stem)
    echo = re.search(r"echo-(\d{1,3})(?=_|$)|_e(\d{1,3})(?=_|$)", stem)
    part = re.search(r"part-(mag|phase|real|imag)", stem)
    label = part[1] if part else "phase" if _DCM2NIIX_PHASE.search(stem) else "mag"
    number = (echo[1] or echo[2]) if echo else ""
    several = bool(number or _ECHO.search(stem))
    entities = [*kept, f"echo-{number or '1'}" if several else "", f"part-{label}"]
    name = "_".join([prefix, *(e for e in entities if e), "MEGRE" if several else "T2starw"])
    place = "/".join(part for part in (sub, ses, "anat") if part)
    rule = ""
    if _ECHO.search(stem):
        rule = ", with echo-1, echo-2, ... in the order of the echo times"
    return f"if it is a gradient echo, rename it to {place}/{name}.nii.gz{rule}"
