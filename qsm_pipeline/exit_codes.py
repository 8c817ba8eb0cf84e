"""How a command ends, as the BIDS execution specification (draft) and sysexits(3) number it."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of a command.

    The numbers 2 and 126 to 165 belong to the shell: a command that is stopped by a signal ends
    with 128 and its number, such as 130 (Ctrl-C) and 143 (SIGTERM).
    """

    meaning: str

    def __new__(cls, number: int, meaning: str) -> ExitCode:
        """Make a member of a number and a sentence."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member

    OK = 0, "All that was asked for is done."
    FAILED = 1, "A run failed, was left out for a fault, or is missing; everything else is done."
    INVALID_BIDS = 16, "The data set is not valid BIDS. Nothing was run."
    LEVEL = 17, "The analysis level is neither participant nor group."
    NOTHING_CHOSEN = 18, "The labels, exclusions or filters given choose nothing. Nothing was run."
    USAGE = 64, "The command, a setting or a folder cannot be used like this. Nothing was run."
    DATA = 65, "The data, or a file that belongs to them, are at fault. Nothing was run."
    NO_INPUT = 66, "What is to be read is not there or cannot be read. Nothing was run."
    NO_OUTPUT = 73, "An output folder or file cannot be made."
    IO = 74, "Reading or writing broke off: the disk is full, or the file system failed."
    TEMPORARY = 75, "Another command works on all that was asked for; later it will succeed."


def of_nothing(reasons: Collection[ExitCode]) -> ExitCode:
    """Return how a command ends that found nothing to run.

    Parameters
    ----------
    reasons : collection of ExitCode
        Of all that was left out for a fault; empty if only the user's choice left it out.
    """
    kinds = set(reasons) or {ExitCode.NOTHING_CHOSEN}
    return kinds.pop() if len(kinds) == 1 else ExitCode.DATA
