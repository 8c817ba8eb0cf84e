"""A network on a volume too large for the memory: tiles with enough of their surroundings."""

from __future__ import annotations

from itertools import product
from typing import Any

from torch import Tensor

from qsm_pipeline.cycleqsm.model.unet import SpaceToDepthUNet


def in_tiles(network: SpaceToDepthUNet, x: Tensor, geometry: Tensor, core: int) -> Tensor:
    """Evaluate a network tile by tile.

    Parameters
    ----------
    network : SpaceToDepthUNet
        It has no normalisation layers, so a voxel depends on its surroundings within
        ``network.reach`` alone: tiles with that much overlap give what the whole volume gives,
        and need no blending.
    x : torch.Tensor, shape (B, C, X, Y, Z)
        Input.
    geometry : torch.Tensor, shape (B, K)
        Condition of the network.
    core : int
        Edge of a tile without its overlap, rounded up to the network's stride.

    Returns
    -------
    torch.Tensor, shape (B, 1, X, Y, Z)
        As of the network itself.
    """
    stride = network.stride
    core = -(-core // stride) * stride
    halo = -(-network.reach // stride) * stride  # so that a tile's blocks are the volume's
    shape = x.shape[-3:]
    out = x.new_empty((x.shape[0], 1, *shape))
    for starts in product(*(range(0, n, core) for n in shape)):
        outer: list[Any] = [...]
        inner: list[Any] = [...]
        target: list[Any] = [...]
        for start, n in zip(starts, shape, strict=True):
            low, high = max(0, start - halo), min(n, start + core + halo)
            stop = min(n, start + core)
            outer.append(slice(low, high))
            inner.append(slice(start - low, stop - low))
            target.append(slice(start, stop))
        tile = network(x[tuple(outer)], geometry)
        out[tuple(target)] = tile[tuple(inner)].to(out.dtype)
    return out
