"""The options that choose a method, made from the registry."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from qsm_pipeline.cli.choices import NearChoice
from qsm_pipeline.cli.help import grouped
from qsm_pipeline.steps.methods import default, methods, stage

_WIDTH = 44
"""Characters that click leaves for the help of an option."""


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
    return grouped("Methods")(
        f"--{chosen.setting.replace('_', '-')}",
        type=NearChoice(list(known)),
        default=default(stage_name),
        show_default=False,  # its place would be behind the last choice
        help="\n".join(["\b", *lines]),
    )
