"""Parameters of phase unwrapping."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RomeoParams:
    """Parameters of ROMEO.

    Parameters
    ----------
    individual : bool
        Unwrap every echo along paths of its own instead of following the template echo in time.
        Robust where a phase offset is left, less so where late echoes are noisy.
    template_echo : int
        Echo that is unwrapped in space, counted from 1.
    """

    individual: bool = False
    template_echo: int = 1

    def __post_init__(self) -> None:
        if self.template_echo < 1:
            raise ValueError(f"template_echo counts from 1, got {self.template_echo}")


@dataclass(frozen=True)
class RomeoIndividualParams(RomeoParams):
    """Parameters of ROMEO with every echo unwrapped along paths of its own."""

    individual: bool = True
