"""Which participants, sessions and files the user asked for, and why others are not among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.naming import ENTITY_ORDER, LONG_NAMES
from qsm_pipeline.exceptions import ConfigError, NoInputError, NothingChosenError

_MAX_LIST_BYTES = 2**24
SUFFIXES = ("MEGRE", "T2starw")
_OF_OTHER_APPS = (
    "fmap",
    "bold",
    "sbref",
    "flair",
    "t2w",
    "t1w",
    "roi",
    "dwi",
    "asl",
    "pet",
    "func",
    "anat",
)
"""Sections of the filter files of fMRIPrep, QSIPrep and others, which are not for these images."""
_FIXED = ("datatype", "suffix", "extension")
_ANY = "*"
"""fMRIPrep's word for: whatever its label, it must be there."""
_FILTER_NAMES = {"gre": SUFFIXES, "megre": ("MEGRE",), "t2starw": ("T2starw",)}

Filters = dict[str, dict[str, set[str | None]]]
"""Suffix -> entity key -> labels allowed, where None means absent."""


def known_labels(
    labels: Sequence[str] | None, key: str, existing: Sequence[str], bids_dir: Path
) -> tuple[str, ...]:
    """Return the labels wanted, all that exist if none is named.

    Raises
    ------
    NothingChosenError
        If a label does not exist.
    """
    if not labels:
        return tuple(existing)
    wanted = tuple(dict.fromkeys(label.removeprefix(f"{key}-") for label in labels))
    for label in wanted:
        if label not in existing:
            listed = ", ".join(existing[:50]) + (", ..." if len(existing) > 50 else "")
            raise NothingChosenError(
                f"{key}-{label[:60]} is not in {bids_dir}; it has: {listed or 'none'}"
            )
    return wanted


def read_labels_file(path: Path) -> list[str]:
    """Return the labels in a text file: one a line, or the first column of a table.

    A header ``participant_id``, empty lines, and what follows ``#`` are passed by.

    Raises
    ------
    NoInputError
        If it cannot be read.
    NothingChosenError
        If it names nobody.
    """
    try:
        text = read_limited(path, _MAX_LIST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoInputError(f"{path} is no text ({error}); expected a label on each line") from None
    words = (re.split(r"[\t,#]", line, maxsplit=1)[0].strip() for line in text.splitlines())
    labels = [word for word in words if word and word not in ("participant_id", "session_id")]
    if not labels:
        raise NothingChosenError(f"{path} names nobody; expected a label on each line")
    return labels


def with_files(labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels, those of a file in the place of ``@file``.

    Raises
    ------
    NoInputError, NothingChosenError
        As of :func:`read_labels_file`.
    """
    found: list[str] = []
    for label in labels:
        found += read_labels_file(Path(label[1:])) if label.startswith("@") else [label]
    return tuple(dict.fromkeys(found))


def checked_filters(bids_filters: Mapping[str, Any]) -> Filters:
    """Return the content of a BIDS filter file in a form that is quick to apply.

    Raises
    ------
    ConfigError
        If it cannot be understood.
    """
    checked: Filters = {}
    for name, query in bids_filters.items():
        if name.lower() in _OF_OTHER_APPS:
            continue
        if name.lower() not in _FILTER_NAMES or not isinstance(query, Mapping):
            raise ConfigError(
                f"BIDS filter {name!r}: expected one of {', '.join(_FILTER_NAMES)}, each with an "
                "object of entities"
            )
        for entity, value in query.items():
            key = LONG_NAMES.get(entity, entity)
            if key not in (*ENTITY_ORDER, *_FIXED):
                raise ConfigError(f"BIDS filter {name!r}: unknown entity {entity!r}")
            values = value if isinstance(value, list) else [value]
            if not all(v is None or type(v) in (str, int) for v in values):
                raise ConfigError(
                    f"BIDS filter {name!r}: {entity} is {value!r}, expected a label, a list of "
                    "labels, or null for absent"
                )
            for suffix in _FILTER_NAMES[name.lower()]:
                labels = {None if v is None else _plain(str(v)) for v in values}
                if key in _FIXED:  # the same for all images that are looked at
                    fixed = {"datatype": "anat", "suffix": suffix, "extension": ".nii.gz"}[key]
                    if labels & {fixed, _ANY, fixed.removesuffix(".gz")}:
                        continue
                checked.setdefault(suffix, {})[key] = labels
    return checked


def _plain(label: str) -> str:
    """Return a label so that ``1`` and ``01`` of an index agree."""
    return str(int(label)) if label.isdecimal() else label


def why_filtered(suffix: str, entities: Mapping[str, str], filters: Filters) -> str:
    """Return which filter a file does not pass, in words; empty if it passes all."""
    for key, allowed in filters.get(suffix, {}).items():
        label = _plain(entities[key]) if key in entities else None
        if label not in allowed and not (_ANY in allowed and label is not None):
            wanted = " or ".join(sorted("none" if v is None else v for v in allowed))
            return f"the BIDS filter wants {key} {wanted}, not {label or 'none'}"
    return ""
