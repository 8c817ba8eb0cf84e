"""What `make docs` makes: reference pages from the registries, pages of files outside docs/.

MkDocs calls the functions ``on_*`` (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import click
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from qsm_pipeline.bids.derivatives import key_rows, output_rows
from qsm_pipeline.cli import audit, cycleqsm, main, simulate
from qsm_pipeline.numerics.quality.limits import DEFAULT_LIMITS
from qsm_pipeline.reports.method_reference import method_reference
from qsm_pipeline.steps.methods import STAGES, default, methods
from qsm_pipeline.steps.quality import QUALITIES

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "developing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSES.md": "licences.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/cohorts.md": "benchmarks-cohorts.md",
    "benchmarks/clusters.md": "benchmarks-clusters.md",
    "qsm_pipeline/cycleqsm/shipped/cycleqsm-8.md": "model-card.md",
}
"""Files outside docs/ by their pages; the first screen of the README is the home page."""
COMMANDS = {
    "qsm-pipeline": main.main,
    "cycleqsm": cycleqsm.main,
    "qsm-pipeline-simulate": simulate.main,
    "qsm-pipeline-audit": audit.main,
}
_LINK = re.compile(r"(?<=\])\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config) -> Files:
    """Add the pages that are made."""
    made = {
        "reference/options.md": options_page(),
        "reference/methods.md": "# Methods and parameters\n\n" + method_reference(),
        "reference/metrics.md": metrics_page(),
    }
    for source, page in PAGES.items():
        made[page] = with_links((ROOT / source).read_text(), source, page)
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Fill in tables and the diagram, and mend links to files outside docs/."""
    uri = page.file.src_uri
    for name, make in (("outputs", outputs_table), ("keys", keys_table), ("chain", chain_diagram)):
        if f"<!-- {name} -->" in markdown:
            markdown = markdown.replace(f"<!-- {name} -->", make())
    if page.file.generated_by or uri.endswith(".ipynb"):
        return markdown
    return with_links(markdown, f"docs/{uri}", uri)


def on_page_content(html: str, page, config, files) -> str:
    """Turn equations into MathML, which browsers draw without a script."""
    return re.sub(
        r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>',
        lambda found: convert(
            _unescaped(found[3]).strip(), display="block" if found[2] == "[" else "inline"
        ),
        html,
        flags=re.DOTALL,
    )


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def with_links(text: str, source: str, page: str) -> str:
    """Return Markdown whose relative links lead to pages of the site.

    Parameters
    ----------
    text : str
        Of a file of the repository.
    source : str
        Its path in the repository.
    page : str
        The page that is made of it, relative to docs/.

    A link to a file that has no page becomes its text.
    """

    def mended(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        if not (ROOT / target).exists():
            return found[0]  # the strict build names it
        uri = PAGES.get(target) or (
            target.removeprefix("docs/") if target.startswith("docs/") else ""
        )
        if not uri:
            return ""
        start = posixpath.dirname(page) or "."
        return f"({os.path.relpath(uri, start)}{found[2] or ''})"

    text = _LINK.sub(mended, text)
    return re.sub(r"(?<!\!)\[([^\]]+)\](?![(\[:])", r"\1", text) if source in PAGES else text


def options_page() -> str:
    """Return every option of every command."""
    parts = ["# Options", "Made from the commands; `--help` says the same in the terminal."]
    for name, command in COMMANDS.items():
        parts += _command(name, command)
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    yield f"## `{name}`"
    help_text = (command.help or "").split("\b")[0]
    yield " ".join(help_text.split())
    if isinstance(command, click.Group):
        for each, sub in command.commands.items():
            yield from _command(f"{name} {each}", sub)
        return
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    yield f"    {' '.join([name, *(p.make_metavar(click.Context(command)) for p in arguments)])}"
    groups: dict[str, list[str]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            groups.setdefault(getattr(option, "group", "") or "Options", []).append(_row(option))
    for title, rows in groups.items():
        yield f"**{title}**"
        yield "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])


def _row(option: click.Option) -> str:
    """Return an option as a row; paragraphs after the first are its choices."""
    text = (option.help or "").replace("\b\n", "")
    text = re.sub(r"\n(?!\S+: )", " ", text) if "\n" in text else text
    told, *choices = [_cell(line) for line in text.split("\n")]
    told, _, _ = told.partition("  [default: ")
    names = ", ".join(f"`{each}`" for each in option.opts)
    shown = option.default
    plain = isinstance(shown, str | int | float) and not isinstance(shown, bool) and shown != ""
    return f"| {names} | {f'`{shown}`' if plain else ''} | {'<br>'.join([told, *choices])} |"


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("<", "&lt;")


def metrics_page() -> str:
    """Return what every quality metric means."""
    rows = [
        "# Quality metrics",
        "`qsm-pipeline explain NAME` says the same. Limits are changed in `[quality_limits]` of "
        "the file of settings; [Numbers](../numbers.md) defines each.",
        "| metric | unit | limit | meaning | if the limit is not kept |\n|---|---|---|---|---|",
    ]
    for each in QUALITIES:
        limits = [
            f"{word} {DEFAULT_LIMITS[f'{side}_{each.name}']:g}"
            for side, word in (("min", "at least"), ("max", "at most"))
            if f"{side}_{each.name}" in DEFAULT_LIMITS
        ]
        cells = (f"`{each.name}`", each.unit, ", ".join(limits), each.meaning, each.action)
        rows[-1] += "\n| " + " | ".join(map(_cell, cells)) + " |"
    return "\n\n".join(rows) + "\n"


def outputs_table() -> str:
    """Return every file that a run may write, from the table that names them."""
    return f"| file | unit | what it is |\n|---|---|---|\n{output_rows()}"


def keys_table() -> str:
    """Return what stands in a sidecar besides the keys of BIDS."""
    return f"| key | what it holds |\n|---|---|\n{key_rows()}"


def chain_diagram() -> str:
    """Return the steps of the chain in their order, with the default method of each."""
    boxes = []
    for stage in STAGES:
        names = methods(stage.name)
        others = [name for name in names if name != default(stage.name)]
        more = f"<br><small>or {', '.join(others)}</small>" if others else ""
        boxes.append(
            f'<li style="border:1px solid currentColor;border-radius:.4em;padding:.3em .7em;'
            f'margin:.5em 0;list-style:none"><strong>{stage.title}</strong>: '
            f"{default(stage.name)}{more}</li>"
        )
    arrow = '<li style="list-style:none;text-align:center;margin:0">↓</li>'
    return f'<ol style="max-width:38em;margin:auto">{arrow.join(boxes)}</ol>'


def on_post_page(output: str, page, config) -> str:
    """Take the script that lets the search work without a server from this site."""
    here = os.path.relpath("javascripts/iframe-worker.js", posixpath.dirname(page.url) or ".")
    return output.replace("https://unpkg.com/iframe-worker/shim", here)
