"""Estimate the error of a local field from the field alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error.expected import BinnedPower, binned_power
from qsm_pipeline.numerics.field_error.spectrum import (
    FieldError,
    FieldSpectra,
    SusceptibilitySpectrum,
)
from qsm_pipeline.numerics.field_error.support import support_gain
from qsm_pipeline.numerics.field_error.window import windowed

LEAST_FREQUENCY = 3.0
"""Over that of the mask's size: lower ones are too few, and background removal has them."""
KNEES = (0.5, 60.0)
"""Smallest and largest knee, over the frequency of the mask's size."""
STARTS = (30.0, 6.0)
"""Knees from which the best is looked for, over the same; the first alone gives the spectrum of
susceptibility well enough to know how its end at the mask counts."""
POWERS = (1.5, 4.5)
USUAL_POWER, POWER_SD = 3.0, 0.4
MISMATCH = 0.12
"""Relative error of the expected power of a group: susceptibility is neither stationary nor the
same in all directions."""
LEAST_GROUPS = 12
CONE = 0.1
"""Where the dipole kernel is smaller, what leaks in from around it is seen."""
LEAK_SD, LEAK_SHARED = 0.4, 0.7
"""Relative error of the expected leak into the cone, and what its frequencies share of that."""
LARGEST_DIRECT = 0.95
"""Of what is expected in a group; the rest at least is leak."""
LEAK_RISE = (0.0, 0.1, 0.2, 0.3)
"""Logarithm of the leak over the expected one, from low to high frequencies: what varies smoothly
leaks as expected, and sharp edges of susceptibility, which high frequencies are made of, more."""
RISES = (-3.0, 3.0)
"""Smallest and largest of these logarithms that are tried."""
FOLDS, FOLDED = (-6.0, 0.5), -2.0
"""Smallest, largest and first logarithm of what is folded back over what it would be if the signal
were a mean over each voxel: next to nothing where a simulation is exact from voxel to voxel."""
SMOOTH = 0.7
"""How much the logarithm of susceptibility's spectrum may bend from node to node."""
WHITE_PRIOR, HIGH_PRIOR, HIGH_KNEE = 0.05, 0.5, 15.0
"""Cost of the logarithm of the knee, and its further cost beyond the last, which is over the
frequency of the mask's size: what leak or white noise explain as well is not called colour."""


def estimate_field_error(
    local_field_ppm: Tensor, mask: Tensor, grid: Grid, weights: Tensor | None = None
) -> FieldError | None:
    """Estimate the spectrum of a local field's error.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability, not negative, proportional to the inverse standard deviation of the white
        part of the error; voxels with little are left out.

    Returns
    -------
    FieldError, optional
        Its white part is that of voxels with the largest weight, and holds what is folded back.
        None where the mask is too small or thin to tell, or the field is zero.

    Notes
    -----
    Susceptibility has no field where the dipole kernel is zero, so what the field holds near that
    cone is error, and what leaks there through the edge of the mask or is folded back from beyond
    the Nyquist frequencies, where voxels are thicker than veins. They are fitted together:
    the power of the tapered field by frequency and dipole response is compared with what a free
    spectrum of susceptibility and the error's spectrum would give through the same window.
    """
    spectra = estimate_spectra(local_field_ppm, mask, grid, weights)
    return spectra.error if spectra else None


def estimate_spectra(
    local_field_ppm: Tensor, mask: Tensor, grid: Grid, weights: Tensor | None = None
) -> FieldSpectra | None:
    """Estimate the spectra of error and susceptibility, as :func:`estimate_field_error` does."""
    field = windowed(local_field_ppm, mask, grid, weights)
    if field is None or not float(field.values_ppm.abs().max()) > 0:
        return None
    power = binned_power(field)
    first = fit_spectra(power, field.size_mm, STARTS[:1])
    if first is None:
        return None
    gain = support_gain(field, power, first[1])
    second = fit_spectra(replace(power, signal=power.signal * gain[:, None]), field.size_mm)
    if second is None:
        return None
    error, curve = second
    nodes = SusceptibilitySpectrum(tuple(power.nodes_per_mm.tolist()), tuple(curve.tolist()))
    return FieldSpectra(error, nodes)


def fit_spectra(
    power: BinnedPower, size_mm: float, starts: Sequence[float] = STARTS
) -> tuple[FieldError, Tensor] | None:
    """Maximise the likelihood of the binned power over the spectra of susceptibility and error.

    Returns
    -------
    tuple, optional
        The error, and the spectral density of susceptibility at the nodes. None where there is
        too little to be fitted.
    """
    used = (power.frequency_per_mm > LEAST_FREQUENCY / size_mm) & (power.modes > 0.5)
    if int(used.sum()) < LEAST_GROUPS:
        return None
    fit = _Fit(power, used.numpy(), size_mm)
    found = min((fit.run(knee) for knee in starts), key=lambda x: x[0])
    return found[1:]


