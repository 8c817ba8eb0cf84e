"""What must hold before anything is run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.ownership import OWN_KEY, PRODUCT
from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.bids.sidecar import read_json_object
from qsm_pipeline.exceptions import (
    BIDSInputError,
    ConfigError,
    InvalidBIDSError,
    OutputError,
    QSMPipelineError,
    did_you_mean,
    printable,
)
from qsm_pipeline.external.simpleitk.itk import require_simpleitk
from qsm_pipeline.numerics.quality.limits import check_limits
from qsm_pipeline.steps.methods import STAGES, method
from qsm_pipeline.steps.methods import methods as all_methods
from qsm_pipeline.steps.settings import METHOD_DEFAULTS


def check_folders(bids_dir: Path, **folders: Path) -> None:
    """Refuse folders that overlap, have no readable name, are no data set or cannot be written to.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The raw data set.
    **folders : pathlib.Path
        What is written to: ``output``, ``work``, ``script``.

    Raises
    ------
    InvalidBIDSError
        If ``bids_dir`` is no data set.
    ConfigError
        If something would be written into it, it is a part of one, or a path is no text.
    OutputError
        If a folder cannot be written to.
    """
    for folder in (bids_dir, *folders.values()):
        try:
            str(folder).encode()
        except UnicodeEncodeError:  # neither the index nor the pages could name it
            raise ConfigError(
                f"{printable(str(folder))} has bytes in its path that are no UTF-8; rename it"
            ) from None
    if not (bids_dir / "dataset_description.json").is_file():
        raise _no_data_set(bids_dir)
    if _is_own(bids_dir):
        raise ConfigError(
            f"{bids_dir} holds the maps of {PRODUCT}, expected the raw data set that they were "
            "made from; BIDS_DIR comes before OUT_DIR"
        )
    for name, folder in folders.items():
        inside = folder == bids_dir or bids_dir in folder.parents
        if inside and bids_dir / "derivatives" not in (folder, *folder.parents):
            raise ConfigError(
                f"The {name} folder {folder} lies in the raw data set, which is never written to; "
                "choose one elsewhere or under its derivatives folder"
            )
        parent = folder
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise OutputError(f"{parent} is a file; choose another {name} folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(
                f"{parent} cannot be written to (no permission, or a read-only file system); "
                f"choose another {name} folder"
            )


def _is_own(folder: Path) -> bool:
    """Return whether a data set was written by this product."""
    with suppress(BIDSInputError):  # what is wrong with it is said later
        return OWN_KEY in read_json_object(folder / "dataset_description.json")
    return False


def _no_data_set(folder: Path) -> QSMPipelineError:
    """Say what a folder is that is no BIDS data set, and what to give instead."""
    lacks = f"{folder} has no dataset_description.json, so it is no BIDS data set"
    for parent in folder.parents:
        if (parent / "dataset_description.json").is_file():
            label = next((p for p in folder.relative_to(parent).parts if p.startswith("sub-")), "")
            only = f" with --participant-label {label.removeprefix('sub-')}" if label else ""
            return ConfigError(f"{folder} is a part of the data set {parent}; give {parent}{only}")
    names = [each.name for each in islice(folder.iterdir(), 200)]
    if any(name.startswith("sub-") for name in names):
        return InvalidBIDSError(
            f"{lacks}, but it holds participants; add the file, for example "
            '{"Name": "my data", "BIDSVersion": "1.10.0"}'
        )
    if any(map(_is_dicom, islice(folder.rglob("*"), 50))):
        return InvalidBIDSError(
            f"{folder} holds DICOM files, expected a BIDS data set; convert them with dcm2niix "
            "and heudiconv, dcm2bids or bidscoin"
        )
    if any(name.endswith((".nii", ".nii.gz")) for name in names):
        return InvalidBIDSError(
            f"{lacks}, but it holds images; name them as BIDS does, such as "
            "sub-01/anat/sub-01_echo-1_part-phase_MEGRE.nii.gz"
        )
    return InvalidBIDSError(f"{lacks}; give its root")


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def check_reference(reference: str, pattern: str) -> None:
    """Refuse a region without masks of it, and masks that nothing would use.

    Raises
    ------
    ConfigError
        Naming the option that is missing.
    """
    if reference == "region" and not pattern:
        raise ConfigError("--reference region needs masks of the region: --reference-pattern")
    if pattern and reference != "region":
        raise ConfigError(
            f"--reference-pattern is for --reference region, but the reference is {reference}; "
            "give both, or none"
        )


def check_start(
    start_from: str, methods: Mapping[str, Any], filter_file: Path | None = None
) -> None:
    """Refuse what field maps cannot give.

    Raises
    ------
    ConfigError
        If susceptibility-weighted images are asked for, which need phase, or filters are given,
        which are for gradient-echo images.
    """
    if start_from != "fieldmap":
        return
    if methods["derive"]:
        raise ConfigError("--derive needs phase images, but --start-from fieldmap has none")
    if filter_file is not None:
        raise ConfigError(
            "--bids-filter-file is for gradient-echo images, and --start-from fieldmap takes "
            "none; choose with --participant-label and --session-label"
        )


def check_methods(methods: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse methods that do not exist, and parameters that they do not have or cannot use.

    Parameters
    ----------
    methods : mapping
        Every key of ``METHOD_DEFAULTS``.

    Returns
    -------
    dict
        The same, with the names of methods as the registry spells them.

    Raises
    ------
    ConfigError
        With the name of the table and the method.
    """
    for key in methods:
        if key not in METHOD_DEFAULTS:
            near = did_you_mean(key, METHOD_DEFAULTS)
            raise ConfigError(f"{key!r} is no setting; known: {', '.join(METHOD_DEFAULTS)}{near}")
    checked = dict(methods)
    for stage in (stage for stage in STAGES if stage.setting):
        place = stage.setting
        try:
            chosen = method(stage.name, methods[stage.setting])
            checked[stage.setting] = chosen.name
            place = stage.table
            if place:
                chosen.with_values(methods[place])
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
    try:
        check_limits(methods["quality_limits"] or {})
    except ValueError as error:
        raise ConfigError(f"quality_limits: {error}") from None
    keeping = [name for name, each in all_methods("background").items() if not each.erodes]
    if methods["two_pass"] and checked["background"] not in keeping:
        raise ConfigError(
            f"two passes need a background method that does not erode the mask "
            f"({', '.join(keeping)}), found {checked['background']}; choose one of them or "
            "leave out --two-pass"
        )
    return checked


