"""Files of settings: those that the user gives, and the one that says how a run was made."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.sidecar import parse_json
from qsm_pipeline.exceptions import BIDSInputError, ConfigError

_MAX_BYTES = 2**20


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file that holds an object.

    Raises
    ------
    ConfigError
        If it cannot be read or holds something else.
    """
    try:
        text = read_limited(path, _MAX_BYTES).decode("utf-8-sig")
        value = tomllib.loads(text) if path.suffix == ".toml" else parse_json(text)
    except (ValueError, RecursionError, BIDSInputError) as error:
        raise ConfigError(f"{path} cannot be read as TOML or JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold an object with keys, found {type(value).__name__}")
    return value


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML; what is None is left out, as its default is to be used.

    Parameters
    ----------
    settings : mapping
        Texts, paths, numbers, booleans, and lists or mappings of these.
    """
    plain = {k: v for k, v in settings.items() if v is not None}
    tables = {k: v for k, v in plain.items() if isinstance(v, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def absolute(value: Any) -> Any:
    """Return a setting whose paths mean the same in every folder."""
    if isinstance(value, list | tuple):
        return [absolute(each) for each in value]
    return value.absolute() if isinstance(value, Path) else value


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):  # what is no text cannot stand in TOML, and DEL only as an escape
        value = value.encode("utf-8", "backslashreplace").decode()
    # of these types JSON is TOML too
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
