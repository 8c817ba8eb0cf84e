"""nipype with its defaults: to be imported before anything else imports it.

nipype reads the ``nipype.cfg`` of HOME and of the current folder when it is imported. What a user
has set there for other work would change ours, or end it: a log folder that is not there any more
is a traceback. Its plugins import IPython where that is installed, half a second in which Ctrl-C
is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from configparser import ConfigParser, RawConfigParser
from pathlib import Path


def _read(parser: ConfigParser, names: Iterable[str], encoding: str | None = None) -> list[str]:
    wanted = [name for name in names if Path(name).name != "nipype.cfg"]
    return RawConfigParser.read(parser, wanted, encoding)


ConfigParser.read = _read
_hides_ipython = "IPython" not in sys.modules
if _hides_ipython:
    sys.modules["IPython"] = None  # type: ignore[assignment]
try:
    import nipype.pipeline.plugins  # noqa: F401
finally:
    del ConfigParser.read
    if _hides_ipython:
        del sys.modules["IPython"]
