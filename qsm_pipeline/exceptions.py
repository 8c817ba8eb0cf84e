"""Errors that end in one clear sentence for the user."""


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
