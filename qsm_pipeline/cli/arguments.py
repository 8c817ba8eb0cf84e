"""Options that take several values, in any order with the folders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, pairwise

import click


class ManyValuesCommand(click.Command):
    """Let ``--participant-label 01 02`` take several values, as users of BIDS Apps type it.

    Every option with ``multiple=True`` takes the words that follow it, except those that the
    arguments need: ``--participant-label 01 02 raw out participant`` means two labels. The last
    argument has to be a choice, because it tells where the arguments end. Options may be spelt
    with underscores.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, then parse as click does."""
        options = [p for p in self.params if isinstance(p, click.Option)]
        args = [_spelt(word, {name for p in options for name in p.opts}) for word in args]
        many = {name for p in options if p.multiple for name in p.opts}
        one = {
            name for p in options if not (p.multiple or p.is_flag or p.count) for name in p.opts
        }
        parts = self._give_back(_split(args, many, one), many)
        out: list[str] = []
        for option, *values in parts:
            if option in many and values:
                out += [word for value in values for word in (option, value)]
            else:
                out += [option, *values]
        try:
            return super().parse_args(context, out)
        except click.MissingParameter as missing:
            given = [part[0] for part in parts if _is_argument(part)]
            raise click.UsageError(self._lacking(missing, given), context) from None
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            text = f"{error.message}: {self._flag_with_value(parts)}{self._whole()}"
            raise click.UsageError(text, context) from None

    def _lacking(self, missing: click.MissingParameter, given: list[str]) -> str:
        """Say which argument is not there, and how the whole command reads."""
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        levels = getattr(arguments[-1].type, "choices", ())
        what = missing.param.make_metavar(missing.ctx) if missing.param and missing.ctx else "?"
        if given and given[-1].lower() in levels and len(given) < len(arguments):
            what = arguments[len(given) - 1].make_metavar(missing.ctx or click.Context(self))
        return f"{what} is missing: {self._whole()}"

    def _flag_with_value(self, parts: list[list[str]]) -> str:
        """Say which option that takes no value has a word behind it, if that was given a value."""
        options = [p for p in self.params if isinstance(p, click.Option)]
        flags = {name for p in options if p.is_flag for name in p.opts}
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        levels = getattr(arguments[-1].type, "choices", ())
        behind = dropwhile(lambda part: part[0].lower() not in levels, parts)
        pairs = [(one[0], other) for one, other in pairwise(behind)]
        given = next((flag for flag, word in pairs if flag in flags and _is_argument(word)), "")
        return f"{given} takes no value; " if given else ""

    def _whole(self) -> str:
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        names = " ".join(str(p.name).upper() for p in arguments[:-1])
        shown = " or ".join(map(str, getattr(arguments[-1].type, "choices", ())))
        return f"the command is qsm-pipeline {names} {shown}"

    def _give_back(self, parts: list[list[str]], many: set[str]) -> list[list[str]]:
        """Take from the options the words that are arguments."""
        arguments = [p for p in self.params if isinstance(p, click.Argument)]
        levels = getattr(arguments[-1].type, "choices", ())
        short = len(arguments) - sum(_is_argument(part) for part in parts)
        ends = False  # whether the last argument has been passed, going backwards
        out: list[list[str]] = []
        for part in reversed(parts):
            ends = ends or part[-1].lower() in levels
            spare = max(0, min(short, len(part) - 2)) if ends and part[0] in many else 0
            short -= spare
            kept = len(part) - spare
            out = [part[:kept], *([word] for word in part[kept:]), *out]
        return out


def _spelt(word: str, known: set[str]) -> str:
    """Return an option that is spelt with underscores with hyphens; other words stay."""
    name, equals, value = word.partition("=")
    plain = name.replace("_", "-")
    return f"{plain}{equals}{value}" if name.startswith("--") and plain in known else word


def _split(args: Sequence[str], many: set[str], one: set[str]) -> list[list[str]]:
    """Split a command line into arguments, and options with the words that they may take."""
    parts: list[list[str]] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*parts, [word], *([argument] for argument in rest)]
        taken = 0
        if word in many:
            while taken < len(rest) and not rest[taken].startswith("-"):
                taken += 1
        elif word in one:
            taken = min(1, len(rest))
        parts.append([word, *rest[:taken]])
        del rest[:taken]
    return parts


def _is_argument(part: Sequence[str]) -> bool:
    return not part[0].startswith("-")
