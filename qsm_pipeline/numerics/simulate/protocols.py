"""Random people in random scanners, as raw scans that need only be mapped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.scan import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams

PEOPLE = ("adult", "adult", "newborn", "elderly", "lesions")
"""What :func:`random_protocol` draws from; newborns are smaller and have little iron."""
_SIZE = {"newborn": 0.72}
_IRON = {"newborn": (0.1, 0.4), "elderly": (1.3, 1.9)}
_FIELD_OF_VIEW_MM = (185.0, 220.0, 165.0)
_FIRST_ECHO_S = {1.5: (0.006, 0.010), 3.0: (0.004, 0.007), 7.0: (0.003, 0.005)}
_LAST_ECHO_S = {1.5: (0.035, 0.050), 3.0: (0.022, 0.035), 7.0: (0.015, 0.024)}
_SINGLE_ECHO_S = {1.5: 0.040, 3.0: 0.020, 7.0: 0.009}


@dataclass(frozen=True)
class Protocol:
    """Who is scanned, and how.

    Parameters
    ----------
    people : str
        One of :data:`PEOPLE`.
    params : ScanParams
        Sequence.
    voxel_size_mm : tuple of float, length 3
        Of the scan.
    tilt_deg : float
        Rotation of the volume about the left-right axis.
    slab_mm : float
        Extent along the third axis; infinite for the whole head.
    seed : int
        Decides everything else.
    """

    people: str
    params: ScanParams
    voxel_size_mm: tuple[float, float, float]
    tilt_deg: float
    slab_mm: float
    seed: int

    @property
    def size(self) -> float:
        """Size of the head relative to an adult's."""
        return _SIZE.get(self.people, 1.0)


@dataclass(frozen=True)
class RawScan:
    """What a mapping begins with.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase and magnitude.
    echo_times_s : tuple of float
        As the sidecars say.
    b0_tesla : float
        As the sidecars say.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    brain : torch.Tensor, shape (X, Y, Z), bool
        Brain mask.
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        The truth, zero outside the brain.
    """

    phase_rad: Tensor
    magnitude: Tensor
    echo_times_s: tuple[float, ...]
    b0_tesla: float
    affine: np.ndarray
    brain: Tensor
    chi_ppm: Tensor

    @property
    def voxel_size_mm(self) -> tuple[float, ...]:
        """Lengths of the voxel's edges."""
        return tuple(float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))


def random_protocol(seed: int, finest_mm: float = 2.0) -> Protocol:
    """Draw a protocol; the same seed always gives the same one.

    Parameters
    ----------
    seed : int
        Decides person and sequence.
    finest_mm : float
        Voxels of whole heads are between this and 3 mm: time grows with its third power.
    """
    g = torch.Generator().manual_seed(seed + 32452843)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=g))

    def one_of(count: int) -> int:
        return int(torch.randint(count, (1,), generator=g))

    people = PEOPLE[one_of(len(PEOPLE))]
    tesla = (1.5, 3.0, 3.0, 7.0)[one_of(4)]
    echoes = (1, 2, 3, 4, 5, 6, 8)[one_of(7)]
    if echoes == 1:
        times: tuple[float, ...] = (uniform(0.8, 1.2) * _SINGLE_ECHO_S[tesla],)
    else:
        first, last = uniform(*_FIRST_ECHO_S[tesla]), uniform(*_LAST_ECHO_S[tesla])
        times = tuple(first + (last - first) * n / (echoes - 1) for n in range(echoes))
    params = ScanParams(
        times,
        tesla,
        snr=uniform(40, 120),
        repetition_time_s=max(0.035, times[-1] + 0.008),
    )
    edge = uniform(finest_mm, 2.6)
    thick = edge if uniform(0, 1) < 0.6 else uniform(edge, 3.0)
    slab = uniform(48, 80) if uniform(0, 1) < 0.2 else math.inf
    tilt = uniform(-25, 25) if uniform(0, 1) < 0.6 else 0.0
    return Protocol(people, params, (edge, edge, thick), tilt, slab, seed)


def scan_of(protocol: Protocol) -> RawScan:
    """Simulate the raw scan of a protocol.

    A small head in small voxels has the field of a large one in large voxels.
    """
    shape, affine = _placed(protocol)
    adult = affine.copy()
    adult[:3] /= protocol.size
    g = torch.Generator().manual_seed(protocol.seed + 49979687)
    iron = None
    if protocol.people in _IRON:
        low, high = _IRON[protocol.people]
        iron = low + (high - low) * float(torch.rand(1, generator=g))
    lesions = 1 + int(torch.randint(4, (1,), generator=g)) if protocol.people == "lesions" else 0
    scan = simulate_scan(
        shape, adult, protocol.params, seed=protocol.seed, n_lesions=lesions, iron=iron
    )
    times, tesla = protocol.params.echo_times_s, protocol.params.b0_tesla
    return RawScan(scan.phase_rad, scan.magnitude, times, tesla, affine, scan.brain, scan.chi_ppm)


def _placed(protocol: Protocol) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return matrix and affine of a volume whose middle is the brain's."""
    extent = [length * protocol.size for length in _FIELD_OF_VIEW_MM]
    extent[2] = min(extent[2], protocol.slab_mm)
    voxel = protocol.voxel_size_mm
    nx, ny, nz = (2 * round(e / v / 2) for e, v in zip(extent, voxel, strict=True))
    angle = math.radians(protocol.tilt_deg)
    c, s = math.cos(angle), math.sin(angle)
    matrix = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * np.asarray(voxel)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    middle = np.array([0.0, 0.0, -4.0 if math.isinf(protocol.slab_mm) else 10.0]) * protocol.size
    affine[:3, 3] = middle - matrix @ ((np.array([nx, ny, nz]) - 1) / 2)
    return (nx, ny, nz), affine
