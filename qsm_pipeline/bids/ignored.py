"""The patterns of ``.bidsignore``, which are those of ``.gitignore``."""

from __future__ import annotations

import os
import re
from fnmatch import translate
from functools import cache
from pathlib import Path

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.bids.run import Skipped
from qsm_pipeline.exceptions import BIDSInputError

_MAX_BYTES = 2**18
_MAX_NAME, _MAX_PARTS = 1000, 100
_ANY = "**"


class BidsIgnore:
    """What the makers of a data set have said is no part of it.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set.
    """

    def __init__(self, bids_dir: Path) -> None:
        self._rules: list[tuple[list[str], bool, bool]] = []
        self._problem = ""
        path = bids_dir / ".bidsignore"
        if not os.path.lexists(path):
            return
        try:
            text = read_limited(path, _MAX_BYTES).decode("utf-8-sig")
        except (BIDSInputError, ValueError) as error:
            self._problem = f"{path} cannot be used, so that nothing was ignored: {error}"
            return
        for line in text.splitlines():
            pattern = line.strip()
            if pattern and not pattern.startswith("#"):
                self._add(pattern.lstrip("!"), says=not pattern.startswith("!"))

    def _add(self, pattern: str, *, says: bool) -> None:
        anchored = "/" in pattern.rstrip("/")
        parts = [] if anchored else [_ANY]
        for part in filter(None, pattern.split("/")):
            if (part, parts[-1:]) != (_ANY, [_ANY]):  # two are as one
                parts.append(part if part == _ANY else re.sub(r"\*+", "*", part))
        folders_only = pattern.endswith("/")
        if parts[-1:] == [_ANY]:  # all that is in a folder
            parts, folders_only = parts[:-1] or [_ANY, "*"], True
        if len(parts) <= _MAX_PARTS and all(len(part) <= _MAX_NAME for part in parts):
            self._rules.append((parts, folders_only, says))  # no path is longer

    def skipped(self) -> list[Skipped]:
        """Return that a ``.bidsignore`` is there and cannot be read, if it is so."""
        return [Skipped(".bidsignore", self._problem)] if self._problem else []

    def ignores(self, relative: str) -> bool:
        """Return whether a file is ignored; the last pattern that fits decides.

        Parameters
        ----------
        relative : str
            Path below the data set, with slashes.
        """
        ignored = False
        names = relative.split("/")
        for parts, folders_only, says in self._rules:
            if _matches(parts, names, folders_only):
                ignored = says
        return ignored


def _matches(parts: list[str], names: list[str], folders_only: bool) -> bool:
    """Return whether a pattern fits a path or a folder above it.

    Name by name, from all places that the pattern can have reached: its time has a bound,
    however many stars there are.
    """
    reached = _with_skipped({0}, parts)
    for number, name in enumerate(names, 1):
        after = {
            place if parts[place] == _ANY else place + 1
            for place in reached
            if place < len(parts) and (parts[place] == _ANY or _pattern(parts[place]).match(name))
        }
        reached = _with_skipped(after, parts)
        if len(parts) in reached and not (folders_only and number == len(names)):
            return True
    return False


def _with_skipped(places: set[int], parts: list[str]) -> set[int]:
    """Return places in a pattern, and those behind a ``**`` that stands for nothing."""
    found = set(places)
    for place in range(len(parts)):
        if place in found and parts[place] == _ANY and place + 1 < len(parts):
            found.add(place + 1)
    return found


@cache
def _pattern(part: str) -> re.Pattern[str]:
    # of stars it takes the first place that fits; brackets are no patterns here
    return re.compile(translate(part.replace("[", "[[]")))
