"""Power of a windowed field by frequency and dipole response, and what spectra would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import fast_size, frequencies, irfft3, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel
from qsm_pipeline.numerics.core.voxels import at, voxels_of
from qsm_pipeline.numerics.field_error.window import WindowedField

LOWEST, HIGHEST = 1.1, 28.0
"""Frequencies, over those of the mask's size, between which leaks are computed: .01 to .25 per mm
in a head. Above, the window hardly leaks."""
FARTHEST = 1.7
"""Over the highest: nodes beyond leak nothing down to these frequencies."""
STEP = math.sqrt(2)
"""Ratio of one frequency to the next at which a spectrum is free."""
STEEPNESS = 3.0
"""Between these a spectrum over ``k ** -STEEPNESS`` is linear in the logarithm of k."""
RESPONSES = (0.03, 0.06, 0.1, 0.16, 0.25)
"""What divides the groups by the size of the dipole kernel."""
GROUPS = len(RESPONSES) + 1
SAMPLED = 200_000
"""Frequencies that are enough to know what is folded back."""
BAND = 0.92
"""Share of the Nyquist frequency along each axis; beyond, the dipole kernel of a tilted grid jumps
and the field of single voxels leaks."""


@dataclass(frozen=True)
class BinnedPower:
    """Mean power in groups of frequencies, and the responses to spectra that are free at nodes.

    Parameters
    ----------
    power : torch.Tensor, shape (B,)
        Of the field.
    modes : torch.Tensor, shape (B,)
        How many independent values are in the mean.
    frequency_per_mm, response : torch.Tensor, shape (B,)
        Root mean square of frequency and of the dipole kernel.
    nodes_per_mm : torch.Tensor, shape (K,)
        Frequencies at which the spectra are free.
    signal, noise : torch.Tensor, shape (B, K)
        Power for unit spectral density of susceptibility or of the field's error at a node.
    folded : torch.Tensor, shape (B, K)
        The same for what lies beyond the Nyquist frequencies: voxels measure a mean, whose field
        the dipole kernel at their own frequencies does not give.
    white : float
        Power for white noise of unit variance at weight 1, in every group.
    kept : torch.Tensor, shape (B,)
        Numbers of the groups among all, of which some are empty.
    count : int
        How many there are in all.
    """

    power: Tensor
    modes: Tensor
    frequency_per_mm: Tensor
    response: Tensor
    nodes_per_mm: Tensor
    signal: Tensor
    noise: Tensor
    folded: Tensor
    white: float
    kept: Tensor
    count: int


def binned_power(field: WindowedField) -> BinnedPower:
    """Return the power of a field and the expected responses, the window's leak included.

    The expected power of a stationary process through a window is the transform of its
    autocovariance times that of the window: exact, whatever the window's shape.

    References
    ----------
    Sykulski et al. 2019, doi:10.1093/biomet/asy071 (debiased Whittle likelihood).
    """
    grid, highest = field.grid, HIGHEST / field.size_mm
    nodes = _nodes(grid, field.size_mm)
    edges = edges_between(nodes)
    divide = sum(e < highest for e in edges) - 1  # up to this edge leaks are computed
    power = rfft3(field.values_ppm).abs().square()

    cut = coarser(grid, highest)
    low = Bins(cut, edges[: divide + 1], power.device)
    window = low_frequencies(rfft3(field.window), cut.shape).abs().square()
    covariance = irfft3(window, cut.shape) * (math.prod(cut.shape) / math.prod(grid.shape))
    squared = low.dipole.square()
    tilted = low.frequency.clamp(min=nodes[0]) ** -STEEPNESS
    signals: list[Tensor] = []
    noises: list[Tensor] = []
    nothing = torch.zeros(low.number, dtype=torch.float64, device="cpu")
    for node in nodes:
        if node > FARTHEST * highest:
            signals.append(nothing)
            noises.append(nothing)
            continue
        bump = hat(low.frequency, node, nodes[0]) * tilted * node**STEEPNESS
        for columns, process in ((signals, bump * squared), (noises, bump)):
            through = rfft3(irfft3(process, cut.shape).mul_(covariance)).real
            columns.append(low.means(through))
    signal, noise = torch.stack(signals, 1), torch.stack(noises, 1)

    top = Bins(grid, edges[divide:], power.device)
    energy = float(field.window.square().sum())
    last = slice(-GROUPS, None)
    leak = signal[last].sum(1) / noise[last].sum(1) - low.response[last].square()
    leak = (
        leak.clamp(min=0).repeat(top.radial)
        * (low.frequency_per_mm[-1] / top.frequency_per_mm) ** 2
    )
    bumps = [
        hat(top.frequency_per_mm, n, nodes[0]) * (n / top.frequency_per_mm) ** STEEPNESS
        for n in nodes
    ]
    local = energy * torch.stack(bumps, 1)
    independent = energy**2 / float((field.window**4).sum()) / field.window.numel()
    both: list[tuple[Tensor, Tensor]] = [
        (low.means(low_frequencies(power, cut.shape)), top.means(power)),
        (low.counts * independent, top.counts * independent),
        (low.frequency_per_mm, top.frequency_per_mm),
        (low.response, top.response),
        (signal, local * (top.response.square() + leak)[:, None]),
        (noise, local),
        (energy * low.folded(nodes, grid), energy * top.folded(nodes, grid)),
    ]
    counts = torch.cat(both[1])
    kept = (counts > 0).nonzero()[:, 0]
    names = ("power", "modes", "frequency_per_mm", "response", "signal", "noise", "folded")
    joined = {n: torch.cat(x)[kept].cpu() for n, x in zip(names, both, strict=True)}
    return BinnedPower(
        **joined,
        nodes_per_mm=torch.tensor(nodes, dtype=torch.float64, device="cpu"),
        white=field.white_energy,
        kept=kept.cpu(),
        count=len(counts),
    )


class Bins:
    """Groups of the frequencies of a grid, by their size and by that of the dipole kernel."""

    def __init__(self, grid: Grid, edges: list[float], device: torch.device) -> None:
        axes = frequencies(grid.shape, grid.voxel_size_mm, device=device, dtype=torch.float32)
        self.frequency = (axes[0].square() + axes[1].square() + axes[2].square()).sqrt()
        self.dipole = dipole_kernel(grid, device=device)
        self.radial = len(edges) - 1
        self.number = self.radial * GROUPS
        used = (self.frequency > edges[0]) & (self.frequency <= edges[-1])
        for k, voxel in zip(axes, grid.voxel_size_mm, strict=True):
            used &= 2 * voxel * k.abs() < BAND
        self._used = voxels_of(used)
        frequency, response = (at(x, self._used) for x in (self.frequency, self.dipole.abs()))
        along = torch.bucketize(frequency, torch.tensor(edges, device=device)) - 1
        across = torch.bucketize(response, torch.tensor(RESPONSES, device=device))
        # sums are in double precision, which not every device has
        self._group = (along * GROUPS + across).cpu()
        self._axes = axes
        self.counts = torch.bincount(self._group, minlength=self.number).double()
        frequency = self.frequency.clamp(min=1e-9)
        self.frequency_per_mm = self.means(frequency**-STEEPNESS) ** (-1 / STEEPNESS)
        self.response = self.means(self.dipole.square()).sqrt()

    def means(self, x: Tensor) -> Tensor:
        """Return the mean of a half spectrum in each group, not a number where it is empty."""
        total = torch.bincount(self._group, at(x, self._used).cpu().double(), self.number)
        return total / self.counts

    def folded(self, nodes: list[float], grid: Grid) -> Tensor:
        """Return the mean power in each group that the voxels of a grid fold back, (groups, K)."""
        some = slice(None, None, 1 + len(self._group) // SAMPLED)
        group, columns = self._group[some], len(nodes) + 1
        used = self._used[some]
        inner = [at(k.expand(self.dipole.shape), used).cpu() for k in self._axes]
        total = torch.zeros(self.number * columns, dtype=torch.float64, device="cpu")
        for axis, voxel in enumerate(grid.voxel_size_mm):
            beyond = list(inner)
            beyond[axis] = beyond[axis] - torch.where(beyond[axis] < 0, -1, 1) / voxel
            x, y, z = beyond
            squared = x.square() + y.square() + z.square()
            along = grid.b0_dir[0] * x + grid.b0_dir[1] * y + grid.b0_dir[2] * z
            seen = (1 / 3 - along.square() / squared) * torch.sinc(beyond[axis] * voxel)
            power = (seen.square() * squared ** (-STEEPNESS / 2)).double()
            place = (0.5 * squared.log() - math.log(nodes[0])) / math.log(STEP)
            lower = place.floor().clamp(0, len(nodes) - 1)
            above = (place - lower).clamp(0, 1)
            number = group * columns + lower.long()
            total += torch.bincount(number, power * (1 - above), len(total))
            total += torch.bincount(number + 1, power * above, len(total))
        counts = torch.bincount(group, minlength=self.number).clamp(min=1)
        scale = torch.tensor(nodes, dtype=torch.float64, device="cpu") ** STEEPNESS
        return total.reshape(self.number, columns)[:, :-1] * scale / counts[:, None]


def _nodes(grid: Grid, size_mm: float) -> list[float]:
    corner = sum((0.5 / v) ** 2 for v in grid.voxel_size_mm) ** 0.5
    count = math.ceil(math.log(corner * size_mm / LOWEST) / math.log(STEP)) + 1
    return [LOWEST / size_mm * STEP**i for i in range(count)]


def edges_between(nodes: list[float]) -> list[float]:
    """Return the frequencies that divide the groups: half way between the nodes."""
    return [n * STEP**0.5 for n in nodes]


def hat(frequency: Tensor, node: float, lowest: float) -> Tensor:
    """Return 1 at a node and 0 at the others, linear in the logarithm of the frequency."""
    place = (frequency.clamp(min=lowest) / node).log().div_(math.log(STEP))
    return (1 - place.abs()).clamp_(min=0)


def coarser(grid: Grid, highest: float) -> Grid:
    """Return the coarsest grid of the same extent that still has a frequency."""
    pairs = list(zip(grid.shape, grid.voxel_size_mm, strict=True))
    shape = tuple(min(n, fast_size(math.ceil(2 * highest * n * v))) for n, v in pairs)
    voxel = tuple(n * v / m for (n, v), m in zip(pairs, shape, strict=True))
    return Grid(shape, voxel, grid.b0_dir)


def low_frequencies(spectrum: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the low frequencies of a half spectrum, as that of a coarser grid."""
    for axis in range(2):
        half, n = shape[axis] // 2, spectrum.shape[axis]
        if shape[axis] < n:
            parts = [spectrum.narrow(axis, 0, half), spectrum.narrow(axis, n - half, half)]
            spectrum = torch.cat(parts, axis)
    return spectrum[..., : shape[2] // 2 + 1]
