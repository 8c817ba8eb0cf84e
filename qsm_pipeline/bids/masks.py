"""The user's own masks: by a path pattern, or from derivatives folders."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qsm_pipeline.bids.images import has_voxels_of
from qsm_pipeline.bids.naming import build_name, folder, parse_name
from qsm_pipeline.exceptions import BIDSInputError

_NOT_MATCHED = {"desc", "label", "space", "res", "echo", "part"}


def find_mask(
    entities: Mapping[str, str],
    bids_dir: Path,
    pattern: str = "",
    derivatives: Sequence[Path] = (),
    image: Path | None = None,
) -> str:
    """Find the mask that the user prepared for one run.

    Parameters
    ----------
    entities : mapping of str to str
        Entities of the run.
    bids_dir : pathlib.Path
        Relative patterns start here.
    pattern : str
        Path with ``*`` wildcards and placeholders: ``{sub}``, ``{ses}`` and the other entity
        keys stand for labels, ``{prefix}`` for the whole ``sub-01_ses-a_run-1``.
    derivatives : sequence of pathlib.Path
        Looked through for ``*_mask.nii[.gz]`` if there is no pattern: every entity of the mask
        must agree with the run, the most specific mask wins, ``desc-brain`` first, then that of
        the folder that is named first.
    image : pathlib.Path, optional
        An image of the run. Without ``space`` in its name a mask may be of any image of the
        participant, so that in derivatives one of other voxels is none of the run.

    Returns
    -------
    str
        Absolute path, or empty if there is no pattern and the derivatives hold no mask.

    Raises
    ------
    BIDSInputError
        If a pattern finds no file, or the choice is not unique.
    """
    if pattern:
        return find_by_pattern(entities, bids_dir, pattern)
    ranked: dict[tuple[int, bool, int], list[str]] = {}
    for number, root in enumerate(derivatives):
        for path in sorted((root / folder(entities)).rglob("*_mask.nii*")):
            rank = _rank(path, entities)
            if rank is not None and (image is None or has_voxels_of(path, image)):
                ranked.setdefault((*rank, -number), []).append(str(path.absolute()))
    if not ranked:
        return ""
    best = ranked[max(ranked)]
    if len(best) > 1:
        raise BIDSInputError(
            f"{build_name(entities, '')}: {len(best)} masks fit equally well: {', '.join(best)}; "
            "choose one with --mask-pattern"
        )
    return best[0]


def find_by_pattern(
    entities: Mapping[str, str], bids_dir: Path, pattern: str, what: str = "mask pattern"
) -> str:
    """Return the one file that a pattern finds for a run; see `find_mask`.

    Raises
    ------
    BIDSInputError
        If it finds none or several, or names an entity that the run lacks.
    """
    prefix = build_name(entities, "")
    values = {**entities, "prefix": prefix}

    def fill(match: re.Match[str]) -> str:
        key = match.group(1)
        if key not in values:
            raise BIDSInputError(
                f"{prefix}: the {what} {pattern!r} needs the entity {key!r}, which this run "
                f"lacks; it has {', '.join(values)}"
            )
        return glob.escape(values[key])

    wanted = re.sub(r"\{(\w+)\}", fill, pattern)
    found = sorted(glob.glob(str(Path(glob.escape(str(bids_dir))) / wanted), recursive=True))
    if not found:
        raise BIDSInputError(f"{prefix}: the {what} finds no file: {wanted}")
    if len(found) > 1:
        raise BIDSInputError(
            f"{prefix}: the {what} finds {len(found)} files, expected one: "
            f"{', '.join(found[:4])}; make it more specific"
        )
    return found[0]


def _rank(path: Path, entities: Mapping[str, str]) -> tuple[int, bool] | None:
    """Return how well a mask fits a run, or None if it belongs to something else."""
    try:
        name = parse_name(path.name)
    except ValueError:
        return None
    if name.extension not in (".nii", ".nii.gz") or name.suffix != "mask":
        return None
    if name.entities.get("space", "orig") != "orig" or "res" in name.entities:
        return None
    what = name.entities.get("desc", name.entities.get("label", "brain")).lower()
    matched = {k: v for k, v in name.entities.items() if k not in _NOT_MATCHED}
    if what not in ("brain", "qsm") or not matched.items() <= entities.items():
        return None
    return len(matched), what == "brain"
