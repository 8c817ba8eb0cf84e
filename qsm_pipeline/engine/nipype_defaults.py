"""nipype with its defaults: to be imported before anything else imports it.

nipype reads the ``nipype.cfg`` of HOME and of the current folder when it is imported. What a user
has set there for other work would change ours, or end it: a log folder that is not there any more
is a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from configparser import ConfigParser, RawConfigParser
from pathlib import Path


def _read(parser: ConfigParser, names: Iterable[str], encoding: str | None = None) -> list[str]:
    wanted = [name for name in names if Path(name).name != "nipype.cfg"]
    return RawConfigParser.read(parser, wanted, encoding)


ConfigParser.read = _read
try:
    import nipype  # noqa: F401
finally:
    del ConfigParser.read
