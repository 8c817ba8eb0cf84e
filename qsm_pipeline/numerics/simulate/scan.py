"""The raw multi-echo scan of a simulated head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.simulate.anatomy import random_anatomy
from qsm_pipeline.numerics.simulate.fields import (
    around_head,
    field_of_head,
    scanner_position_mm,
    second_order_shim,
)
from qsm_pipeline.numerics.simulate.head import simulate_head
from qsm_pipeline.numerics.simulate.signal import ScanParams, complex_signal
from qsm_pipeline.numerics.simulate.subvoxels import (
    cube_parts,
    merge,
    most_frequent,
    repeat,
    subdivided,
)


@dataclass(frozen=True)
class Scan:
    """A raw scan with its truth.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, growing where the field is higher, and magnitude, whose mean in the brain
        would be 1 at echo time zero.
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility in the brain, zero outside.
    total_field_ppm, local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Shimmed field of everything, and of the brain alone.
    brain : torch.Tensor, shape (X, Y, Z), bool
        Brain with its CSF.
    labels : torch.Tensor, shape (X, Y, Z), uint8
        Tissues.
    """

    phase_rad: Tensor
    magnitude: Tensor
    chi_ppm: Tensor
    total_field_ppm: Tensor
    local_field_ppm: Tensor
    brain: Tensor
    labels: Tensor


def simulate_scan(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    params: ScanParams | None = None,
    *,
    seed: int = 0,
    repetition: int = 0,
    n_lesions: int = 0,
    iron: float | None = None,
    device: torch.device | str = "cpu",
) -> Scan:
    """Scan the head of :func:`simulate_head`.

    Parameters
    ----------
    shape : tuple of int, length 3
        Matrix.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner RAS+ mm, with the brain's middle near the scanner's origin; may be oblique
        and anisotropic.
    params : ScanParams, optional
        Sequence.
    seed : int
        Of the head, the receive phase and the noise.
    repetition : int
        Which scan of the same head: each has noise of its own.
    n_lesions : int
        Number of microbleeds and calcifications.
    iron : float, optional
        As of :func:`simulate_head`.
    device
        Where to compute.

    Returns
    -------
    Scan
        The same head in the same field for every affine. Voxels much longer than wide are cut
        into about cubes over which the signal is summed.

    Raises
    ------
    ValueError
        If no brain lies in the field of view.
    """
    params = params or ScanParams()
    affine = np.asarray(affine, dtype=float)
    parts = cube_parts(affine)
    nx, ny, nz = (n * p for n, p in zip(shape, parts, strict=True))
    fine_affine = subdivided(affine, parts)
    placement = around_head((nx, ny, nz), fine_affine, random_anatomy(seed).pose)
    whole = simulate_head(
        placement.shape, placement.affine, seed, n_lesions=n_lesions, iron=iron, device=device
    )
    mask = merge(whole.brain[placement.inside].float(), parts) > 0.5
    if not mask.any():
        raise ValueError(
            f"The field of view of {shape} voxels holds no brain; the affine must place it near "
            "the scanner's origin"
        )
    local_source = whole.brain.clone()
    local_source[placement.inside] = repeat(mask, parts)
    total, local = field_of_head(whole.chi_ppm, local_source, placement.grid)
    position = scanner_position_mm(placement.shape, placement.affine, device)
    total = total + second_order_shim(total, whole.brain, position)
    total, local = total[placement.inside], local[placement.inside]
    position, head = position[(slice(None), *placement.inside)], whole.crop(placement.inside)
    signal = complex_signal(total, head, position, params, parts, seed)
    noise = torch.Generator().manual_seed(seed + 104729 + 7919 * repetition)
    for echo in signal:
        draw = torch.randn(2, *shape, generator=noise).to(device) / params.snr
        echo += torch.complex(draw[0], draw[1])
    return Scan(
        phase_rad=signal.angle(),
        magnitude=signal.abs(),
        chi_ppm=merge(head.chi_ppm, parts) * mask,
        total_field_ppm=merge(total, parts),
        local_field_ppm=merge(local, parts),
        brain=mask,
        labels=most_frequent(head.labels, parts),
    )
