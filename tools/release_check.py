"""Check that all files name one version: ``python tools/release_check.py 0.1.0``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def faults(version: str, root: Path = ROOT) -> Iterator[str]:
    """Yield a sentence for each file that does not fit the version."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version!r} is no version of a release, expected for example 0.1.0"
        return

    def text(name: str) -> str:
        return (root / name).read_text()

    found = {
        "pyproject.toml": tomllib.loads(text("pyproject.toml"))["project"]["version"],
        "CITATION.cff": _first(r"^version: (\S+)$", text("CITATION.cff")),
        "contrib/boutiques/qsm-pipeline.json": json.loads(
            text("contrib/boutiques/qsm-pipeline.json")
        )["tool-version"],
        "contrib/nipoppy/descriptor.json": json.loads(text("contrib/nipoppy/descriptor.json"))[
            "tool-version"
        ],
        "contrib/nipoppy/config.json": json.loads(text("contrib/nipoppy/config.json"))["VERSION"],
    }
    for name, there in found.items():
        if there != version:
            yield f"{name} has version {there}, expected {version}"
    heading = _first(rf"^## \[{re.escape(version)}\] - (.+)$", text("CHANGELOG.md"))
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", heading):
        yield f"CHANGELOG.md dates {version} {heading or 'nowhere'}, expected a day"
    if not _first(r"^date-released: (\S+)$", text("CITATION.cff")):
        yield "CITATION.cff has no date-released"


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def main(version: str = "") -> int:
    """Print what does not fit; return the exit status."""
    found = list(faults(version))
    command = ["git", "-C", str(ROOT), "status", "--porcelain"]
    changed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if changed:
        found.append("there are changes that are not committed")
    print("\n".join([*found, f"{len(found)} fault(s) in release {version or '(no VERSION)'}"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
