"""The patterns of ``.bidsignore``, which are those of ``.gitignore``."""

from __future__ import annotations

import re
from pathlib import Path

from qsm_pipeline.bids.files import read_limited
from qsm_pipeline.exceptions import BIDSInputError

_MAX_BYTES = 2**20


class BidsIgnore:
    """What the makers of a data set have said is no part of it.

    Parameters
    ----------
    bids_dir : pathlib.Path
        The data set; a ``.bidsignore`` that is missing or cannot be read ignores nothing.
    """

    def __init__(self, bids_dir: Path) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        try:
            text = read_limited(bids_dir / ".bidsignore", _MAX_BYTES).decode("utf-8-sig")
        except (BIDSInputError, ValueError):
            return
        for line in text.splitlines():
            pattern = line.strip()
            if pattern and not pattern.startswith("#"):
                self._rules.append((_compiled(pattern.lstrip("!")), not pattern.startswith("!")))

    def ignores(self, relative: str) -> bool:
        """Return whether a file is ignored; the last pattern that fits decides.

        Parameters
        ----------
        relative : str
            Path below the data set, with slashes.
        """
        ignored = False
        for pattern, says in self._rules:
            if pattern.match(relative):
                ignored = says
        return ignored


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of gitignore that matches a path, or a folder above it."""
    anchored = "/" in pattern.rstrip("/")
    body = pattern.strip("/")
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", body)
    text = "".join(words.get(part, re.escape(part)) for part in parts)
    start = "" if anchored else "(?:.*/)?"
    return re.compile(f"{start}{text}{'/' if pattern.endswith('/') else '(?:/|$)'}")
