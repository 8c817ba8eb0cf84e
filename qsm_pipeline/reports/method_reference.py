"""The reference of methods: every method with its parameters, as Markdown."""

from __future__ import annotations

from qsm_pipeline.reports.citations import bibliography
from qsm_pipeline.steps.method import Method, Stage
from qsm_pipeline.steps.methods import METHODS, STAGES, default, find_methods
from qsm_pipeline.steps.parameter_docs import described

_HEADER = ("| parameter | default | unit | meaning |", "|---|---|---|---|")


def method_reference(name: str = "") -> str:
    """Return what there is to know of methods.

    Parameters
    ----------
    name : str
        Name of a method or of a stage, in upper or lower case; everything by default.

    Returns
    -------
    str
        A section for each stage, with a table of the parameters of each method.

    Raises
    ------
    ValueError
        If neither a method nor a stage has that name.
    """
    found = find_methods(name) if name else METHODS
    sections = []
    for stage in STAGES:
        shown = [each for each in found if each.stage == stage.name]
        if shown:
            sections.append(_stage(stage, shown))
    return "\n\n".join(sections) + "\n"


def _stage(stage: Stage, shown: list[Method]) -> str:
    how = f" Option `--{stage.setting.replace('_', '-')}`." if stage.setting else ""
    if stage.table:
        how += f" Parameters in the table `[{stage.table}]` of the TOML file."
    return "\n\n".join([f"## {stage.title}", f"{stage.help}{how}", *map(_method, shown)])


def _method(method: Method) -> str:
    marks = [
        "default" if method.name == default(method.stage) else "",
        "erodes the mask" if method.erodes else "",
        "fills gaps in the field" if method.fills_gaps else "",
        f"at least {method.least_echoes} echoes" if method.least_echoes > 1 else "",
        "needs a magnitude" if method.needs_magnitude else "",
    ]
    told = ", ".join(mark for mark in marks if mark)
    parts = [f"### `{method.name}`" + (f" ({told})" if told else ""), method.help]
    references = [bibliography()[key] for key in method.citations]
    if references:
        parts.append("; ".join(f"{r.short}, doi:{r.doi}" for r in references) + ".")
    rows = [
        f"| `{p.name}` | `{_shown(p.default)}` | {p.unit} | {p.meaning} |"
        for p in described(method.params)
    ]
    if rows:
        parts.append(
            "\n".join(["| parameter | default | unit | meaning |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def _shown(value: object) -> str:
    """Return a default as it is written in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return f'"{value}"' if isinstance(value, str) else "none" if value is None else str(value)
