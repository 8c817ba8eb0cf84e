"""How much of the local field a map does not explain."""

from __future__ import annotations

from torch import Tensor


def inversion_residual_percent(
    local_field_ppm: Tensor, residual_ppm: Tensor, weights: Tensor
) -> float | None:
    """Return the size of the residual over that of the local field, in percent.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field that was inverted.
    residual_ppm : torch.Tensor, shape (X, Y, Z)
        Field minus the field of the map.
    weights : torch.Tensor, shape (X, Y, Z)
        How much each voxel counts, as in the inversion; zero where the field is not known.

    Returns
    -------
    float or None
        Ratio of the weighted root mean squares, both without their weighted mean, which depends on
        the reference alone. None if the field is constant or nothing counts.
    """
    inside = weights > 0
    if not inside.any():
        return None
    weight, field, rest = (x[inside].double() for x in (weights, local_field_ppm, residual_ppm))
    precision = weight.square() / weight.square().sum()

    def size(values: Tensor) -> float:
        return float((precision * (values - (precision * values).sum()).square()).sum().sqrt())

    return 100 * size(rest) / size(field) if size(field) > 0 else None
