"""Errors that end in one clear sentence for the user."""


def printable(text: str) -> str:
    """Return a text in one line that a terminal and a page can show, whatever names hold.

    Line breaks, other control characters and bytes that are no UTF-8 become escapes.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class QSMPipelineError(Exception):
    """Base of all errors whose message is meant for the user as it stands."""


class ConfigError(QSMPipelineError):
    """An option has a value that cannot be used."""


class BIDSInputError(QSMPipelineError):
    """An input file or its metadata cannot be used for QSM."""


class MaskError(QSMPipelineError):
    """A mask is empty, far too small or far too large."""


class OutputError(QSMPipelineError):
    """An output cannot be written."""
