"""How much less leaks into the cone because susceptibility ends where the mask does."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error.expected import (
    STEEPNESS,
    BinnedPower,
    Bins,
    coarser,
    edges_between,
    hat,
    low_frequencies,
)
from qsm_pipeline.numerics.field_error.window import WindowedField

HIGHEST = 16.0
"""Over the frequency of the mask's size: above, the end of the mask makes no difference."""
DRAWS = 6


def support_gain(field: WindowedField, power: BinnedPower, curve: Tensor) -> Tensor:
    """Return the ratio of the power of a susceptibility in the mask to one that has no end.

    Parameters
    ----------
    field : WindowedField
        The window and the mask.
    power : BinnedPower
        Its groups.
    curve : torch.Tensor, shape (K,)
        Spectral density of susceptibility at the nodes.

    Returns
    -------
    torch.Tensor, shape (B,)
        Near 1 but at low frequencies, from pairs of random maps with the same seeds.
    """
    device = field.window.device
    cut = coarser(field.grid, HIGHEST / field.size_mm)
    scale = cut.voxel_volume_mm3 / field.grid.voxel_volume_mm3
    window, support = (
        irfft3(low_frequencies(rfft3(x), cut.shape), cut.shape) / scale
        for x in (field.window, field.support)
    )
    shape = fast_shape(cut.shape, [n // 3 for n in cut.shape])
    window, support = pad_to(window, shape), pad_to(support, shape)
    grid = Grid(shape, cut.voxel_size_mm, cut.b0_dir)
    edges = edges_between(power.nodes_per_mm.tolist())
    edges = edges[: sum(e < HIGHEST / field.size_mm for e in edges)]
    bins = Bins(grid, edges, device)
    amplitude = _density(bins.frequency, power.nodes_per_mm.tolist(), curve.tolist()).sqrt()
    amplitude[0, 0, 0] = 0
    generator = torch.Generator().manual_seed(0)
    ended, endless = torch.zeros(2, bins.number, dtype=torch.float64, device="cpu")
    for _ in range(DRAWS):
        white = torch.randn(shape, generator=generator, device="cpu").to(device)
        spectrum = rfft3(white).mul_(amplitude)
        inside = rfft3(irfft3(spectrum, shape).mul_(support))
        for total, chi in ((ended, inside), (endless, spectrum)):
            seen = rfft3(irfft3(chi * bins.dipole, shape).mul_(window))
            total += bins.means(seen.abs().square())
    gain = torch.ones(power.count, dtype=torch.float64, device="cpu")
    ratio = ended / endless
    gain[: bins.number] = torch.where(ratio.isfinite(), ratio, 1.0).cpu()
    return gain[power.kept]


def _density(frequency: Tensor, nodes: list[float], curve: list[float]) -> Tensor:
    relative = torch.zeros_like(frequency)
    for n, c in zip(nodes, curve, strict=True):
        relative += hat(frequency, n, nodes[0]) * (c * n**STEEPNESS)
    return relative * frequency.clamp(min=nodes[0]) ** -STEEPNESS
