"""What the code of the package is known by: it changes where the version does not."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import qsm_pipeline

_PACKAGE = Path(qsm_pipeline.__file__).parent


@cache
def code_hash(package: Path = _PACKAGE) -> str:
    """Return a hash of the code of a package.

    Results that other code made are not used again.

    Parameters
    ----------
    package : pathlib.Path
        Its folder.

    Returns
    -------
    str
        Ten hexadecimal digits.
    """
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        found.update(f"{path.relative_to(package).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:10]
