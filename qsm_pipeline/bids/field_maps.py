"""Field maps in Hz, from which a run can start where there is no phase."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qsm_pipeline.bids import metadata as md
from qsm_pipeline.bids.collect import with_regions
from qsm_pipeline.bids.files import check_content
from qsm_pipeline.bids.ignored import BidsIgnore
from qsm_pipeline.bids.load import HZ_PER_UNIT
from qsm_pipeline.bids.masks import find_mask
from qsm_pipeline.bids.naming import RUN_ENTITIES, build_name, parse_name
from qsm_pipeline.bids.run import FIELD_MAP, Collection, GreRun, Skipped
from qsm_pipeline.bids.sidecar import SidecarReader
from qsm_pipeline.exceptions import BIDSInputError, unforeseen

VIRTUAL_ECHO_S = 0.001
"""A field map is carried as the phase that it makes by then, which hardly ever wraps."""


def field_map_files(bids_dir: Path, labels: Sequence[str]) -> list[Path]:
    """Return the ``fieldmap`` images of participants."""
    return [
        path
        for label in labels
        for pattern in ("fmap", "ses-*/fmap")
        for path in sorted((bids_dir / f"sub-{label}").glob(f"{pattern}/*_fieldmap.nii*"))
    ]


def collect_field_maps(
    bids_dir: Path,
    labels: Sequence[str],
    session_labels: Sequence[str] | None = None,
    mask_pattern: str = "",
    derivatives: Sequence[Path] = (),
    segmentation: str = "",
    reference_pattern: str = "",
) -> Collection:
    """Make a run of each field map with its magnitude.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set.
    labels : sequence of str
        Participants, without ``sub-``.
    session_labels, mask_pattern, derivatives, segmentation, reference_pattern
        As in `qsm_pipeline.bids.collect.collect_runs`.

    Returns
    -------
    Collection
        A field map without unit, field strength or magnitude is skipped with the reason.
    """
    reader = SidecarReader(bids_dir)
    ignore = BidsIgnore(bids_dir)
    wanted = {label.removeprefix("ses-") for label in session_labels or ()}
    runs: list[GreRun] = []
    skipped: list[Skipped] = ignore.skipped()
    left_out: list[Skipped] = []
    for label in labels:
        files = field_map_files(bids_dir, [label])
        if not files:
            reason = "No field map (fmap/*_fieldmap.nii.gz in Hz) to start from was found"
            skipped.append(Skipped(f"sub-{label}", reason, label))
        for path in files:
            what = path.name.split(".")[0]
            try:
                entities = parse_name(path.name).entities
                if ignore.ignores(path.relative_to(bids_dir).as_posix()):
                    left_out.append(Skipped(what, "named by .bidsignore", label))
                    continue
                _check_place(path, entities, label)
                if wanted and entities.get("ses") not in wanted:
                    reason = "not in a session named by --session-label"
                    left_out.append(Skipped(what, reason, label))
                    continue
                mask = find_mask(entities, bids_dir, mask_pattern, derivatives, path)
                run = _run(bids_dir, path, entities, reader, mask)
                runs.append(with_regions(run, derivatives, segmentation, reference_pattern))
            except BIDSInputError as err:
                skipped.append(Skipped(what, str(err), label, err.exit_code))
            except ValueError as err:
                skipped.append(Skipped(what, str(err), label))
            except Exception as err:  # noqa: BLE001, it must cost nobody else their map
                skipped.append(Skipped(what, unforeseen(err), label))
    return Collection(tuple(runs), tuple(skipped), tuple(left_out))


def _check_place(path: Path, entities: Mapping[str, str], label: str) -> None:
    folder = path.parent.parent.name
    session = folder.removeprefix("ses-") if folder.startswith("ses-") else None
    if (entities.get("sub"), entities.get("ses")) != (label, session):
        lies = f"sub-{label}" + (f"/ses-{session}" if session else "")
        raise BIDSInputError(f"{path.name} lies in {lies}; rename it or move it")


def _run(
    bids_dir: Path,
    path: Path,
    entities: dict[str, str],
    reader: SidecarReader,
    mask: str,
) -> GreRun:
    unknown = [key for key in entities if key not in RUN_ENTITIES]
    if unknown:
        raise BIDSInputError(
            f"{path.name}: a field map may have {', '.join(RUN_ENTITIES)}, got {unknown[0]!r}"
        )
    build_name(entities, "")
    sidecar = reader.metadata(path)
    units = sidecar.get("Units")
    if not isinstance(units, str) or units not in HZ_PER_UNIT:
        raise BIDSInputError(
            f"{path.name}: Units is {units!r}, expected {', '.join(HZ_PER_UNIT)} in the sidecar"
        )
    magnitude = _magnitude(path)
    if magnitude is None and not mask:
        raise BIDSInputError(
            f"{path.name}: its magnitude ({path.name.replace('_fieldmap', '_magnitude')}) is not "
            "there, which the mask is made from; add it, or give a mask of your own"
        )
    b0_tesla, note = _field_strength(sidecar, path, magnitude, reader)
    for image in (path, magnitude, mask):
        if image:
            check_content(str(image))
    kept = {key: sidecar[key] for key in md.KEPT_KEYS if key in sidecar}
    return GreRun(
        bids_dir=str(bids_dir),
        suffix=FIELD_MAP,
        entities=entities,
        echo_times_s=(VIRTUAL_ECHO_S,),
        b0_tesla=b0_tesla,
        phase=(str(path),),
        magnitude=() if magnitude is None else (str(magnitude),),
        metadata=(kept,),
        mask=mask,
        inferred={
            "b0_tesla": note,
            "field_map": f"The total field is {path.name}, in {units}; there is no phase, so that "
            "nothing is known of echoes and R2*",
        },
    )


def _magnitude(path: Path) -> Path | None:
    for suffix in ("magnitude", "magnitude1"):
        stem = path.name.partition("_fieldmap.")[0]
        for extension in (".nii.gz", ".nii"):
            candidate = path.with_name(f"{stem}_{suffix}{extension}")
            if os.path.lexists(candidate):  # a link to nothing was not fetched
                return candidate
    return None


def _field_strength(
    sidecar: Mapping[str, Any], path: Path, magnitude: Path | None, reader: SidecarReader
) -> tuple[float, str]:
    if "MagneticFieldStrength" not in sidecar and magnitude is not None:
        with suppress(BIDSInputError):
            return md.field_strength_tesla(reader.metadata(magnitude), magnitude.name)
    return md.field_strength_tesla(sidecar, path.name)
