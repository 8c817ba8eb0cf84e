"""Closed-form inversion under the estimated spectra of susceptibility and error."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import crop_to, pad_to
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.inversion.problem import MEAN_SQUARED_DIPOLE, InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.inversion.strong_sources import strong_error_ppm, strong_sources
from qsm_pipeline.numerics.params.inversion import TvParams, WienerParams

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
"""Squared weights for which the expected error is computed; between them it is interpolated."""
RESIDUE, RESIDUE_PER_MM = 0.15, 0.02
"""What background removal leaves, over the standard deviation of the field, and the frequency
below which it lies. The cone does not show it, as sources outside of the mask have no field there.
NRMSE of four simulated chains: 65 to 100 % without it, 63 to 67 % with it."""
UNEXPLAINED = 0.01
"""Power of the field that no spectrum of susceptibility explains, over what one does: edges and
sources have places. With little white noise 10 to 20 % less NRMSE, and an expected error that
covers 68 to 71 % instead of 43 to 58 % of a phantom and a brain."""
STRONG_PPM, STRONG_ITERATIONS = 0.3, 10
"""What exceeds the first, in the map of total variation after so many iterations, is no tissue."""
SUSPECTED_PPM = 0.15
"""The closed form alone has at most a half of strong sources."""
REACH_MM = 3.0
"""The field within about this distance tells most of a voxel's susceptibility."""


def wiener(problem: InversionProblem, params: WienerParams | None = None) -> Reconstruction:
    r"""Return the most likely map, with :math:`D S_\chi/(D^2 S_\chi+n^2)` at each frequency.

    Bleedings and calcifications, which no spectrum of tissue holds, are mapped by total variation;
    it maps the rest.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights. The spectra of susceptibility :math:`S_\chi` and of
        the error :math:`n^2` are estimated from it.
    params : WienerParams, optional
        Parameters.

    Returns
    -------
    Reconstruction
        Susceptibility in ppm, zero outside the mask, and its expected error: that of the closed
        form where the white noise is that of the weights around.

    References
    ----------
    Sykulski et al. 2019, doi:10.1093/biomet/asy071, for the likelihood of spectra seen through a
    window.
    """
    params = params or WienerParams()
    plain = _without_strong_sources(problem, params)
    if float(plain.chi_ppm.abs().max()) < SUSPECTED_PPM:
        return plain
    strong = strong_sources(problem, STRONG_PPM, TvParams(max_iterations=STRONG_ITERATIONS))
    if not strong.chi_ppm.any():
        return plain
    tissue = replace(problem, local_field_ppm=problem.local_field_ppm - strong.field_ppm)
    rest = _without_strong_sources(tissue, params)
    error = rest.uncertainty_ppm
    if error is not None:
        error = torch.hypot(error, strong_error_ppm(strong.chi_ppm)) * problem.mask
    return Reconstruction(rest.chi_ppm + strong.chi_ppm, error)


def _without_strong_sources(problem: InversionProblem, params: WienerParams) -> Reconstruction:
    closed = _ClosedForm.of(problem, params.margin_mm)
    box, white, precision = closed.box, closed.white, closed.precision
    field = box.dipole.kernel.square() * closed.signal + closed.coloured
    filled = box.dipole.spectrum(precision * box.field_ppm)
    for _ in range(params.refinements):
        expected = box.dipole.back(filled * (field / (field + white)))
        filled = box.dipole.spectrum(torch.lerp(expected, box.field_ppm, precision))
    chi = box.dipole.back(filled.mul_(closed.signal * box.dipole.kernel / (field + white)))
    return Reconstruction(box.unpad(chi), closed.error_ppm() if params.uncertainty else None)


def wiener_error_ppm(problem: InversionProblem, params: WienerParams | None = None) -> Tensor:
    """Return the expected error of :func:`wiener` alone, in ppm, shape (X, Y, Z)."""
    params = params or WienerParams()
    return _ClosedForm.of(problem, params.margin_mm).error_ppm()


class _ClosedForm(NamedTuple):
    """What map and error are made of.

    The densities of susceptibility and of the coloured error on the half spectrum, that of white
    noise, and the squared weights over the largest.
    """

    box: SpectralBox
    signal: Tensor
    coloured: Tensor
    white: float
    precision: Tensor

    @classmethod
    def of(cls, problem: InversionProblem, margin_mm: float) -> Self:
        box = SpectralBox(problem, margin_mm)
        frequency = box.dipole.frequency
        signal = problem.susceptibility.density(frequency)
        coloured = problem.error.coloured_density(frequency) + _residue(problem, frequency)
        precision = box.weights(problem).square()
        return cls(
            box,
            signal,
            coloured + UNEXPLAINED * MEAN_SQUARED_DIPOLE * signal,
            problem.error.n0_ppm**2,
            precision / precision.max().clamp(min=1e-12),
        )

    def error_ppm(self) -> Tensor:
        """Return the standard deviation of the error, shape (X, Y, Z)."""
        box, precision = self.box, self.precision
        levels = [
            _expected_error(box, self.signal, self.coloured + self.white / w if w else None)
            for w in WEIGHTS
        ]
        blur = GaussianBlur(box.grid, REACH_MM, precision)
        around = blur(crop_to(precision, box.grid.shape))
        return box.unpad(pad_to(_interpolated(around, levels), box.shape))


def _residue(problem: InversionProblem, frequency_per_mm: Tensor) -> Tensor:
    """Return the spectral density of what is left of the background."""
    if not problem.residual_background:
        return torch.zeros_like(frequency_per_mm)
    shape = 1 / (1 + (frequency_per_mm / RESIDUE_PER_MM) ** 4)
    return (RESIDUE * problem.spread_ppm) ** 2 * shape / shape.mean()


def _expected_error(box: SpectralBox, signal: Tensor, noise: Tensor | None) -> float:
    """Return the posterior standard deviation in ppm, that of the prior where nothing is known."""
    variance = signal
    if noise is not None:
        variance = signal * noise / (box.dipole.kernel.square() * signal + noise)
    twice = variance.new_full((variance.shape[-1],), 2.0)
    twice[0] = 1.0
    if box.shape[2] % 2 == 0:
        twice[-1] = 1.0
    total = (variance * twice).sum(dtype=torch.float64) - variance[0, 0, 0]
    return float(total / (box.shape[0] * box.shape[1] * box.shape[2])) ** 0.5


def _interpolated(weight: Tensor, levels: list[float]) -> Tensor:
    places = torch.tensor(WEIGHTS, device="cpu").to(weight)
    values = torch.tensor(levels, device="cpu").to(weight)
    upper = torch.bucketize(weight.contiguous(), places).clamp(1, len(levels) - 1)
    share = (weight - places[upper - 1]) / (places[upper] - places[upper - 1])
    return torch.lerp(values[upper - 1], values[upper], share.clamp(0, 1))
