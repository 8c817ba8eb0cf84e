"""Help in groups, so that nobody reads forty options to find one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

CONTEXT = {"show_default": True, "help_option_names": ["-h", "--help"]}
"""Settings of every command."""


class GroupedOption(click.Option):
    """An option under a heading of the help.

    Parameters
    ----------
    group : str
        The heading.
    """

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedHelp(click.Command):
    """A command whose options stand under the headings of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                name = getattr(param, "group", "") or "Other"
                groups.setdefault(name, []).append(record)
        groups["Other"] = groups.pop("Other", [])
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def grouped(group: str) -> Callable[..., Callable[[Any], Any]]:
    """Return a decorator like `click.option` whose options belong to a group."""

    def option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=GroupedOption, group=group, **attributes)

    return option
