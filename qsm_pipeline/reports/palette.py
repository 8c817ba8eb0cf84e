"""Unit, window and colours of each quantity, the same in figures and in the viewer."""

from __future__ import annotations

from functools import cache

from qsm_pipeline.reports.mosaic import Scale

_FIELDS = "RdBu_r"

PALETTE: dict[str, Scale] = {
    "chi": Scale("ppm", (-0.1, 0.1)),
    "total_field": Scale("ppm", (-0.5, 0.5), cmap=_FIELDS),
    "local_field": Scale("ppm", (-0.05, 0.05), cmap=_FIELDS),
    "residual": Scale("ppm", (-0.02, 0.02), cmap=_FIELDS),
    "uncertainty": Scale("ppm", (0.0, 0.01), cmap="magma"),
    "r2star": Scale("1/s", (0.0, 60.0), cmap="inferno"),
    "t2star": Scale("ms", (0.0, 100.0), cmap="inferno", factor=1000.0),
    "phase": Scale("rad", (-3.1416, 3.1416)),
    "unwrapped": Scale("rad", symmetric=True, cmap=_FIELDS),
    "share": Scale("0 to 1", (0.0, 1.0), cmap="viridis"),
    "magnitude": Scale("a.u."),
}
"""Magnitudes and unwrapped phase have the range of their own values."""

_STEPS = 33


@cache
def lookup(cmap: str, *, overlay: bool = False) -> dict[str, list[int]]:
    """Return the colours of a map as NiiVue takes them.

    Parameters
    ----------
    cmap : str
        Colour map of matplotlib.
    overlay : bool
        Whether what is near zero is transparent: the middle of a diverging map, the start of
        another one.

    Returns
    -------
    dict
        ``R``, ``G``, ``B``, ``A`` and ``I``, each a list of whole numbers up to 255.
    """
    from matplotlib import colormaps

    places = [round(255 * n / (_STEPS - 1)) for n in range(_STEPS)]
    colours = [colormaps[cmap](place, bytes=True)[:3] for place in places]
    zero = 127.5 if cmap == _FIELDS else 0.0
    alpha = [255 if not overlay else min(255, int(8 * abs(place - zero))) for place in places]
    return {
        **{name: [int(c[n]) for c in colours] for n, name in enumerate("RGB")},
        "A": alpha, "I": places,
    }  # fmt: skip
