"""What has a lock, a record and a page of its own: a participant, or a session that was asked for.

Whoever starts a job for each session (``--session-label``) has jobs of one participant that run
at the same time; they must not share what each of them replaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qsm_pipeline.bids.naming import is_label
from qsm_pipeline.bids.run import Collection, GreRun, Skipped

_SESSION = re.compile(r"_ses-([0-9a-zA-Z+]+)")


@dataclass(frozen=True)
class Unit:
    """A participant, or one session of it.

    Parameters
    ----------
    subject, session : str
        Labels; the session is empty for the participant as a whole.
    """

    subject: str
    session: str = ""

    @classmethod
    def of(cls, label: str) -> Unit:
        """Return the unit of a label."""
        subject, _, session = label.partition("_ses-")
        return cls(subject, session)

    @property
    def label(self) -> str:
        """Name of its files without ``sub-``, such as ``01`` or ``01_ses-a``."""
        return f"{self.subject}_ses-{self.session}" if self.session else self.subject

    @property
    def lock(self) -> str:
        """Name of its lock, see `qsm_pipeline.io.locks.NameLocks`."""
        return f"{self.subject}/{self.session}" if self.session else self.subject

    def has(self, run: GreRun) -> bool:
        """Return whether a run belongs to it."""
        return run.subject == self.subject and self.session in ("", run.session)

    def has_skipped(self, skipped: Skipped) -> bool:
        """Return whether what was left out belongs to it; without a session it is of them all."""
        if skipped.subject != self.subject:
            return False
        named = _SESSION.search(skipped.what)
        return not (self.session and named) or named[1] == self.session


def units_of(found: Collection, sessions: Sequence[str]) -> list[Unit]:
    """Return the units of a command, sorted.

    Parameters
    ----------
    found : Collection
        What it found.
    sessions : sequence of str
        Of ``--session-label``: with them each session is a unit.
    """
    labels = [label.removeprefix("ses-") for label in sessions]
    units = {Unit(run.subject, (run.session or "") if labels else "") for run in found.runs}
    for skipped in found.skipped:
        if is_label(skipped.subject):  # any other name has no place in a path
            each = [Unit(skipped.subject, label) for label in labels] or [Unit(skipped.subject)]
            units |= {unit for unit in each if unit.has_skipped(skipped)}
    return sorted(units, key=lambda unit: (unit.subject, unit.session))
