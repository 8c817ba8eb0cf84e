"""How strongly the closed-form inversions are held back by a field's error."""

from __future__ import annotations

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox

WEIGHT = 0.085
"""Weight of Tikhonov's penalty for an error as strong as the field."""
ERROR_EXPONENT = 1.5
"""The power of the error with which it grows."""
THRESHOLD = 2.7
"""What the root of that weight is multiplied by for the smallest kernel that is divided by."""


def tikhonov_weight(box: SpectralBox, problem: InversionProblem) -> float:
    """Return the weight of the squared susceptibility.

    It follows the standard deviation of the whole error. A weight for each frequency, larger where
    the error is, was worse: susceptibility too is stronger at low frequencies.

    Parameters
    ----------
    box : SpectralBox
        The padded problem.
    problem : InversionProblem
        For its error.

    Returns
    -------
    float
        Without unit, as the squared dipole kernel to which it is added.
    """
    error_ppm = float(problem.error.density(box.dipole.frequency).mean()) ** 0.5
    relative = error_ppm / problem.spread_ppm if problem.spread_ppm > 0 else 1.0
    return WEIGHT * relative**ERROR_EXPONENT


def dipole_threshold(
    box: SpectralBox,
    problem: InversionProblem,
    threshold: float | None,
    factor: float = THRESHOLD,
) -> float:
    """Return where the dipole kernel counts as small: the given threshold, else by the error."""
    if threshold is not None:
        return threshold
    return factor * tikhonov_weight(box, problem) ** 0.5
