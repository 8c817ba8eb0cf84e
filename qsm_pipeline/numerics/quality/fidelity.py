"""How much of the local field a map does not explain."""

from __future__ import annotations

from torch import Tensor


def inversion_residual_percent(
    local_field_ppm: Tensor, residual_ppm: Tensor, mask: Tensor
) -> float | None:
    """Return the size of the residual over that of the local field, in percent.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field that was inverted.
    residual_ppm : torch.Tensor, shape (X, Y, Z)
        Field minus the field of the map.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the field counts.

    Returns
    -------
    float or None
        Ratio of the root mean squares, both without their mean, which depends on the reference
        alone. None if the field is constant or the mask empty.
    """
    if not mask.any():
        return None
    field, rest = (x[mask].double() for x in (local_field_ppm, residual_ppm))
    size = float((field - field.mean()).norm())
    return 100 * float((rest - rest.mean()).norm()) / size if size > 0 else None
