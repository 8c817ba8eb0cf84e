"""The options that choose a method, made from the registry."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import click

from qsm_pipeline.exceptions import did_you_mean
from qsm_pipeline.steps.methods import default, methods, stage

_WIDTH = 44
"""Characters that click leaves for the help of an option."""


class MethodChoice(click.Choice):
    """Names of methods, in upper or lower case; a typo is answered with the nearest name."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name as the registry spells it."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(str(value), map(str, self.choices))
            self.fail(f"{error.message.rstrip('.')}{near}.", param, ctx)


def method_option(stage_name: str) -> Callable[[Any], Any]:
    """Return the option that chooses the method of a stage.

    Parameters
    ----------
    stage_name : str
        Name of a stage that has a setting.
    """
    chosen, known = stage(stage_name), methods(stage_name)
    lines = [
        textwrap.fill(f"{chosen.help}  [default: {default(stage_name)}]", _WIDTH),
        *(
            textwrap.fill(f"{name}: {each.help}", _WIDTH, subsequent_indent="  ")
            for name, each in known.items()
        ),
    ]
    return click.option(
        f"--{chosen.setting.replace('_', '-')}",
        type=MethodChoice(list(known)),
        default=default(stage_name),
        show_default=False,  # its place would be behind the last choice
        help="\n".join(["\b", *lines]),
    )
