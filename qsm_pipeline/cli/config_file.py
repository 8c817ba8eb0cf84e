"""The TOML file whose keys are the options."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.exceptions import BIDSInputError, did_you_mean
from qsm_pipeline.steps.methods import STAGES

TABLES = (*(stage.table for stage in STAGES if stage.table), "quality_limits")
"""Keys without an option: parameters of the chosen methods, limits of the quality metrics."""
NO_KEYS = ("config_file", "version", "help")
"""Options without a key."""
_MAX_BYTES = 2**20


def load_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the keys of a TOML file the defaults of the options of the same name.

    Raises
    ------
    click.BadParameter
        If the file is not TOML, a key is unknown, or a value has the wrong type.
    """
    if path is None:
        return None
    try:
        values = tomllib.loads(read_limited(path, _MAX_BYTES).decode("utf-8-sig"))
    except (ValueError, RecursionError, BIDSInputError) as error:
        raise click.BadParameter(f"{path} cannot be read as TOML: {error}") from None
    values = {key.replace("-", "_"): value for key, value in values.items()}
    options = {p.name: p for p in context.command.params if isinstance(p, click.Option)}
    known = {name for name in options if name not in NO_KEYS} | set(TABLES)
    tables: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = did_you_mean(key, known)
            raise click.BadParameter(
                f"{path} has the unknown key {key!r}; known: {', '.join(sorted(known))}{near}"
            )
        if key in TABLES:
            if not isinstance(value, dict):
                raise click.BadParameter(f"{path}: {key} is {value!r}, expected a table [{key}]")
            tables[key] = value
        else:
            defaults[key] = _checked(options[key], value, path)
    context.obj = tables
    context.default_map = defaults
    return path


def _checked(option: click.Option, value: Any, path: Path) -> Any:
    """Return the value as click wants it; click itself would take ``true`` for 1 and 2.5 for 2."""
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        if all(isinstance(v, str) for v in values):
            return values
        wanted = "a text or a list of texts"
    else:
        types, wanted = {
            click.IntRange: (int, "a whole number"),
            click.FloatRange: ((int, float), "a number"),
        }.get(type(option.type), (str, "a text"))
        if option.is_flag:
            types, wanted = bool, "true or false"
        if isinstance(value, types) and (option.is_flag or not isinstance(value, bool)):
            return value
    raise click.BadParameter(f"{path}: {option.name} is {value!r}, expected {wanted}")
