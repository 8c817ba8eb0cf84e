"""What the scanner measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.contracts import (
    check_echo_times,
    check_field_strength,
    check_finite,
    check_volume,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.params.phase import READOUTS


@dataclass(frozen=True)
class Scan:
    """A gradient-echo scan, as measured or with its phase corrected or unwrapped.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase, larger where the field is higher.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    echo_times_s : sequence of float, length E
        Ascending.
    b0_tesla : float
        Field strength.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm; B0 is along the scanner's third axis.
    readout : {"unknown", "monopolar", "bipolar"}
        Whether even echoes were read in the other direction.
    echo_numbers : sequence of int, length E, optional
        From 1, where some are missing; 1 to E by default.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    phase_rad: Tensor
    magnitude: Tensor
    echo_times_s: tuple[float, ...]
    b0_tesla: float
    affine: np.ndarray
    readout: str = "unknown"
    echo_numbers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "echo_times_s", tuple(float(t) for t in self.echo_times_s))
        shape = tuple(self.phase_rad.shape)
        if len(shape) != 4:
            raise ValueError(f"Expected phase_rad of shape (echoes, X, Y, Z), got {shape}")
        check_echo_times(self.echo_times_s, shape[0])
        check_field_strength(self.b0_tesla)
        for name in ("phase_rad", "magnitude"):
            check_volume(name, getattr(self, name), shape)
            check_finite(name, getattr(self, name))
        if np.shape(self.affine) != (4, 4):
            raise ValueError(f"Expected an affine of shape (4, 4), got {np.shape(self.affine)}")
        if self.readout not in READOUTS:
            raise ValueError(f"Expected a readout of {', '.join(READOUTS)}, got {self.readout!r}")
        if self.echo_numbers is not None:
            object.__setattr__(self, "echo_numbers", tuple(self.echo_numbers))
            if len(self.echo_numbers) != shape[0]:
                raise ValueError(f"Expected {shape[0]} echo_numbers, got {len(self.echo_numbers)}")
        assert self.grid

    @cached_property
    def grid(self) -> Grid:
        """Geometry of the volumes."""
        x, y, z = self.phase_rad.shape[1:]
        return Grid.from_affine((x, y, z), self.affine)

    @property
    def mean_rad_per_ppm(self) -> float:
        """Phase in radians of a field of 1 ppm at the mean echo time."""
        times = self.echo_times_s
        return rad_per_s_per_ppm(self.b0_tesla) * sum(times) / len(times)

    def within(self, box: BoundingBox) -> Scan:
        """Return the part of the scan in a box."""
        affine = np.array(self.affine, dtype=float)
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box.slices]
        phase, magnitude = box.cut(self.phase_rad), box.cut(self.magnitude)
        return replace(self, phase_rad=phase, magnitude=magnitude, affine=affine)

    def with_phase(self, phase_rad: Tensor) -> Scan:
        """Return the scan with another phase."""
        return replace(self, phase_rad=phase_rad)
