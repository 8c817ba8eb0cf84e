"""A node that uses its kept files again only if they are those that it wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node

_CHECKSUMS = "checksums.json"
_MAX_BYTES = 2**20
_OF_NIPYPE = ("_0x*.json", "_node.pklz", "_inputs.pklz")
"""Its notes, which it changes when it likes and computes nothing from."""


class CheckedNode(Node):
    """nipype's node, which is run again where a kept file was damaged, emptied or removed.

    nipype looks at the inputs of a node alone: half a file that a full disk or a crash has left
    would go into the maps, and a result that cannot be read would fail for ever.

    Parameters
    ----------
    interface, name, **arguments
        Of nipype's node.
    computes : bool
        It needs what the server of nodes loads; one that does not can start before that is done.
    rank : float
        Of the nodes of a run that could start, those with the lowest do.
    """

    def __init__(
        self,
        interface: Any,
        name: str,
        *,
        computes: bool = True,
        rank: float = 0.0,
        **arguments: Any,
    ) -> None:
        super().__init__(interface, name, **arguments)
        self.computes = computes
        self.rank = rank

    def is_cached(self, rm_outdated: bool = False) -> tuple[bool, bool]:
        """Return whether there are results, and whether they are those of the inputs."""
        folder = Path(self.output_dir())
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
        return super().is_cached(rm_outdated)

    def run(self, updatehash: bool = False) -> Any:
        """Run the node in its folder, and write down the checksums of what it left there."""
        result = super().run(updatehash)
        folder = Path(self.output_dir())
        (folder / _CHECKSUMS).write_text(json.dumps(_checksums(folder)))
        return result


def _is_whole(folder: Path) -> bool:
    """Return whether the files of a node are those that it wrote."""
    try:
        file = folder / _CHECKSUMS
        return file.stat().st_size <= _MAX_BYTES and (
            json.loads(file.read_text()) == _checksums(folder)
        )
    except (OSError, ValueError, RecursionError):  # none: it was killed before its end
        return False


def _checksums(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and path.parent.name != "_report" and path.name != _CHECKSUMS
        if plain and not any(path.match(pattern) for pattern in _OF_NIPYPE):
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return found
