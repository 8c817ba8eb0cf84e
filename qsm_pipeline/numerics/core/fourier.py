"""Real FFTs over the last three axes, fast even sizes, zero padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SPATIAL = (-3, -2, -1)


def widest_float(device: torch.device | str | None) -> torch.dtype:
    """Return double precision, or single where a device (Apple's) has no double."""
    return torch.float32 if torch.device(device or "cpu").type == "mps" else torch.float64


def fast_size(n: int) -> int:
    """Return the smallest even size of at least ``n`` whose prime factors are 2, 3, 5 and 7."""
    size = n + n % 2
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def fast_shape(shape: Sequence[int], margin: Sequence[int] | int = 0) -> tuple[int, int, int]:
    """Return a fast FFT shape that leaves at least ``margin`` voxels of padding on each axis."""
    margins = (margin,) * 3 if isinstance(margin, int) else tuple(margin)
    return tuple(fast_size(n + m) for n, m in zip(shape, margins, strict=True))  # type: ignore[return-value]


def pad_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Zero-pad the last three axes at their end to ``shape``."""
    widths = [s - n for s, n in zip(shape, x.shape[-3:], strict=True)]
    if min(widths) < 0:
        raise ValueError(f"Cannot pad {tuple(x.shape[-3:])} to the smaller {tuple(shape)}")
    if not any(widths):
        return x
    return torch.nn.functional.pad(x, (0, widths[2], 0, widths[1], 0, widths[0]))


def crop_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Undo :func:`pad_to`: keep the first ``shape`` voxels of the last three axes."""
    return x[..., : shape[0], : shape[1], : shape[2]]


def rfft3(x: Tensor) -> Tensor:
    """Real FFT over the last three axes (half spectrum along the last)."""
    return torch.fft.rfftn(x, dim=SPATIAL)


def irfft3(k: Tensor, shape: Sequence[int]) -> Tensor:
    """Inverse of :func:`rfft3` for a real volume of ``shape``."""
    return torch.fft.irfftn(k, s=tuple(shape), dim=SPATIAL)


def frequencies(
    shape: Sequence[int],
    voxel_size_mm: Sequence[float],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the frequencies in 1/mm of the half spectrum, shaped to broadcast over it.

    The Nyquist frequency of an even axis is negative on the first two axes and positive on the
    last, as in ``torch.fft``. They are as precise as the device can be by default.
    """
    dtype = dtype or widest_float(device)
    kx = torch.fft.fftfreq(shape[0], voxel_size_mm[0], dtype=dtype, device=device)
    ky = torch.fft.fftfreq(shape[1], voxel_size_mm[1], dtype=dtype, device=device)
    kz = torch.fft.rfftfreq(shape[2], voxel_size_mm[2], dtype=dtype, device=device)
    return kx[:, None, None], ky[None, :, None], kz[None, None, :]


def offsets_mm(
    shape: Sequence[int],
    voxel_size_mm: Sequence[float],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the offsets from the first voxel of a periodic grid, shaped to broadcast over it.

    They have the order in which a kernel is transformed: zero first, the negative ones last.
    """
    dtype = dtype or widest_float(device)
    x, y, z = (
        torch.fft.fftfreq(n, 1 / n, dtype=dtype, device=device) * voxel
        for n, voxel in zip(shape, voxel_size_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]
