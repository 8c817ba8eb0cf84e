"""The limits of the metrics, beyond which a map asks to be looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEFAULT_LIMITS: dict[str, float] = {
    # phase noise is 1 / SNR in rad; below 10 it exceeds 0.1 rad at the echo that is unwrapped
    "min_snr_echo_1": 10.0,
    # brains of adults with their fluid; a mask beyond has lost brain or took in scalp
    "min_mask_volume_ml": 900.0,
    "max_mask_volume_ml": 2000.0,
    # simulated brains have 0.77, smooth masks of them 0.9, those with holes or a ragged rim less
    "min_mask_compactness": 0.5,
    # open cuts; simulated heads have 0.2 to 0.4, which is real: steep phase next to air
    "max_unwrapping_jumps_percent": 1.0,
    # what exact methods leave is rounding
    "max_unwrapping_incongruence_rad": 0.01,
    # doi:10.1002/mrm.30006 leaves out voxels of 30 %; half of the brain should be far below
    "max_fit_residual_percent": 10.0,
    "max_unreliable_percent": 10.0,
    # healthy simulated brains have 0
    "max_strong_source_ml": 0.03,
    # simulated scans have 14 with CycleQSM at 1.3 mm
    "max_inversion_residual_percent": 50.0,
    # the true map has 0.95 to 1, TV and CycleQSM 0.6 to 0.7, a streaky TKD 1.9 to 2.3
    "max_streaking_index": 1.3,
    # simulated brains have 0.03 ppm
    "max_reference_sd_ppm": 0.1,
    # the true map has 0.7, maps of simulated scans 1.0 to 1.2
    "max_rim_ratio": 2.0,
}
"""Keys are ``min_`` or ``max_`` and the name of the metric."""

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
            raise ValueError(
                f"{key!r} is no limit; known: min_ or max_ before {', '.join(sorted(names))}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key} is {value!r}, expected a number")
    return {**DEFAULT_LIMITS, **{key: float(value) for key, value in changed.items()}}
