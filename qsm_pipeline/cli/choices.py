"""Types of options and arguments that answer a typo with what was probably meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from qsm_pipeline.cli.exits import NotThere
from qsm_pipeline.exceptions import did_you_mean


class NearChoice(click.Choice[str]):
    """One of some names, in upper or lower case; a typo is answered with the nearest name.

    Parameters
    ----------
    names : list or tuple of str
        The names.
    error : type
        Of what is raised for any other word.
    """

    def __init__(
        self,
        names: list[str] | tuple[str, ...],
        error: type[click.BadParameter] = click.BadParameter,
    ) -> None:
        super().__init__(names, case_sensitive=False)
        self._error = error

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name in the spelling of the list."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(str(value), map(str, self.choices))
            text = f"{error.message.rstrip('.')}{near or '.'}"
            raise self._error(text, ctx=ctx, param=param) from None


class Existing(click.Path):
    """A folder or a file that is there; if it is not, its nearest neighbour is named.

    Parameters
    ----------
    folder : bool
        Whether a folder is expected; else a file.
    """

    def __init__(self, *, folder: bool) -> None:
        super().__init__(exists=True, file_okay=not folder, dir_okay=folder, path_type=Path)
        self._folder = folder

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(value)
        if self._folder and path.is_file():
            kind = "one image" if path.name.endswith((".nii", ".nii.gz")) else "a file"
            hint = (
                "give the root folder of the BIDS data set" if _is_bids(param) else "give a folder"
            )
            self.fail(f"{path} is {kind}, expected a folder; {hint}.", param, ctx)
        if not self._folder and path.is_dir():
            self.fail(f"{path} is a folder, expected a file.", param, ctx)
        text = "" if path.exists() else f"{path} does not exist{_neighbour(path)}"
        if not text and not os.access(path, os.R_OK):
            text = f"{path} cannot be read: no permission; change its mode."
        if text:
            raise NotThere(text, ctx=ctx, param=param)
        return super().convert(value, param, ctx)


def _is_bids(param: click.Parameter | None) -> bool:
    return param is not None and param.name == "bids_dir"


def _neighbour(path: Path) -> str:
    """Return the end of a sentence: a question with what is there and has nearly this name."""
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return "." if path.parent.exists() else f", nor does {path.parent}."
    return did_you_mean(path.name, names) or "."
