"""Parameters of phase correction."""

from __future__ import annotations

from dataclasses import dataclass

READOUTS = ("unknown", "monopolar", "bipolar")
"""How the echoes of a scan may have been read out."""


@dataclass(frozen=True)
class PhaseOffsetParams:
    """Parameters of the offset removal.

    Parameters
    ----------
    sigma_mm : float
        Standard deviation of the Gaussian that smooths the offset.
    """

    sigma_mm: float = 7.0

    def __post_init__(self) -> None:
        if not self.sigma_mm > 0:
            raise ValueError(f"sigma_mm must be positive, got {self.sigma_mm}")
