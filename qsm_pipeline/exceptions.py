"""Errors that end in one clear sentence for the user."""

from collections.abc import Iterable
from difflib import get_close_matches

from qsm_pipeline.exit_codes import ExitCode


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known word that is nearest to one, empty if none is near.

    Examples
    --------
    >>> did_you_mean("inverson", ["inversion", "unwrap"])
    "; did you mean 'inversion'?"
    """
    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def printable(text: str) -> str:
    """Return a text in one line that a terminal and a page can show, whatever names hold.

    Line breaks, other control characters and bytes that are no UTF-8 become escapes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unforeseen(error: Exception) -> str:
    """Return an error of a kind that nobody thought of as a sentence."""
    return printable(
        f"unforeseen error, {type(error).__name__}: {' '.join(str(error).split())[:300]}; please "
        "report it with what -v prints"
    )


class QSMPipelineError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""

    exit_code = ExitCode.FAILED
    """Of a command that such an error ends."""


class ConfigError(QSMPipelineError):
    """An option has a value that cannot be used."""

    exit_code = ExitCode.USAGE


class BIDSInputError(QSMPipelineError):
    """An input file or its metadata cannot be used for QSM."""

    exit_code = ExitCode.DATA


class NoInputError(BIDSInputError):
    """What is to be read is not there or cannot be read."""

    exit_code = ExitCode.NO_INPUT


class NothingChosenError(BIDSInputError):
    """Labels or filters choose nothing that exists."""

    exit_code = ExitCode.NOTHING_CHOSEN


class InvalidBIDSError(ConfigError):
    """A folder is no valid BIDS data set."""

    exit_code = ExitCode.INVALID_BIDS


class NothingToDoError(ConfigError):
    """There is nothing to run.

    Parameters
    ----------
    message : str
        Why.
    code : ExitCode
        Of the command.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = code


class MaskError(QSMPipelineError):
    """A mask is empty, far too small or far too large."""

    exit_code = ExitCode.DATA


class OutputError(QSMPipelineError):
    """An output cannot be written."""

    exit_code = ExitCode.NO_OUTPUT