def with_absolute_paths(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a method whose files are found from the folders of nodes too."""
    found = dict(params)
    if found.get("generator"):
        found["generator"] = str(Path(found["generator"]).absolute())
    return found


def check_regions(runs: Sequence[GreRun], methods: Mapping[str, Any]) -> None:
    """Refuse an atlas that cannot be used, and labels that nothing could bring to the run.

    Raises
    ------
    ConfigError
        If one of atlas and template is missing, or SimpleITK is, which maps labels.
    """
    if bool(methods["atlas"]) != bool(methods["atlas_template"]):
        raise ConfigError("--atlas and --atlas-template belong together; give both or neither")
    with_labels = [run for run in runs if run.segmentation]
    from_elsewhere = [run for run in with_labels if not run.segmentation["same_grid"]]
    if from_elsewhere or (methods["atlas"] and len(with_labels) < len(runs)):
        require_simpleitk()


def too_few_echoes(runs: Sequence[GreRun], methods: Mapping[str, Any]) -> list[Skipped]:
    """Return the runs of one echo if a method needs two, before anything is computed."""
    for stage in (stage for stage in STAGES if stage.setting):
        name = methods[stage.setting]
        if method(stage.name, name).least_echoes > 1:
            option = f"--{stage.setting.replace('_', '-')} {name}"
            break
    else:
        return []
    reason = f"one echo found, but {option} needs at least two; leave the option out"
    return [
        Skipped(f"{run.prefix}_{run.suffix}", reason, run.subject)
        for run in runs
        if len(run.echo_times_s) == 1
    ]
