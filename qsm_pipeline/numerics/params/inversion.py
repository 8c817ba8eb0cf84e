"""Parameters of dipole inversion."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TkdParams:
    """Parameters of TKD.

    Parameters
    ----------
    threshold : float, optional
        Where the dipole kernel is smaller than this, it is replaced by it; by default it follows
        the field's error at each frequency.
    correct_underestimation : bool
        Divide by the mean of the point spread, which the threshold lowers below one.
    margin_mm : float
        Zero padding around the mask.
    """

    threshold: float | None = None
    correct_underestimation: bool = False
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1 / 3:
            raise ValueError(f"Expected 0 < threshold < 1/3, got {self.threshold}")


@dataclass(frozen=True)
class TikhonovParams:
    """Parameters of the Tikhonov inversion.

    Parameters
    ----------
    regularisation : float, optional
        Weight of the penalty, the same at all frequencies; by default it follows the field's
        error at each.
    penalty : str
        ``identity`` for the norm of the susceptibility, ``gradient`` for that of its gradient.
    margin_mm : float
        Zero padding around the mask.
    """

    regularisation: float | None = None
    penalty: str = "identity"
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        if self.regularisation is not None and not self.regularisation > 0:
            raise ValueError(f"Expected regularisation > 0, got {self.regularisation}")
        if self.penalty not in ("identity", "gradient"):
            raise ValueError(f"Expected penalty identity or gradient, got {self.penalty!r}")


@dataclass(frozen=True)
class RtsParams:
    """Parameters of RTS.

    Parameters
    ----------
    threshold : float, optional
        The first step finds the map where the dipole kernel is larger than this; by default it
        follows the field's error at each frequency.
    least_squares_iterations : int
        Iterations of the first step; few of them, since they amplify noise.
    shrinkage : float
        The second step shortens gradients in each iteration by this fraction of the
        root-mean-square gradient of the first map.
    tolerance : float
        Relative change of the map at which to stop.
    max_iterations : int
        Largest number of iterations of the second step.
    outside : float
        As for TV: the total variation outside the mask counts this fraction where background
        removal made the field.
    margin_mm : float
        Padding around the mask.
    """

    threshold: float | None = None
    least_squares_iterations: int = 3
    shrinkage: float = 1.0
    tolerance: float = 1e-2
    max_iterations: int = 15
    outside: float = 0.01
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        small = self.threshold is None or 0 < self.threshold < 1 / 3
        if not small or not self.shrinkage > 0 or not self.tolerance > 0:
            raise ValueError(
                f"Expected 0 < threshold < 1/3, shrinkage > 0 and tolerance > 0, got {self}"
            )
        if self.least_squares_iterations < 1 or self.max_iterations < 1 or not self.outside >= 0:
            raise ValueError(f"Expected at least one iteration and outside >= 0, got {self}")


@dataclass(frozen=True)
class IlsqrParams:
    """Parameters of iLSQR.

    Parameters
    ----------
    tolerance : float
        Relative residual at which the least squares and the streaks stop.
    least_squares_iterations, streak_iterations : int
        Largest numbers of iterations.
    regularisation : float, optional
        Weight of the squared susceptibility in the least squares; by default it follows the
        field's error at each frequency.
    cone_threshold : float
        Streaks have their spectrum where the dipole kernel is smaller than this.
    flat_fraction, steep_fraction : float
        Gradients count fully in the flattest part of the mask, and not in the steepest.
    margin_mm : float
        Zero padding around the mask.
    """

    tolerance: float = 0.01
    least_squares_iterations: int = 30
    streak_iterations: int = 30
    regularisation: float | None = None
    cone_threshold: float = 0.1
    flat_fraction: float = 0.5
    steep_fraction: float = 0.3
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        if not 0 < self.cone_threshold < 1 / 3 or not self.tolerance > 0:
            raise ValueError(f"Expected 0 < cone_threshold < 1/3 and tolerance > 0, got {self}")
        if self.regularisation is not None and not self.regularisation >= 0:
            raise ValueError(f"Expected regularisation >= 0, got {self.regularisation}")
        if min(self.least_squares_iterations, self.streak_iterations) < 1:
            raise ValueError(f"Expected at least one iteration, got {self}")
        flat, steep = self.flat_fraction, self.steep_fraction
        if not (0 < flat < 1 and 0 < steep < 1 and flat + steep <= 1):
            raise ValueError(
                f"Expected flat_fraction and steep_fraction above 0, at most 1 together: {self}"
            )


@dataclass(frozen=True)
class AdmmParams:
    """Parameters of every inversion by total variation and ADMM.

    Parameters
    ----------
    regularisation : float
        Weight of the total variation in ppm mm for white noise of 0.001 ppm in the field; it
        grows with the white part of the field's error.
    noise_exponent : float
        The power of the noise with which the weight grows.
    noise_floor_ppm : float
        The noise is taken to be at least this, for what it leaves out: residual background and
        errors of the model.
    colour_share : float
        How much of the coloured error is taken for one, as variance: with all of it, structure of
        the same size is smoothed.
    outside : float
        The total variation outside the mask counts this fraction where background removal made
        the field, so that sources outside may explain what it has left.
    gradient_step, data_step : float
        ADMM penalties, the first relative to the regularisation.
    relaxation : float
        Over-relaxation of ADMM, from 1 (none) to less than 2.
    tolerance : float
        Relative change of the map at which to stop.
    max_iterations : int
        Largest number of iterations.
    margin_mm : float
        Padding around the mask.
    """

    regularisation: float = 1e-4
    noise_exponent: float = 1.25
    noise_floor_ppm: float = 5e-4
    colour_share: float = 0.25
    outside: float = 0.01
    gradient_step: float = 100.0
    data_step: float = 0.05
    relaxation: float = 1.0
    tolerance: float = 1e-3
    max_iterations: int = 30
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        for name in ("regularisation", "gradient_step", "data_step", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}")
        if not 1 <= self.relaxation < 2:
            raise ValueError(f"Expected 1 <= relaxation < 2, got {self.relaxation}")
        if not (self.outside >= 0 and self.colour_share >= 0) or self.max_iterations < 1:
            raise ValueError(
                f"Expected outside and colour_share >= 0 and max_iterations >= 1, got {self}"
            )

    def weight(self, noise_ppm: float) -> float:
        """Return the weight of the total variation in ppm mm at a field's white noise."""
        level = max(noise_ppm, self.noise_floor_ppm) / 1e-3
        return self.regularisation * level**self.noise_exponent