class _Fit:
    def __init__(self, power: BinnedPower, used: np.ndarray, size_mm: float) -> None:
        self.power = power.power.numpy()[used]
        self.scale = float(np.exp(np.mean(np.log(self.power))))
        self.signal = power.signal.numpy()[used]
        self.noise = power.noise.numpy()[used]
        self.folded = power.folded.numpy()[used]
        self.modes = power.modes.numpy()[used]
        self.white = power.white
        self.nodes = power.nodes_per_mm.numpy()
        self.weight = 1 / (1 / self.modes + MISMATCH**2)
        self.size_mm = size_mm
        frequency = power.frequency_per_mm.numpy()[used]
        response = power.response.numpy()[used]
        cone = response < CONE
        # without the window's leak, the groups would see the susceptibility through their response
        direct = np.minimum(self.noise * response[:, None] ** 2, LARGEST_DIRECT * self.signal)
        self.leak = (self.signal - direct) * cone[:, None]
        self.direct = self.signal - self.leak
        count = len(LEAK_RISE)
        place = np.log(frequency / frequency.min()) / np.log(frequency.max() / frequency.min())
        distance = np.abs(place[:, None] * (count - 1) - np.arange(count))
        self.rises = np.clip(1 - distance, 0, None)
        shared = LEAK_SHARED + (1 - LEAK_SHARED) * np.eye(count)
        self.leak_precision = np.linalg.inv(LEAK_SD**2 * shared)
        self.top = self.power[cone & (frequency > 0.7 * frequency.max())]
        self.bends = np.diff(np.eye(len(self.nodes)), 2, axis=0)

    def run(self, knee: float) -> tuple[float, FieldError, Tensor]:
        """Fit from one knee, over the frequency of the mask's size, on."""
        count = len(self.nodes)
        level = np.median(self.top if len(self.top) else self.power) / self.white
        signal = np.log(self.power.max() / self.signal.max()) + np.zeros(count)
        wrong = [np.log(level), np.log(knee / self.size_mm), USUAL_POWER, FOLDED]
        start = [*signal, *wrong, *LEAK_RISE]
        knees = [np.log(k / self.size_mm) for k in KNEES]
        levels = (np.log(level) - 12, np.log(level) + 6)
        curves = [(x - 40, x + 40) for x in signal]
        ends = [levels, (knees[0], knees[1]), POWERS, FOLDS]
        bounds = [*curves, *ends, *[RISES] * len(LEAK_RISE)]
        with threadpool_limits(1, "blas"):  # on some twenty numbers, threads only wait
            found = minimize(
                self._cost,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                # by default it ends where rounding of the field changes a map by a thousandth
                options={"maxiter": 500, "maxfun": 1000, "ftol": 1e-10},
            )
        noise, knee, power, fold = found.x[count : count + 4]
        curve = np.exp(found.x[:count])
        error = FieldError(float(np.exp(noise / 2)), float(np.exp(knee)), float(power))
        folded = np.average(self.folded @ curve, weights=self.modes) * np.exp(fold) / self.white
        error = error.at_least(float(np.sqrt(np.exp(noise) + folded)))
        return found.fun, error, torch.from_numpy(curve)

    def _cost(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        count = len(self.nodes)
        signal, wrong, leak = x[:count], x[count : count + 4], x[count + 4 :]
        noise, knee, power, fold = wrong
        curve = np.exp(signal)
        leaked = self.leak * curve * np.exp(self.rises @ leak)[:, None]
        folded = self.folded * curve * np.exp(fold)
        parts = self.direct * curve + leaked + folded
        explained = parts.sum(1)
        risen = leak - LEAK_RISE
        ratio = knee - np.log(self.nodes)
        colour = self.noise * np.exp(noise + power * ratio)
        white = self.white * np.exp(noise)
        model = explained + colour.sum(1) + white
        each = self.power / model
        slope = self.weight * (1 - each) / model
        bend = self.bends @ signal
        low = knee - np.log(KNEES[0] / self.size_mm)
        high = max(0.0, knee - np.log(HIGH_KNEE / self.size_mm))
        cost = (
            float(np.sum(self.weight * (each - np.log(each))))
            + 0.5 * float(np.sum((bend / SMOOTH) ** 2))
            + 0.5 * ((power - USUAL_POWER) / POWER_SD) ** 2
            + 0.5 * float(risen @ self.leak_precision @ risen)
            + WHITE_PRIOR * low
            + HIGH_PRIOR * high
        )
        coloured = colour.sum(1)
        gradient = np.concatenate(
            [
                parts.T @ slope + self.bends.T @ bend / SMOOTH**2,
                [
                    float(np.sum(slope * (coloured + white))),
                    power * float(np.sum(slope * coloured))
                    + WHITE_PRIOR
                    + HIGH_PRIOR * (high > 0),
                    float(np.sum(slope * (colour @ ratio))) + (power - USUAL_POWER) / POWER_SD**2,
                    float(np.sum(slope * folded.sum(1))),
                ],
                self.rises.T @ (slope * leaked.sum(1)) + self.leak_precision @ risen,
            ]
        )
        return cost, gradient
