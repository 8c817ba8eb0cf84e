"""What a step used, and what it found in the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Provenance:
    """What a result says of how it was made.

    Parameters
    ----------
    parameters : mapping
        Methods by name and the numbers that they really used; units stand in the names.
    facts : mapping
        What was decided or found in the data.
    warnings : tuple of str
        What people have to know before they use the result, one sentence each.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __or__(self, other: Provenance) -> Provenance:
        """Return both; the other one wins where both speak."""
        return Provenance(
            {**self.parameters, **other.parameters},
            {**self.facts, **other.facts},
            (*self.warnings, *other.warnings),
        )
