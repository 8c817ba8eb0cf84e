"""From multi-echo phase to the total field in ppm, with its noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.core.voxels import at, voxels_of
from qsm_pipeline.numerics.params.field import NonlinearFitParams, WeightedFitParams


@dataclass(frozen=True)
class FieldFit:
    """The total field and how far to trust it.

    Parameters
    ----------
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field in ppm, zero outside the mask.
    field_noise_ppm : torch.Tensor, shape (X, Y, Z)
        Standard deviation of the field in ppm, from the magnitudes and the residual of the whole
        mask; infinite where there is no signal, zero outside the mask.
    relative_residual : torch.Tensor, shape (X, Y, Z)
        Root of the signal energy that the fit does not explain, as a fraction, over the echoes
        that it used; 0 for one echo.
    """

    total_field_ppm: Tensor
    field_noise_ppm: Tensor
    relative_residual: Tensor


def weighted_field_fit(
    unwrapped_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    b0_tesla: float,
    params: WeightedFitParams | None = None,
) -> FieldFit:
    """Fit a line through the origin to unwrapped phase, weighted by its precision.

    The weights are those of maximum likelihood for phase noise that is inverse to the magnitude.
    Voxels whose late echoes do not lie on the line are fitted again without them, down to two
    echoes.

    Parameters
    ----------
    unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase without offset.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to fit.
    echo_times_s : tuple of float, length E
        Echo times.
    b0_tesla : float
        Field strength.
    params : WeightedFitParams, optional
        Parameters.

    Returns
    -------
    FieldFit
        The field with its noise.
    """
    params = params or WeightedFitParams()
    times = torch.tensor(echo_times_s, dtype=unwrapped_rad.dtype, device=unwrapped_rad.device)
    frequency = _line(unwrapped_rad, magnitude, times) * mask
    fit = _with_noise(frequency, None, unwrapped_rad, magnitude, mask, times, b0_tesla)
    for echoes in range(len(times) - 1, 1, -1):
        poor = fit.relative_residual > params.dephased_residual
        bent = poor.nonzero(as_tuple=True)
        if not len(bent[0]):
            break
        phase, signal = (x[:, poor] for x in (unwrapped_rad, magnitude))
        _drop_echo(fit, bent, phase, signal, times, echoes, b0_tesla)
    return fit


def _drop_echo(
    fit: FieldFit,
    where: tuple[Tensor, ...],
    phase: Tensor,
    magnitude: Tensor,
    times: Tensor,
    echoes: int,
    b0_tesla: float,
) -> None:
    """Fit some voxels of ``fit``, in place, to so many echoes instead of one more."""
    information = (magnitude * times[:, None]).square().cumsum(0)
    times, phase, magnitude = times[:echoes], phase[:echoes], magnitude[:echoes]
    frequency = _line(phase, magnitude, times)
    misfit = magnitude.square() * 4 * torch.sin((phase - frequency * times[:, None]) / 2).square()
    energy = magnitude.square().sum(0).clamp(min=1e-30)
    fit.total_field_ppm[where] = frequency / rad_per_s_per_ppm(b0_tesla)
    fit.relative_residual[where] = (misfit.sum(0) / energy).sqrt()
    fit.field_noise_ppm[where] *= (information[echoes] / information[echoes - 1]).sqrt()


def _line(phase: Tensor, magnitude: Tensor, times: Tensor) -> Tensor:
    """Return the slope in rad/s of the weighted line through the origin; 0 without signal."""
    numerator = torch.zeros_like(phase[0])
    denominator = torch.zeros_like(numerator)
    for time, ph, mag in zip(times, phase, magnitude, strict=True):
        precision = mag.square()
        numerator += precision * time * ph
        denominator += precision * time.square()
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def nonlinear_field_fit(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    b0_tesla: float,
    start_frequency_rad_s: Tensor,
    params: NonlinearFitParams | None = None,
) -> FieldFit:
    """Fit frequency and offset to the complex signal by Gauss-Newton.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase, wrapped or not: only its phasor is used.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to fit.
    echo_times_s : tuple of float, length E >= 2
        Echo times.
    b0_tesla : float
        Field strength.
    start_frequency_rad_s : torch.Tensor, shape (X, Y, Z)
        Unwrapped first guess; it decides between frequencies that differ by a full turn per echo
        spacing.
    params : NonlinearFitParams, optional
        Parameters.

    Returns
    -------
    FieldFit
        The field with its noise.

    Raises
    ------
    ValueError
        With fewer than two echoes.

    References
    ----------
    Liu et al. 2013, doi:10.1002/mrm.24272.
    """
    if len(echo_times_s) < 2:
        raise ValueError("The nonlinear complex fit needs at least two echoes")
    times = torch.tensor(echo_times_s, dtype=phase_rad.dtype, device=phase_rad.device)
    inside = mask.nonzero(as_tuple=True)
    phase, mag = (x[:, mask] for x in (phase_rad, magnitude))
    column = times[:, None]
    precision = mag.square()
    total = precision.sum(0).clamp(min=torch.finfo(mag.dtype).tiny)
    centre = (precision * column).sum(0) / total
    spread = (precision * (column - centre).square()).sum(0)
    frequency = start_frequency_rad_s[inside].clone()
    offset = torch.angle(
        (precision * torch.polar(torch.ones_like(phase), phase - frequency * column)).sum(0)
    )
    offset += frequency * centre  # phase at the weighted mean time decouples the two unknowns
    for _ in range((params or NonlinearFitParams()).max_iterations):
        residual = torch.sin(phase - offset - frequency * (column - centre))
        offset += (precision * residual).sum(0) / total
        step = (precision * (column - centre) * residual).sum(0)
        step = torch.where(spread > 0, step / spread.clamp(min=1e-30), 0.0)
        frequency += step
        if float(step.abs().max()) * float(times[-1]) < 1e-4:
            break
    full = torch.zeros_like(start_frequency_rad_s)
    full[inside] = frequency
    origin = torch.zeros_like(full)
    origin[inside] = offset - frequency * centre
    return _with_noise(full, origin, phase_rad, magnitude, mask, times, b0_tesla)


def _with_noise(
    frequency: Tensor,
    offset: Tensor | None,
    phase: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    times: Tensor,
    b0_tesla: float,
) -> FieldFit:
    ppm = rad_per_s_per_ppm(b0_tesla)
    misfit = torch.zeros_like(frequency)
    energy = torch.zeros_like(frequency)
    information = torch.zeros_like(frequency)
    for time, ph, mag in zip(times, phase, magnitude, strict=True):
        delta = ph - frequency * time - (0 if offset is None else offset)
        # |exp(i delta) - 1|^2, which equals delta^2 for small residuals and bounds outliers
        misfit += mag.square() * 4 * torch.sin(delta / 2).square()
        energy += mag.square()
        information += (mag * time).square()
    free = len(times) - (1 if offset is None else 2)
    residual = torch.where(energy > 0, misfit / energy.clamp(min=1e-30), 0.0).sqrt() * mask
    if free > 0:
        # the median of chi^2 with few degrees of freedom lies below its mean
        median_of_chi2 = free * (1 - 2 / (9 * free)) ** 3
        noise = (at(misfit, voxels_of(mask)).median() / median_of_chi2).sqrt()
    else:
        noise = _noise_of_one_echo(frequency, magnitude[0], mask, times[0])
    if offset is not None:
        mean_time = sum(t * m.square() for t, m in zip(times, magnitude, strict=True))
        information = information - mean_time.square() / energy.clamp(min=1e-30)
    spread = noise / information.clamp(min=0).sqrt() / ppm
    spread = torch.where(mask, torch.nan_to_num(spread, nan=torch.inf), 0.0)
    return FieldFit(frequency / ppm * mask, spread, residual)


def _noise_of_one_echo(frequency: Tensor, magnitude: Tensor, mask: Tensor, time: Tensor) -> Tensor:
    """Robust SD of the real or imaginary noise, from second differences along the last axis."""
    inner = mask[..., 2:] & mask[..., 1:-1] & mask[..., :-2]
    second = frequency[..., 2:] - 2 * frequency[..., 1:-1] + frequency[..., :-2]
    if not inner.any():
        return torch.zeros((), dtype=frequency.dtype, device=frequency.device)
    scaled = (second * time * magnitude[..., 1:-1])[inner]
    return 1.4826 * scaled.abs().median() / 6**0.5
