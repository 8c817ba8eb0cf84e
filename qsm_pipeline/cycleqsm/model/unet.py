"""A 3D U-Net behind a space-to-depth stem."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def space_to_depth(x: Tensor) -> Tensor:
    """Turn 2 x 2 x 2 voxels into channels: (B, C, X, Y, Z) to (B, 8 C, X/2, Y/2, Z/2)."""
    b, c, nx, ny, nz = x.shape
    x = x.reshape(b, c, nx // 2, 2, ny // 2, 2, nz // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, nx // 2, ny // 2, nz // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """Undo :func:`space_to_depth`."""
    b, c, nx, ny, nz = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, nx, ny, nz).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, 2 * nx, 2 * ny, 2 * nz)


class _Block(nn.Module):
    """Two convolutions, the second modulated by the geometry and the colour of the error."""

    def __init__(self, inputs: int, outputs: int, geometry: int, colour: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv3d(n, outputs, 3, padding=1, bias=False) for n in (inputs, outputs)]
        )
        self.sizes = (geometry, colour)
        self.gain = nn.Linear(geometry, outputs)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)
        self.colour = nn.Linear(colour, outputs, bias=False)
        nn.init.zeros_(self.colour.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        geometry, colour = condition.split(self.sizes, dim=1)
        gain = ((1 + self.gain(geometry)) * self.colour(colour).exp())[:, :, None, None, None]
        x = nn.functional.leaky_relu(self.convolutions[0](x), 0.1, inplace=True)
        gain = gain.to(x.dtype)
        x = self.convolutions[1](x * gain if torch.is_grad_enabled() else x.mul_(gain))
        return nn.functional.leaky_relu(x, 0.1, inplace=True)


class SpaceToDepthUNet(nn.Module):
    """U-Net that works on blocks of 2 x 2 x 2 voxels, a third of the cost of full resolution.

    Parameters
    ----------
    inputs : int
        Input channels; the output has one.
    widths : sequence of int
        Channels of each level, the finest first.
    geometry : int
        Numbers that describe the geometry.
    damping : sequence of float
        One for each number that describes the colour of the error, which are 0 for white noise: a
        new network says less by the exponential of their products.

    Notes
    -----
    No normalisation layers and no biases in the convolutions: the scale of the output follows
    that of the input. Volumes are zero-padded to a multiple of ``stride``; a voxel of the output
    depends on the input within ``reach`` voxels.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], geometry: int, damping: Sequence[float]
    ) -> None:
        super().__init__()
        colour = len(damping)
        self.stride = 2 ** len(widths)
        strides = [2 ** (level + 1) for level in range(len(widths))]
        # two convolutions up and down each level, one at the end, and the blocks themselves
        self.reach = 4 * sum(strides) - 2 * strides[-1] + 2 + self.stride
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        self.encoders.append(_Block(8 * inputs, widths[0], geometry, colour))
        for fine, coarse in pairwise(widths):
            self.downs.append(nn.Conv3d(fine, coarse, 2, stride=2, bias=False))
            self.encoders.append(_Block(coarse, coarse, geometry, colour))
            self.ups.append(nn.ConvTranspose3d(coarse, fine, 2, stride=2, bias=False))
            self.decoders.append(_Block(2 * fine, fine, geometry, colour))
        self.head = nn.Conv3d(widths[0], 8, 3, padding=1, bias=False)
        if not self.head.weight.is_meta:  # where shapes alone are asked for, values cost seconds
            self._draw_weights(damping)

    def _draw_weights(self, damping: Sequence[float]) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
        nn.init.normal_(self.head.weight, std=1e-3)
        last = self.decoders[0] if self.decoders else self.encoders[0]
        with torch.no_grad():
            last.colour.weight.copy_(-torch.tensor(damping))  # type: ignore[union-attr, operator]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return one channel from ``x`` (B, C, X, Y, Z) and ``condition`` (B, K)."""
        shape = x.shape[-3:]
        widths = [w for n in reversed(shape) for w in (0, -n % self.stride)]
        if torch.is_autocast_enabled(x.device.type):  # half as much to move about
            x = x.to(torch.get_autocast_dtype(x.device.type))
        x = space_to_depth(nn.functional.pad(x, widths) if any(widths) else x)
        if x.device.type == "cpu" or x.device.type == "cuda":
            x = x.contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for level, encoder in enumerate(self.encoders):
            if level:
                x = self.downs[level - 1](x)
            x = encoder(x, condition)
            if level < len(self.decoders):
                skips.append(x)
        for level in reversed(range(len(self.decoders))):
            x = torch.cat([skips.pop(), self.ups[level](x)], dim=1)
            x = self.decoders[level](x, condition)
        out = depth_to_space(self.head(x))
        return out[..., : shape[0], : shape[1], : shape[2]]
