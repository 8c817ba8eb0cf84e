"""What ``qsm-pipeline methods`` and ``qsm-pipeline explain`` answer, made from the registries."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator

from qsm_pipeline.steps.method import Method
from qsm_pipeline.steps.methods import METHODS, STAGES, default, find_methods
from qsm_pipeline.steps.parameter_docs import described
from qsm_pipeline.steps.quality import explained


def methods_text(name: str = "") -> str:
    """Return all methods, a line each, or those of a name or of a step with their parameters.

    Parameters
    ----------
    name : str
        Of a method or a stage, in upper or lower case.

    Raises
    ------
    ValueError
        If neither a method nor a stage has that name.
    """
    found = find_methods(name) if name else list(METHODS)
    lines: list[str] = []
    for stage in STAGES:
        here = [each for each in found if each.stage == stage.name]
        if not here:
            continue
        option = f" (--{stage.setting.replace('_', '-')})" if stage.setting else ""
        lines += ["", f"{stage.title}{option}: {stage.help}"]
        for method in here:
            lines += _detailed(method, stage.table) if name else [_line(method)]
    if not name:
        lines += ["", "qsm-pipeline methods NAME shows the parameters; a star marks the default."]
    return "\n".join(lines).strip() + "\n"


def explain_text(name: str = "") -> str:
    """Return what a quality metric means, or all of them; see `explained`."""
    return "\n".join(_wrapped(line) for line in explained(name).splitlines()) + "\n"


def _line(method: Method) -> str:
    star = "*" if method.name == default(method.stage) else " "
    return _wrapped(f"  {star} {method.name:17}{method.help}", 21)


def _detailed(method: Method, table: str) -> Iterator[str]:
    yield ""
    yield _wrapped(f"  {method.name}: {method.help}", 4)
    parameters = described(method.params)
    if parameters and table:
        yield f"    Parameters, in [{table}] of the file of --config-file:"
    for each in parameters if table else ():
        shown = "" if each.default is None else f" = {_toml(each.default)}"
        unit = f" {each.unit}" if each.unit else ""
        yield f"    {each.name}{shown}{unit} ({each.kind})"
        yield _wrapped(f"        {each.meaning}", 8)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _wrapped(line: str, indent: int | None = None) -> str:
    width = min(100, shutil.get_terminal_size().columns)
    own = len(line) - len(line.lstrip())
    return textwrap.fill(line, width, subsequent_indent=" " * (own if indent is None else indent))


ANSWERS: dict[str, Callable[..., str]] = {"methods": methods_text, "explain": explain_text}
"""By the word in the place of a data set; each takes at most one name."""
