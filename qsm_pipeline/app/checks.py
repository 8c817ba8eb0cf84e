"""What must hold before anything is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.exceptions import ConfigError, OutputError, printable
from qsm_pipeline.external.simpleitk.itk import require_simpleitk
from qsm_pipeline.numerics.background import METHODS as BACKGROUND_METHODS
from qsm_pipeline.numerics.masking.two_pass import NOT_ERODING
from qsm_pipeline.numerics.quality import check_limits
from qsm_pipeline.steps.inversions import INVERSIONS
from qsm_pipeline.workflows.run import METHOD_DEFAULTS

_WANTED = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


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
    ConfigError
        If ``bids_dir`` is no data set, something would be written into it, or a path is no text.
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
        raise ConfigError(
            f"{bids_dir} has no dataset_description.json, so it is no BIDS data set; give its root"
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


def check_methods(methods: Mapping[str, Any]) -> None:
    """Refuse methods that do not exist, and parameters that they do not have or cannot use.

    Parameters
    ----------
    methods : mapping
        Every key of ``METHOD_DEFAULTS``.

    Raises
    ------
    ConfigError
        With the name of the table and the method.
    """
    for key in methods:
        if key not in METHOD_DEFAULTS:
            raise ConfigError(f"{key!r} is no setting; known: {', '.join(METHOD_DEFAULTS)}")
    for stage, registry in (("background", BACKGROUND_METHODS), ("inversion", INVERSIONS)):
        name = methods[stage]
        if name not in registry:
            raise ConfigError(f"{stage} is {name!r}, expected one of {', '.join(registry)}")
        try:
            values = methods[f"{stage}_params"] or {}
            _check_types(registry[name].params, values)
            registry[name].params(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{stage}_params for {name}: {error}") from None
    try:
        check_limits(methods["quality_limits"] or {})
    except ValueError as error:
        raise ConfigError(f"quality_limits: {error}") from None
    if methods["two_pass"] and methods["background"] not in NOT_ERODING:
        raise ConfigError(
            f"two passes need a background method that does not erode the mask "
            f"({', '.join(NOT_ERODING)}), found {methods['background']}; choose one of them or "
            "leave out --two-pass"
        )


def with_absolute_paths(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a method whose files are found from the folders of nodes too."""
    found = dict(params)
    if found.get("generator"):
        found["generator"] = str(Path(found["generator"]).absolute())
    return found


def _check_types(params: type, values: Mapping[str, Any]) -> None:
    """Refuse values that would fail in the nodes of each participant, or that mean nothing."""
    types = get_type_hints(params)
    for name, value in values.items():
        kind = types.get(name)
        if kind in _WANTED and not _is(value, kind):
            raise ValueError(f"{name} is {value!r}, expected {_WANTED[kind]}")


def _is(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):  # which Python counts among the numbers
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


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
    if methods["reference"] == "csf":
        option = "--reference csf"
    elif methods["field_fit"] == "nonlinear":
        option = "--field-fit nonlinear"
    else:
        return []
    reason = f"one echo found, but {option} needs at least two; leave the option out"
    return [
        Skipped(f"{run.prefix}_{run.suffix}", reason, run.subject)
        for run in runs
        if len(run.echo_times_s) == 1
    ]


def validate_bids(bids_dir: Path, echo: Callable[[str], None]) -> None:
    """Run bids-validator-deno where it is installed.

    Raises
    ------
    ConfigError
        With what the validator says, if the data set is not valid.
    """
    # it and the deno that it starts lie beside this Python even if the environment is not active
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        echo("BIDS validation skipped: bids-validator-deno is not installed")
        return
    result = subprocess.run(
        [validator, str(bids_dir), "--ignoreWarnings"],
        capture_output=True, text=True, check=False, env=os.environ | {"PATH": path},
    )  # fmt: skip
    if result.returncode:
        echo(result.stdout.strip()[-2000:])
        raise ConfigError(
            f"{bids_dir} is not valid BIDS, see above; correct it or use --skip-bids-validation"
        )
