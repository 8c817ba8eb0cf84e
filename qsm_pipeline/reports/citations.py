"""Citations resolved, and the methods text as files: Markdown, HTML and BibTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup, escape

from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.reports.facts import read_sidecar, voxel_size_mm
from qsm_pipeline.reports.methods_text import Mapped, Section, methods_sections
from qsm_pipeline.reports.templates import as_bytes, content_policy, render

_CITATION = re.compile(r"\[(@\w+(?:; @\w+)*)\]")
_ENTRY = re.compile(r"^@\w+\{(?P<key>\w+), (?P<fields>.*)\}$", re.MULTILINE)
_FIELD = re.compile(r"(\w+) = \{((?:[^{}]|\{[^{}]*\})*)\}")


@dataclass(frozen=True)
class Reference:
    """An entry of the bibliography.

    Parameters
    ----------
    key : str
        As in ``[@key]``.
    short : str
        As cited in a text.
    text : str
        The whole entry but its DOI.
    doi : str
        Without ``https://doi.org/``.
    bibtex : str
        Its line of the BibTeX file.
    """

    key: str
    short: str
    text: str
    doi: str
    bibtex: str


@cache
def bibliography() -> dict[str, Reference]:
    """Return every reference of the package by its key."""
    text = (files("qsm_pipeline") / "data" / "references.bib").read_text(encoding="utf-8")
    found = {}
    for match in _ENTRY.finditer(text):
        values = {key: value.replace("--", "–") for key, value in _FIELD.findall(match["fields"])}
        plain = {key: re.sub("[{}]", "", value) for key, value in values.items()}
        names = re.split(" and ", plain["author"])
        first = names[0].split(",")[0]
        if len(names) == 2 and names[1] != "others":
            first += f" & {names[1].split(',')[0]}"
        elif len(names) > 1:
            first += " et al."
        where = plain["journal"]
        if "volume" in plain:
            where += f" {plain['volume']}"
            where += f"({plain['number']})" if "number" in plain else ""
        where += f":{plain['pages']}" if "pages" in plain else ""
        people = ", ".join(name.replace(",", "") for name in names).replace("others", "et al.")
        found[match["key"]] = Reference(
            match["key"],
            f"{first} {plain['year']}",
            f"{people} ({plain['year']}). {plain['title']}. {where}.",
            plain["doi"],
            match[0],
        )
    return found


def cited(sections: Sequence[Section]) -> list[Reference]:
    """Return the references that a text cites, in the order of their first authors."""
    text = " ".join(paragraph for section in sections for paragraph in section.paragraphs)
    keys = {key for group in _CITATION.findall(text) for key in re.findall(r"\w+", group)}
    known = bibliography()  # text of the data may look like a citation, and is none
    return sorted((known[key] for key in keys if key in known), key=lambda r: r.short)


def as_markdown(paragraph: str) -> str:
    r"""Return a paragraph in which names and values of the data are no markup, links or images.

    Examples
    --------
    >>> print(as_markdown("<b> ![x](http://a) [@liu2011]"))
    \<b> \![x]\(http://a) [@liu2011]
    """
    return re.sub(r"<|!(?=\[)|(?<=\])\(", r"\\\g<0>", paragraph)


def as_html(paragraph: str) -> Markup:
    """Return a paragraph, escaped, whose citations are links to its list of references."""

    def link(match: re.Match[str]) -> str:
        keys = re.findall(r"\w+", match[1])
        if not all(key in bibliography() for key in keys):
            return match[0]
        links = (f'<a href="#ref-{key}">{escape(bibliography()[key].short)}</a>' for key in keys)
        return f"({'; '.join(links)})"

    return Markup(_CITATION.sub(link, str(escape(paragraph))))


def mapped_runs(runs: Sequence[GreRun], out_dir: Path) -> list[Mapped]:
    """Return those runs that have a map, with a sidecar that says how it was made."""
    found = []
    for run in runs:
        sidecar = read_sidecar(out_dir, run)
        if sidecar:
            chi = out_dir / output_path(run.entities, "chi")
            one = Mapped(run, sidecar, voxel_size_mm([str(chi)]))
            with suppress(Exception):  # one that was changed by hand costs the others nothing
                methods_sections([one])
                found.append(one)
    return found


def write_citations(out_dir: Path) -> None:
    """Write ``logs/CITATION.{md,html,bib}`` for all maps that the records in ``logs`` know of.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    runs, left_out = _recorded(out_dir)
    sections = methods_sections(mapped_runs(runs, out_dir))
    if left_out:
        sections.append(Section("Excluded", ("Left out or failed: " + " ".join(left_out),)))
    references = cited(sections)
    lines = ["# Methods", ""]
    for section in sections:
        lines += [f"## {section.title}", "", *(f"{as_markdown(p)}\n" for p in section.paragraphs)]
    lines += ["## References", ""]
    lines += [f"- [@{r.key}] {r.text} doi:{r.doi}" for r in references]
    logs = out_dir / "logs"
    write_atomic(logs / "CITATION.md", as_bytes("\n".join(lines) + "\n"))
    write_atomic(logs / "CITATION.bib", as_bytes("".join(f"{r.bibtex}\n" for r in references)))
    html = render(
        "methods.html.jinja",
        sections=sections,
        references=references,
        as_html=as_html,
        policy=content_policy(),
    )
    write_atomic(logs / "CITATION.html", as_bytes(html))


def _recorded(out_dir: Path) -> tuple[list[GreRun], list[str]]:
    """Return all runs of the records, and a sentence for each that was left out or failed."""
    runs, left_out = [], []
    records = Records(out_dir)
    for subject in records.participants():
        try:
            record = records.read(subject)
        except BIDSInputError:
            continue
        left_out += [f"{item['what']}: {item['reason']}." for item in record["left_out"]]
        for prefix, entry in record["runs"].items():
            left_out += [f"{prefix}: {p['message']}." for p in entry["problems"]]
            if entry["run"] and not entry["problems"]:
                runs.append(GreRun.from_dict(entry["run"]))
    return runs, left_out
