"""A 3D PatchGAN that tells real susceptibility maps from generated ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Judge overlapping patches of a map.

    Parameters
    ----------
    width : int
        Channels of the first layer.
    layers : int
        Convolutions of stride 2.
    """

    def __init__(self, width: int = 16, layers: int = 3) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        channels = 2
        for layer in range(layers):
            wider = width * 2**layer
            modules.append(nn.Conv3d(channels, wider, 4, stride=2, padding=1, bias=not layer))
            if layer:
                modules.append(nn.InstanceNorm3d(wider, affine=True))
            modules.append(nn.LeakyReLU(0.2))
            channels = wider
        modules.append(nn.Conv3d(channels, 1, 3, padding=1))
        self.network = nn.Sequential(*modules)

    def forward(self, chi: Tensor, mask: Tensor) -> Tensor:
        """Return a score per patch, shape (B, 1, x, y, z).

        Parameters
        ----------
        chi : torch.Tensor, shape (B, 1, X, Y, Z)
            Susceptibility of unit standard deviation, zero outside the mask.
        mask : torch.Tensor, shape (B, 1, X, Y, Z)
            Brain as numbers.
        """
        return self.network(torch.cat([chi, mask], dim=1))
