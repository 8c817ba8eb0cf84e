"""How strongly the closed-form inversions are held back at each frequency of a field's error."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox

WEIGHT = 0.085
"""Weight of Tikhonov's penalty for white noise as strong as the field."""
NOISE_EXPONENT = 1.5
"""The power of the white noise with which it grows."""
THRESHOLD = 2.7
"""What the root of that weight is multiplied by for the smallest kernel that is divided by."""


def tikhonov_weight(box: SpectralBox, problem: InversionProblem) -> Tensor | float:
    """Return the weight of the squared susceptibility at each frequency.

    It grows in proportion to the error's amplitude, not to its power, since susceptibility too is
    stronger at low frequencies.

    Parameters
    ----------
    box : SpectralBox
        The padded problem.
    problem : InversionProblem
        For its error.

    Returns
    -------
    torch.Tensor, half spectrum, or float
        Without unit, as the squared dipole kernel to which it is added.
    """
    error = problem.error
    relative = error.n0_ppm / problem.spread_ppm if problem.spread_ppm > 0 else 1.0
    weight = WEIGHT * relative**NOISE_EXPONENT
    colour = box.colour(error)
    return weight if colour is None else weight * (1 + colour).sqrt_()


def dipole_threshold(
    box: SpectralBox,
    problem: InversionProblem,
    threshold: float | None,
    factor: float = THRESHOLD,
) -> Tensor | float:
    """Return where the dipole kernel counts as small: the given threshold, else by the error."""
    if threshold is not None:
        return threshold
    return factor * tikhonov_weight(box, problem) ** 0.5
