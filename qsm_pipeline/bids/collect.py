"""Find the gradient-echo runs of a data set and say why anything else is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qsm_pipeline.bids import metadata as md
from qsm_pipeline.bids.coils import coil_number, merged, without_coil
from qsm_pipeline.bids.echoes import (
    NoPhaseError,
    by_part_and_echo,
    choose_parts,
    echo_times,
    order_of_echoes,
)
from qsm_pipeline.bids.files import check_content
from qsm_pipeline.bids.ignored import BidsIgnore
from qsm_pipeline.bids.layout import Index, participants, sessions
from qsm_pipeline.bids.masks import find_by_pattern, find_mask
from qsm_pipeline.bids.naming import (
    ENTITY_ORDER,
    RUN_ENTITIES,
    build_name,
    output_path,
    parse_name,
)
from qsm_pipeline.bids.near_misses import near_misses
from qsm_pipeline.bids.run import Collection, GreRun, Skipped
from qsm_pipeline.bids.segmentations import find_segmentation
from qsm_pipeline.bids.selection import (
    Filters,
    checked_filters,
    known_labels,
    why_filtered,
)
from qsm_pipeline.bids.sidecar import SidecarReader, is_finite
from qsm_pipeline.exceptions import BIDSInputError, unforeseen
from qsm_pipeline.exit_codes import ExitCode

_Key = tuple[str, tuple[tuple[str, str], ...]]
_Groups = dict[_Key, list[tuple[dict[str, str], Path]]]


def collect_runs(
    index: Index,
    participant_labels: Sequence[str] | None = None,
    session_labels: Sequence[str] | None = None,
    bids_filters: Mapping[str, Any] | None = None,
    mask_pattern: str = "",
    derivatives: Sequence[Path] = (),
    segmentation: str = "",
    reference_pattern: str = "",
) -> Collection:
    """Group the gradient-echo images of a data set into runs.

    Parameters
    ----------
    index : Index
        From `qsm_pipeline.bids.layout.index`.
    participant_labels, session_labels : sequence of str, optional
        With or without ``sub-`` and ``ses-``; all if not given.
    bids_filters : mapping, optional
        As in a BIDS filter file: ``{"gre": {"acquisition": "qsm", "run": [1, 2]}}``. The names
        are ``gre`` (both), ``megre`` and ``t2starw``; null means that the entity is absent.
    mask_pattern : str
        See `qsm_pipeline.bids.masks.find_mask`.
    derivatives : sequence of pathlib.Path
        Folders to look for masks and segmentations in; where they hold equally good ones, the
        folder named first wins.
    segmentation : str
        Name of the segmentation to take, such as ``aseg``; the one that fits best by default.
    reference_pattern : str
        Like ``mask_pattern``, for masks of the region that has the susceptibility zero.

    Returns
    -------
    Collection
        Files are only ever grouped if all their entities but ``echo`` and ``part`` agree.

    Raises
    ------
    BIDSInputError
        If a label does not exist.
    ConfigError
        If a filter cannot be understood.
    """
    bids_dir = index.root
    everybody = participants(bids_dir)
    subjects = known_labels(participant_labels, "sub", everybody, bids_dir)
    left_out = [
        Skipped(f"sub-{subject}", "not named by --participant-label", subject)
        for subject in everybody
        if subject not in subjects
    ]
    filters = checked_filters(bids_filters or {})
    groups, skipped = _groups(index, subjects, left_out)
    wanted: tuple[str, ...] = ()
    before_choice = len(left_out)
    if session_labels:
        wanted = known_labels(session_labels, "ses", sessions(bids_dir), bids_dir)
        for key in [k for k in groups if dict(k[1]).get("ses") not in wanted]:
            del groups[key]
            left_out.append(_unwanted(key, "not in a session named by --session-label"))
    groups = _filtered(groups, filters, left_out)
    chosen_away = {item.subject for item in left_out[before_choice:]}
    reader = SidecarReader(bids_dir)
    runs: list[GreRun] = []
    magnitude_only: list[Skipped] = []
    for (suffix, pairs), files in sorted(_with_coils_together(groups, left_out).items()):
        entities = dict(pairs)
        label = _label(suffix, pairs)
        try:
            _check_entities(entities, label)
            mask = find_mask(entities, bids_dir, mask_pattern, derivatives, files[0][1])
            coils = _by_coil(files)
            if coils:
                run = merged(
                    {
                        number: _build_run(bids_dir, suffix, entities, of_coil, reader, mask)
                        for number, of_coil in coils.items()
                    }
                )
            else:
                run = _build_run(bids_dir, suffix, entities, files, reader, mask)
            runs.append(with_regions(run, derivatives, segmentation, reference_pattern))
        except NoPhaseError as err:
            magnitude_only.append(Skipped(label, str(err), entities["sub"], err.exit_code))
        except BIDSInputError as err:
            skipped.append(Skipped(label, str(err), entities["sub"], err.exit_code))
        except Exception as err:  # noqa: BLE001, it must cost nobody else their map
            skipped.append(Skipped(label, unforeseen(err), entities["sub"]))
    mapped = {(run.subject, run.session) for run in runs}
    for each in magnitude_only:
        beside = (each.subject, _session(each.what)) in mapped
        (left_out if beside else skipped).append(each)
    runs = _without_name_clashes(runs, skipped)
    seen = {run.subject for run in runs} | {item.subject for item in skipped}
    for subject in sorted(set(subjects) - seen):
        has_one = any((bids_dir / f"sub-{subject}" / f"ses-{ses}").is_dir() for ses in wanted)
        if wanted and not has_one:  # to lack a session that others have is no fault
            left_out.append(
                Skipped(f"sub-{subject}", "has no session named by --session-label", subject)
            )
            continue
        skipped.append(
            Skipped(
                f"sub-{subject}",
                "No gradient-echo image (MEGRE or T2starw) was found in its anat folders"
                + (" with the filters given" if filters or session_labels else "")
                + _stale(index)
                + near_misses(bids_dir / f"sub-{subject}"),
                subject,
                ExitCode.NOTHING_CHOSEN if subject in chosen_away else ExitCode.NO_INPUT,
            )
        )
    ordered = tuple(sorted(runs, key=lambda run: run.prefix))
    return Collection(ordered, tuple(skipped), tuple(left_out))


def _with_coils_together(groups: _Groups, left_out: list[Skipped]) -> _Groups:
    """Return the groups with single coils under the name of their run.

    Where the images of a run were combined before, the single ones are left out.
    """
    together: _Groups = {}
    for (suffix, pairs), members in groups.items():
        of_run = dict(pairs)
        number = coil_number(of_run)
        if number is not None:
            of_run = without_coil(of_run)
            if (suffix, tuple(of_run.items())) in groups:
                reason = "a single coil, of which the combined images are there"
                left_out.append(_unwanted((suffix, pairs), reason))
                continue
        together.setdefault((suffix, tuple(of_run.items())), []).extend(members)
    return together


def _by_coil(
    members: list[tuple[dict[str, str], Path]],
) -> dict[int, list[tuple[dict[str, str], Path]]]:
    """Return the files of each coil; nothing where the images are not of single coils."""
    coils: dict[int, list[tuple[dict[str, str], Path]]] = {}
    for entities, path in members:
        number = coil_number(entities)
        if number is not None:
            coils.setdefault(number, []).append((entities, path))
    return coils


def with_regions(
    run: GreRun, derivatives: Sequence[Path], segmentation: str, reference_pattern: str
) -> GreRun:
    """Return a run with the reference region and the segmentation that the user has for it.

    Parameters are those of :func:`collect_runs`.
    """
    if reference_pattern:
        bids_dir = Path(run.bids_dir)
        region = find_by_pattern(run.entities, bids_dir, reference_pattern, "reference pattern")
        check_content(region)
        run = replace(run, reference_region=region)
    if not derivatives:
        return run
    found = find_segmentation(run.entities, Path(run.files[0]), derivatives, segmentation)
    return replace(run, segmentation=asdict(found)) if found else run


def _stale(index: Index) -> str:
    """Return what to think of where the index was made before."""
    if index.database is None:
        return ""
    return f", by the index {index.database}; delete it if it is older than the data"


def _groups(
    index: Index, subjects: Sequence[str], left_out: list[Skipped]
) -> tuple[_Groups, list[Skipped]]:
    groups: _Groups = {}
    ignore = BidsIgnore(index.root)
    skipped = ignore.skipped()
    for path in index.images:
        relative = path.relative_to(index.root)
        in_folder = relative.parts[0].removeprefix("sub-")
        if in_folder not in subjects:
            continue
        if ignore.ignores(relative.as_posix()):
            left_out.append(Skipped(str(relative), "named by .bidsignore", in_folder))
            continue
        try:
            name = parse_name(path.name)
        except ValueError as err:
            skipped.append(Skipped(str(relative), str(err), in_folder))
            continue
        if name.entities.get("sub") != in_folder:
            skipped.append(
                Skipped(
                    str(relative),
                    f"The name says sub-{name.entities.get('sub')}, the folder sub-{in_folder}",
                    in_folder,
                )
            )
            continue
        folders = relative.parts[1:-1]
        session = next((f[4:] for f in folders[:1] if f.startswith("ses-")), None)
        if folders != ((f"ses-{session}", "anat") if session is not None else ("anat",)):
            left_out.append(
                Skipped(
                    str(relative), "not in sub-X[/ses-Y]/anat, so it is no raw image", in_folder
                )
            )
            continue
        if name.entities.get("ses") != session:
            named, lies = (
                f"ses-{ses}" if ses else "no session"
                for ses in (name.entities.get("ses"), session)
            )
            reason = f"The name says {named}, the folder {lies}; rename one of them"
            skipped.append(Skipped(str(relative), reason, in_folder))
            continue
        own = {k: v for k, v in name.entities.items() if k not in ("echo", "part")}
        key = (name.suffix, tuple(sorted(own.items(), key=_position)))
        groups.setdefault(key, []).append((name.entities, path))
    return groups, skipped


def _filtered(groups: _Groups, filters: Filters, left_out: list[Skipped]) -> _Groups:
    """Return what passes the filters; a run, or some of its files, may not."""
    kept: _Groups = {}
    for key, members in groups.items():
        reasons: dict[str, int] = {}
        for entities, path in members:
            reason = why_filtered(key[0], entities, filters)
            if reason:
                reasons[reason] = reasons.get(reason, 0) + 1
            else:
                kept.setdefault(key, []).append((entities, path))
        left_out += [_unwanted(key, f"{n} file(s): {reason}") for reason, n in reasons.items()]
    return kept


def _session(label: str) -> str | None:
    return parse_name(label + ".nii").entities.get("ses")


def _unwanted(key: _Key, reason: str) -> Skipped:
    return Skipped(_label(*key), reason, dict(key[1])["sub"])


def _label(suffix: str, pairs: Sequence[tuple[str, str]]) -> str:
    return "_".join([*(f"{key}-{label}" for key, label in pairs), suffix])


def _position(item: tuple[str, str]) -> tuple[int, str]:
    key = item[0]
    return (ENTITY_ORDER.index(key) if key in ENTITY_ORDER else len(ENTITY_ORDER), key)


def _check_entities(entities: Mapping[str, str], label: str) -> None:
    for key in entities:
        if key not in RUN_ENTITIES:
            raise BIDSInputError(
                f"{label}: BIDS has no entity {key!r} for gradient-echo images; tell runs apart "
                "by acq-, rec- or run- (coil-01 or rec-coil01 for single coils)"
            )
    try:
        build_name(entities, "")
    except ValueError as err:
        raise BIDSInputError(f"{label}: {err}") from err


def _build_run(
    bids_dir: Path,
    suffix: str,
    entities: dict[str, str],
    members: Sequence[tuple[dict[str, str], Path]],
    reader: SidecarReader,
    mask: str,
) -> GreRun:
    notes: dict[str, str] = {}
    files = by_part_and_echo(members, notes)
    leading = choose_parts(files, bool(mask), notes)
    echoes = order_of_echoes(files, leading, reader, notes)
    sidecars = [reader.metadata(files[leading][e]) for e in echoes]
    for echo, sidecar in zip(echoes, sidecars, strict=True):
        md.refuse_field_map(sidecar, files[leading][echo].name)
        if leading == "phase":
            md.phase_units(sidecar, files[leading][echo].name)
    names = [files[leading][e].name for e in echoes]
    times = echo_times(sidecars, names, notes)
    b0_tesla = _field_strength(sidecars, names, notes)
    filtered = md.filtered_phase(sidecars[0])
    if filtered:
        notes["filtered_phase"] = (
            f"{names[0]}: {filtered} says that the phase was filtered; susceptibility from "
            "high-pass filtered phase is too small. Use the phase before it was filtered"
        )
    images: dict[str, Any] = {part: tuple(str(files[part][e]) for e in echoes) for part in files}
    for path in (*(path for paths in images.values() for path in paths), mask):
        if path:
            check_content(path)
    kept = [{k: s[k] for k in md.KEPT_KEYS if k in s} for s in sidecars]
    dropped = sorted({k for s in kept for k in s if not is_finite(s[k])})
    if dropped:
        notes["not_finite"] = f"{', '.join(dropped)} in a sidecar: no finite number, not used"
    return GreRun(
        bids_dir=str(bids_dir),
        suffix=suffix,
        entities=entities,
        echo_times_s=times,
        b0_tesla=b0_tesla,
        **images,
        metadata=tuple({k: s[k] for k in s if k not in dropped} for s in kept),
        mask=mask,
        readout=md.readout(sidecars),
        inferred=notes,
    )


def _field_strength(
    sidecars: Sequence[Mapping[str, Any]], names: Sequence[str], notes: dict[str, str]
) -> float:
    found = [md.field_strength_tesla(s, n) for s, n in zip(sidecars, names, strict=True)]
    b0_tesla, notes["b0_tesla"] = found[0]
    for (other, _), name in zip(found, names, strict=True):
        if abs(other - b0_tesla) > 1e-2 * b0_tesla:
            raise BIDSInputError(
                f"{name}: the field strength is {other:g} T, but {b0_tesla:g} T in {names[0]}; "
                "the echoes of one run must agree"
            )
    return b0_tesla


def _without_name_clashes(runs: Sequence[GreRun], skipped: list[Skipped]) -> list[GreRun]:
    """Keep the first of any runs whose outputs would overwrite each other."""
    kept: dict[str, GreRun] = {}
    for run in runs:  # MEGRE sorts before T2starw
        paths = [str(output_path(run.entities, q)) for q in ("chi", "total_field")]
        other = next((kept[path] for path in paths if path in kept), None)
        if other is None:
            kept |= dict.fromkeys(paths, run)
        else:
            skipped.append(
                Skipped(
                    f"{run.prefix}_{run.suffix}",
                    f"Its outputs would have the same names as those of {other.prefix}_"
                    f"{other.suffix}; choose one with a BIDS filter and another output folder",
                    run.subject,
                )
            )
    return list({id(run): run for run in kept.values()}.values())
