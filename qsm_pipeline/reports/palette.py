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
_SEE_THROUGH = 20
"""Of 255 steps, so many on either side of zero show what lies below an overlay."""


@cache
def lookup(cmap: str, *, overlay: bool = False) -> dict[str, list[int]]:
    """Return the colours of a map as NiiVue takes them; the first is black, for no value.

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
    colours = colormaps[cmap](places, bytes=True)[:, :3].tolist()
    if not overlay:
        places[1:1], colours[1:1] = [1], [colours[0]]
        colours[0] = [0, 0, 0]
    zero = 127.5 if cmap == _FIELDS else 0.0
    alpha = [0 if overlay and abs(place - zero) < _SEE_THROUGH else 255 for place in places]
    return {
        **{name: [c[n] for c in colours] for n, name in enumerate("RGB")},
        "A": alpha,
        "I": places,
    }
