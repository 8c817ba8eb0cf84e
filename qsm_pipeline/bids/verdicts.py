"""The verdict on a map, as its quality file holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LEVELS = ("good", "look", "wrong")


@dataclass(frozen=True)
class Verdict:
    """The verdict on a map in words.

    Parameters
    ----------
    level : str
        ``good``, ``look`` or ``wrong``.
    reason, action, figure : str
        What is probably wrong, what to do, and the name of the picture; empty for a good map.
    """

    level: str
    reason: str = ""
    action: str = ""
    figure: str = ""

    @classmethod
    def of(cls, found: Any) -> Verdict | None:
        """Return the verdict that ``Verdict`` of a quality file holds, None if it is none."""
        if not isinstance(found, dict) or found.get("Level") not in LEVELS:
            return None
        return cls(*(str(found.get(key, "")) for key in ("Level", "Reason", "Action", "Figure")))

    def __str__(self) -> str:
        if not self.reason:
            return self.level
        return f"{self.level}: {self.reason}. What to do: {self.action}"
