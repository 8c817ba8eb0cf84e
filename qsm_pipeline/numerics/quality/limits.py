"""The limits of the metrics, beyond which a map asks to be looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qsm_pipeline.exceptions import did_you_mean

DEFAULT_LIMITS: dict[str, float] = {
    "min_phase_range_turns": 0.96,
    "max_phase_range_turns": 1.04,
    "min_phase_levels": 150.0,
    "max_clipped_percent": 0.3,
    "max_missing_percent": 0.5,
    # below 0 another place of the magnitude fits better
    "min_phase_pairing": 0.0,
    # phase noise is 1 / SNR in rad; below 10 it exceeds 0.1 rad at the echo that is unwrapped
    "min_snr_echo_1": 10.0,
    # from newborns to the largest; a mask beyond has lost brain or took in scalp
    "min_mask_volume_ml": 250.0,
    "max_mask_volume_ml": 2000.0,
    # simulated brains have 0.77, smooth masks of them 0.9, those with holes or a ragged rim less
    "min_mask_compactness": 0.5,
    "max_mask_holes_percent": 0.6,
    # deepbet's masks of the simulated head reach into its meninges and have 6; one voxel more, 17
    "max_mask_dark_percent": 8.0,
    "max_dark_inside_percent": 0.3,
    # a real head has 1.7, a phantom of another 1.0, simulated ones 0; a quarter missing 3 to 15
    "max_tissue_beside_percent": 2.5,
    # slabs of 48 mm have maps as good as those of whole heads
    "min_coverage_mm": 36.0,
    # open cuts away from the surface; strong veins at 7 T have 0.2, beside microbleeds 0.4
    "max_unwrapping_jumps_percent": 0.5,
    # what exact methods leave is rounding
    "max_unwrapping_incongruence_rad": 0.01,
    "max_turns_off_percent": 0.1,
    # doi:10.1002/mrm.30006 leaves out voxels of 30 %; half of the brain should be far below
    "max_fit_residual_percent": 8.0,
    "max_echo_misfit_rad": 0.04,
    "max_decay_misfit_percent": 2.5,
    # wide, as real people differ more than simulated ones
    "min_relative_decay": 0.5,
    "max_relative_decay": 1.7,
    "max_unreliable_percent": 10.0,
    "max_unreliable_inside_percent": 1.5,
    # microbleeds and veins at 7 T have up to 0.3
    "max_strong_source_ml": 0.5,
    "min_background_ratio": 5.0,
    "min_long_waves_percent": 9.0,
    "max_long_waves_percent": 50.0,
    "max_field_noise_percent": 55.0,
    "max_slice_ripple_percent": 45.0,
    # two real heads have 0.5 and 0.6, simulated ones 0.07 to 0.17
    "max_cone_share": 0.65,
    # above 1 another axis fits better; two real heads have 0.71 and 0.77, simulated to 0.32
    "max_axis_misfit": 0.9,
    # simulated scans have 14 with CycleQSM at 1.3 mm
    "max_inversion_residual_percent": 50.0,
    "max_residual_unevenness": 14.0,
    # the true map has 0.95 to 1, TV and CycleQSM 0.6 to 0.7, a streaky TKD 1.9 to 2.3
    "max_streaking_index": 1.3,
    "min_chi_spread_ppm": 0.012,
    "max_chi_spread_ppm": 0.06,
    "min_iron_ppm": 0.025,
    "max_iron_ppm": 0.25,
    # newborns with hardly any iron have -0.14
    "min_asymmetry": -0.2,
    # simulated brains have 1.1 to 3.8, and the same below zero with the wrong sign
    "min_iron_decays": 0.0,
    # the true map has 0.7, maps of simulated scans 0.9 to 1.9, of slabs of 55 mm up to 2.8
    "max_rim_ratio": 3.0,
}
"""Keys are ``min_`` or ``max_`` and the name of the metric. docs/verdict.md says how they were
set."""

TYPICAL: dict[str, float] = {
    "phase_range_turns": 1.0,
    "phase_levels": 2000.0,
    "clipped_percent": 0.02,
    "missing_percent": 0.05,
    "phase_pairing": 0.02,
    "snr_echo_1": 45.0,
    "mask_volume_ml": 1300.0,
    "mask_compactness": 0.87,
    "mask_holes_percent": 0.06,
    "mask_dark_percent": 2.0,
    "dark_inside_percent": 0.03,
    "tissue_beside_percent": 1.0,
    "coverage_mm": 110.0,
    "unwrapping_jumps_percent": 0.02,
    "unwrapping_incongruence_rad": 1e-4,
    "turns_off_percent": 0.01,
    "fit_residual_percent": 1.6,
    "echo_misfit_rad": 0.014,
    "decay_misfit_percent": 0.65,
    "relative_decay": 0.92,
    "unreliable_percent": 0.3,
    "unreliable_inside_percent": 0.05,
    "strong_source_ml": 0.05,
    "background_ratio": 8.8,
    "long_waves_percent": 21.0,
    "field_noise_percent": 33.0,
    "slice_ripple_percent": 9.0,
    "cone_share": 0.13,
    "axis_misfit": 0.24,
    "inversion_residual_percent": 20.0,
    "residual_unevenness": 2.3,
    "streaking_index": 0.7,
    "chi_spread_ppm": 0.023,
    "iron_ppm": 0.07,
    "asymmetry": 0.1,
    "iron_decays": 1.2,
    "rim_ratio": 0.6,
}
"""What sound simulated runs have in the middle; more where that is next to nothing."""

CAUSE: dict[str, float] = {
    "phase_range_turns": 3.0,
    "phase_levels": 2.5,
    "clipped_percent": 2.5,
    "missing_percent": 2.5,
    "phase_pairing": 1.6,
    "snr_echo_1": 3.0,
    "mask_volume_ml": 0.9,
    "mask_holes_percent": 1.3,
    "mask_dark_percent": 1.3,
    "tissue_beside_percent": 1.3,
    "coverage_mm": 1.5,
    "unwrapping_jumps_percent": 1.1,
    "turns_off_percent": 0.9,
    "echo_misfit_rad": 1.0,
    "decay_misfit_percent": 1.1,
    "fit_residual_percent": 0.7,
    "unreliable_percent": 0.6,
    "unreliable_inside_percent": 0.8,
    "background_ratio": 1.3,
    "field_noise_percent": 1.1,
    "slice_ripple_percent": 1.4,
    "cone_share": 0.5,
    "axis_misfit": 1.3,
    "inversion_residual_percent": 0.5,
    "residual_unevenness": 0.5,
    "streaking_index": 0.8,
    "chi_spread_ppm": 0.5,
    "iron_ppm": 0.45,
    "asymmetry": 0.8,
    "iron_decays": 0.6,
}
"""How near to a cause a metric is, 1 by default: what many faults disturb has less."""

_KEY = re.compile(r"(min|max)_(?P<name>\w+)")
_ECHO = re.compile(r"snr_echo_[1-9]\d*")


def check_limits(changed: Mapping[str, Any]) -> dict[str, float]:
    """Return all limits, those of the user before the defaults.

    Parameters
    ----------
    changed : mapping
        Some of the keys of :data:`DEFAULT_LIMITS`, or ``min_`` and ``max_`` of any metric in it;
        ``snr_echo_<number>`` of any echo.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If a key is no limit of a metric, or a value is no number.
    """
    names = {key[4:] for key in DEFAULT_LIMITS}
    for key, value in changed.items():
        match = _KEY.fullmatch(key)
        if not match or not (match["name"] in names or _ECHO.fullmatch(match["name"])):
            near = did_you_mean(key, [f"{end}_{name}" for end in ("min", "max") for name in names])
            raise ValueError(
                f"{key!r} is no limit; known: min_ or max_ before {', '.join(sorted(names))}{near}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key} is {value!r}, expected a number")
    return {**DEFAULT_LIMITS, **{key: float(value) for key, value in changed.items()}}
