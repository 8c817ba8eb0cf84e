"""Earlier maps of the generator, so that the discriminator does not forget them."""

from __future__ import annotations

import torch
from torch import Tensor


class ImageHistory:
    """Replace half of what passes through by something from before.

    Parameters
    ----------
    size : int
        How many samples to keep; 0 passes everything through.

    References
    ----------
    Shrivastava et al. 2017, arXiv 1612.07828.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.samples: list[Tensor] = []

    def exchange(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return a batch of the same shape, some of it from earlier calls."""
        if not self.size:
            return batch
        out = []
        for sample in batch.detach():
            if len(self.samples) < self.size:
                self.samples.append(sample.clone())
            elif torch.rand((), generator=generator) < 0.5:
                place = int(torch.randint(self.size, (), generator=generator))
                sample, self.samples[place] = self.samples[place], sample.clone()
            out.append(sample)
        return torch.stack(out)
