"""Order statistics."""

from __future__ import annotations

from torch import Tensor


def upper_fraction(values: Tensor, fraction: float) -> float:
    """Return the value that about this fraction of ``values``, shape (N,), exceeds."""
    # kthvalue, since torch.quantile refuses more than 16 million values
    rank = round(values.numel() * (1 - fraction))
    return float(values.kthvalue(min(max(1, rank), values.numel())).values)
