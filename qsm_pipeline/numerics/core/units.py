"""Conversions between phase, frequency and ppm."""

from __future__ import annotations

import math

GAMMA_BAR_HZ_PER_T = 42.577478461e6
"""Gyromagnetic ratio of the proton over 2 pi (CODATA 2022, shielded protons differ by 26 ppm)."""


def hz_per_ppm(b0_tesla: float) -> float:
    """Return the frequency in Hz of a field of 1 ppm at ``b0_tesla``."""
    return GAMMA_BAR_HZ_PER_T * b0_tesla * 1e-6


def rad_per_s_per_ppm(b0_tesla: float) -> float:
    """Return the angular frequency in rad/s of a field of 1 ppm at ``b0_tesla``."""
    return 2 * math.pi * hz_per_ppm(b0_tesla)
