"""Values that stand apart from the others of a group."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_ROBUST_Z = 3.5
"""Beyond it a value counts as an outlier (Iglewicz and Hoaglin 1993, ISBN 978-0-87389-247-6)."""
FEWEST = 10
"""Groups with fewer values have no outliers: their spread is too uncertain."""
_MAD_TO_SD = 1.4826
_MEAN_DEVIATION_TO_SD = 1.2533


def robust_z(values: Tensor) -> Tensor:
    """Return the distance of each value from the median of its column in robust deviations.

    Parameters
    ----------
    values : torch.Tensor, shape (N, M)
        One row for each member of the group; NaN where a value is missing.

    Returns
    -------
    torch.Tensor, shape (N, M)
        NaN where the value is missing or the column has fewer than :data:`FEWEST`. The deviation
        is the median absolute one, or the mean absolute one where more than half of the values
        are the same; 0 in a column of one value.
    """
    centre = values.nanquantile(0.5, dim=0, keepdim=True)
    distance = (values - centre).abs()
    mad = _MAD_TO_SD * distance.nanquantile(0.5, dim=0, keepdim=True)
    mean = _MEAN_DEVIATION_TO_SD * distance.nanmean(0, keepdim=True)
    spread = torch.where(mad > 0, mad, mean)
    z = torch.where(spread > 0, (values - centre) / spread, 0 * values)
    enough = (~values.isnan()).sum(0, keepdim=True) >= FEWEST
    return torch.where(enough, z, torch.nan)
