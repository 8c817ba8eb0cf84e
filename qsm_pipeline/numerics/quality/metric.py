"""A metric: its value, what it means, and whether it is out of bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number about a run.

    Parameters
    ----------
    name : str
        Key, such as ``fit_residual``.
    value : float or None
        None where it cannot be computed, such as a fit residual of one echo.
    units : str
        ``1`` for a plain number.
    description : str
        What it is and how it is computed, in one or two sentences.
    reference : str
        DOI, empty for a definition of this software's own.
    minimum, maximum : float, optional
        Limits that it should keep.
    """

    name: str
    value: float | None
    units: str
    description: str
    reference: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def warning(self) -> str:
        """One sentence if the value is not within its limits, else empty."""
        if self.value is None:
            return ""
        what = f"{self.name} is {self.value:.3g}" + (f" {self.units}" if self.units != "1" else "")
        if self.minimum is not None and self.value < self.minimum:
            return f"{what}, expected at least {self.minimum:g}"
        if self.maximum is not None and self.value > self.maximum:
            return f"{what}, expected at most {self.maximum:g}"
        return ""

    def within(self, limits: Mapping[str, float]) -> Metric:
        """Return the metric with its limits, the keys ``min_<name>`` and ``max_<name>``.

        A limit that is not finite is none.
        """
        value = self.value if self.value is not None and math.isfinite(self.value) else None
        low, high = (limits.get(f"{end}_{self.name}", math.nan) for end in ("min", "max"))
        return Metric(
            self.name,
            value,
            self.units,
            self.description,
            self.reference,
            low if math.isfinite(low) else None,
            high if math.isfinite(high) else None,
        )
