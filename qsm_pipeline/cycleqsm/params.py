"""Parameters of CycleQSM as a method of dipole inversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CycleQsmParams:
    """Parameters of CycleQSM.

    Parameters
    ----------
    generator : str
        File of another generator than that of the package.
    memory_gb : float
        Memory for the networks on a CPU, beyond which they run in tiles.
    magnitude : bool
        Keep the edges of the magnitude, where there is one.
    uncertainty : bool
        Also estimate the error of the map.
    """

    generator: str = ""
    memory_gb: float = 6.0
    magnitude: bool = True
    uncertainty: bool = True

    def __post_init__(self) -> None:
        if not self.memory_gb > 0:
            raise ValueError(f"Expected memory_gb > 0, got {self.memory_gb}")
        if self.generator and not Path(self.generator).is_file():
            raise ValueError(f"Expected the file of a generator, found none at {self.generator}")
