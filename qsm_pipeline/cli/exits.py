"""How commands end whose words cannot be understood: click's own 2 belongs to the shell."""

from __future__ import annotations

from typing import Any

import click

from qsm_pipeline.exit_codes import ExitCode


class UsageCode(click.Command):
    """A command, or a group of them, that ends with `ExitCode.USAGE` where click ends with 2."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the words."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _numbered(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; of a group this parses the words of its command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _numbered(error) from None


class CommandGroup(UsageCode, click.Group):
    """A group of commands."""


class NotThere(click.BadParameter):
    """A file or folder that is to be read does not exist."""

    exit_code = ExitCode.NO_INPUT


class NoLevel(click.BadParameter):
    """The analysis level is unknown."""

    exit_code = ExitCode.LEVEL


def _numbered(error: click.UsageError) -> click.UsageError:
    if error.exit_code == click.UsageError.exit_code:
        error.exit_code = ExitCode.USAGE
    return error