@dataclass(frozen=True)
class TvParams(AdmmParams):
    """Parameters of the TV inversion; see `AdmmParams` for the rest.

    Parameters
    ----------
    edge_fraction : float
        The part of the mask with the steepest magnitude, where there is one.
    edge_weight : float
        Cost of gradients there over their cost elsewhere; the mean over the mask stays the same.
        1 to take no notice of the magnitude.
    """

    edge_fraction: float = 0.3
    edge_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.edge_fraction < 1 or not 0 <= self.edge_weight <= 1:
            raise ValueError(
                f"Expected 0 <= edge_fraction < 1 and 0 <= edge_weight <= 1, got {self}"
            )


@dataclass(frozen=True)
class MediParams(AdmmParams):
    """Parameters of MEDI; see `AdmmParams` for the rest.

    Parameters
    ----------
    relaxation : float
        As of `AdmmParams`.
    tolerance : float
        As of `AdmmParams`.
    max_iterations : int
        As of `AdmmParams`.
    edge_fraction : float
        The part of the mask with the steepest magnitude, where gradients cost little.
    edge_weight : float
        How much they cost there.
    outlier_sd : float
        Voxels whose weighted residual is larger than this many standard deviations get less
        weight half way through (MERIT); infinite for never.
    """

    relaxation: float = 1.4
    tolerance: float = 1e-4
    max_iterations: int = 105
    edge_fraction: float = 0.5
    edge_weight: float = 0.2
    outlier_sd: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.edge_fraction < 1 or not self.edge_weight >= 0 or not self.outlier_sd > 0:
            raise ValueError(
                f"Expected 0 <= edge_fraction < 1, edge_weight >= 0 and outlier_sd > 0, got {self}"
            )


@dataclass(frozen=True)
class NltvParams(AdmmParams):
    """Parameters of the nonlinear TV inversion; see `AdmmParams`."""


@dataclass(frozen=True)
class WienerParams:
    """Parameters of the Wiener inversion; none needs to be set.

    Parameters
    ----------
    refinements : int
        How often what is not known of the field, outside the mask and where weights are low, is
        replaced by what the spectra expect there (expectation and maximisation).
    uncertainty : bool
        Whether to compute the expected error.
    margin_mm : float
        Zero padding around the mask.
    """

    refinements: int = 4
    uncertainty: bool = True
    margin_mm: float = 32.0

    def __post_init__(self) -> None:
        if not self.refinements >= 0:
            raise ValueError(f"Expected refinements >= 0, got {self.refinements}")
