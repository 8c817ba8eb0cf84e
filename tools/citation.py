"""Write the references of CITATION.cff from the bibliography: ``python tools/citation.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from qsm_pipeline.reports.citations import bibliography

TARGET = Path(__file__).resolve().parents[1] / "CITATION.cff"


def references() -> list[dict[str, Any]]:
    """Return every method's publication as the Citation File Format has it."""
    return [_reference(each.bibtex, each.doi) for each in bibliography().values()]


def _reference(bibtex: str, doi: str) -> dict[str, Any]:
    values = dict(re.findall(r"(\w+) = \{((?:[^{}]|\{[^{}]*\})*)\}", bibtex))
    plain = {key: re.sub("[{}]", "", value).replace("--", "-") for key, value in values.items()}
    found = {
        "type": "article" if bibtex.startswith("@article") else "generic",
        "title": plain["title"],
        "authors": [_person(name) for name in plain["author"].split(" and ") if name != "others"],
        "journal": plain["journal"],
        "year": int(plain["year"]),
        "doi": doi,
    }
    return found | {key: plain[key] for key in ("volume",) if key in plain}


def _person(name: str) -> dict[str, str]:
    family, _, given = name.partition(", ")
    return {"family-names": family, "given-names": given} if given else {"name": family}


def main() -> None:
    """Replace the references, and leave the rest."""
    head, _, _ = TARGET.read_text().partition("references:\n")
    text = yaml.safe_dump({"references": references()}, sort_keys=False, allow_unicode=True)
    TARGET.write_text(head + text)


if __name__ == "__main__":
    main()
