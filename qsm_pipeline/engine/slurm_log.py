"""What Slurm itself writes into the log of a job."""

from __future__ import annotations

import re

_SLURM = re.compile(r"^slurmstepd(?:-\S+)?: error: (.*)")


def told_by_slurm(log: list[str]) -> list[str]:
    """Return what Slurm wrote into the log of a job that it ended, each sentence once."""
    return list(dict.fromkeys(match[1] for match in map(_SLURM.match, log) if match))
