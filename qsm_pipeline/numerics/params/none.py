"""For methods that nothing can be chosen of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoParams:
    """The method has no parameters."""
