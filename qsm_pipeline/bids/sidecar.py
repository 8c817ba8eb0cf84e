"""Sidecars read with BIDS inheritance, one run at a time.

A broken sidecar must stop its own run and no other, so the files are read here and not while
the whole data set is indexed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.files import file_size
from qsm_pipeline.bids.naming import parse_name
from qsm_pipeline.exceptions import BIDSInputError

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 64
_MAX_DIGITS = 400
_MAX_FLOAT = sys.float_info.max


def read_json_object(path: Path, *, finite: bool = False) -> dict[str, Any]:
    """Read a JSON file that must hold an object: raw data, and all that the product reads back.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    finite : bool
        Whether it may hold finite numbers alone, as the product writes them.

    Returns
    -------
    dict

    Raises
    ------
    BIDSInputError
        If the file cannot be read, is implausibly large or deep, is not JSON or holds something
        else.
    """
    try:
        if file_size(path) > _MAX_BYTES:
            raise BIDSInputError(f"{path} is larger than 16 MiB, which no sidecar is; replace it")
        text = path.read_text(encoding="utf-8-sig")
        data = parse_json(text)
        if finite and not is_finite(data):
            raise ValueError("it holds a number that is not finite")
    except OSError as err:
        raise BIDSInputError(f"{path} cannot be read: {err.strerror or err}") from err
    except (ValueError, RecursionError) as err:  # JSON and UTF-8 errors are ValueErrors
        raise BIDSInputError(f"{path} is not valid JSON ({err}); correct or replace it") from err
    if not isinstance(data, dict):
        raise BIDSInputError(
            f"{path} holds a JSON {type(data).__name__}, expected an object of keys and values"
        )
    return data


def parse_json(text: str) -> Any:
    """Return what JSON says, be it raw data or settings.

    Raises
    ------
    ValueError, RecursionError
        If it is no JSON, implausibly deep, holds a key twice with different values, or a whole
        number of more digits than any is meant to have.
    """
    data = json.loads(text, object_pairs_hook=_without_contradictions, parse_int=_whole_number)
    _check_depth(data)
    return data


def is_finite(value: Any) -> bool:
    """Return whether all numbers in what was read from JSON are finite, also as floats."""
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, int | float) or -_MAX_FLOAT <= value <= _MAX_FLOAT


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(_MAX_DEPTH):
        level = [
            value
            for each in level
            if isinstance(each, dict | list)
            for value in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            break
    else:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def _without_contradictions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data and data[key] != value:
            raise ValueError(f"it holds the key {key[:60]!r} twice, with different values")
        data[key] = value
    return data


class SidecarReader:
    """Reads the metadata of files under one data set, each folder and JSON file once.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set.
    """

    def __init__(self, bids_dir: Path) -> None:
        self._root = bids_dir
        self._folders: dict[Path, list[Path]] = {}
        self._loaded: dict[Path, dict[str, Any]] = {}

    def metadata(self, image: Path) -> dict[str, Any]:
        """Merge every sidecar that applies to a file; the nearest one wins.

        Parameters
        ----------
        image : pathlib.Path
            A file inside the data set.

        Returns
        -------
        dict
            Empty if no sidecar applies.

        Raises
        ------
        BIDSInputError
            If a sidecar that applies is broken.
        """
        name = parse_name(image.name)
        merged: dict[str, Any] = {}
        for folder in self._folders_down_to(image.parent):
            applicable = []
            for path in self._json_files(folder):
                try:
                    candidate = parse_name(path.name)
                except ValueError:
                    continue
                if candidate.suffix == name.suffix and (
                    candidate.entities.items() <= name.entities.items()
                ):
                    applicable.append((len(candidate.entities), path))
            said: dict[tuple[int, str], Path] = {}
            for rank, path in sorted(applicable):
                if path not in self._loaded:
                    self._loaded[path] = read_json_object(path)
                for key, value in self._loaded[path].items():
                    other = said.setdefault((rank, key), path)
                    if other != path and self._loaded[other][key] != value:
                        raise BIDSInputError(
                            f"{other} and {path} both apply to {image.name}, and {key} is another "
                            "in each; remove one, or name it more closely"
                        )
                merged |= self._loaded[path]
        return merged

    def _folders_down_to(self, folder: Path) -> list[Path]:
        below = folder.relative_to(self._root).parts
        return [self._root.joinpath(*below[:n]) for n in range(len(below) + 1)]

    def _json_files(self, folder: Path) -> list[Path]:
        if folder not in self._folders:
            try:
                entries = sorted(folder.iterdir())
            except OSError as err:
                raise BIDSInputError(f"{folder} cannot be read: {err.strerror}") from err
            self._folders[folder] = [path for path in entries if path.suffix == ".json"]
        return self._folders[folder]
