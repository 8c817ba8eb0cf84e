"""Every figure of a run: what it needs, how it is drawn, what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from qsm_pipeline.reports.field_error import draw_field_error
from qsm_pipeline.reports.histogram import draw_histogram
from qsm_pipeline.reports.mosaic import Scale, draw_mosaic
from qsm_pipeline.reports.palette import PALETTE
from qsm_pipeline.reports.slices import View, Volume, load_volume

_BRAIN, _RELIABLE, _TRUSTED = "#ff5c5c", "#ffd24d", "#4dd2ff"


FIELD_ERROR = "field_error"


class Scene:
    """What there is of a run to be shown.

    Parameters
    ----------
    paths : mapping of str to str
        Names of volumes to NIfTI files, all of the same voxels.
    field_error : mapping of str to float, optional
        Spectrum of the local field's error, where the inversion estimated it.
    """

    def __init__(
        self, paths: Mapping[str, str], field_error: Mapping[str, float] | None = None
    ) -> None:
        self.paths = dict(paths)
        self.field_error = field_error
        self._masks: dict[str, Volume] = {}

    def has(self, name: str) -> bool:
        """Return whether a figure can use something."""
        return self.field_error is not None if name == FIELD_ERROR else name in self.paths

    def volume(self, name: str, echo: int = 0) -> Volume:
        """Load a volume, or an echo of it; negative numbers count from the last echo."""
        return load_volume(self.paths[name], echo)

    def mask(self, name: str) -> Volume:
        """Load a mask once: nearly every figure needs one."""
        if name not in self._masks:
            self._masks[name] = self.volume(name)
        return self._masks[name]

    @cached_property
    def view(self) -> View:
        """Slices through the brain, or through everything while there is no mask."""
        name = "brain_mask" if "brain_mask" in self.paths else "combined"
        return View.of(self.mask(name))

    @cached_property
    def nuclei(self) -> View:
        """Axial slices through the deep grey nuclei."""
        return self.view.through_the_nuclei(self.mask("brain_mask"))


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Parameters
    ----------
    title, caption : str
        What it shows, and how to read it.
    needs : tuple of str
        Volumes, or the field error, without which it is left out.
    draw : callable
        Makes a WebP picture of a `Scene`.
    """

    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Callable[[Scene], bytes]


def _map(
    title: str,
    caption: str,
    name: str,
    scale: Scale,
    *,
    echo: int = 0,
    outlines: Sequence[tuple[str, str]] = (),
    within: str = "brain_mask",
    nuclei: bool = False,
) -> Figure:
    """Return the figure of one volume in a mask, with the outlines of those that are there."""

    def draw(scene: Scene) -> bytes:
        masks = [(scene.mask(m), colour) for m, colour in outlines if m in scene.paths]
        inside = scene.mask(within) if within else None
        view = scene.nuclei if nuclei else scene.view
        return draw_mosaic(scene.volume(name, echo), view, scale, masks, inside)

    return Figure(title, caption, (name, within) if within else (name,), draw)


def _histogram(scene: Scene) -> bytes:
    return draw_histogram(scene.volume("chi"), scene.mask("qsm_mask"))


def _field_error(scene: Scene) -> bytes:
    assert scene.field_error is not None
    return draw_field_error(scene.volume("local_field"), scene.field_error)


FIGURES: dict[str, Figure] = {
    "magnitude": _map(
        "Magnitude, first echo",
        "Look for motion, cut-off anatomy and missing slices.",
        "magnitude",
        PALETTE["magnitude"],
        within="",
    ),
    "phase": _map(
        "Wrapped phase, first echo",
        "In radians, as the scanner's numbers were understood. Bands should be smooth; noise in "
        "the brain, seams or open fringe lines mean that the phase was combined badly.",
        "phase",
        PALETTE["phase"],
        within="",
    ),
    "lastphase": _map(
        "Wrapped phase, last echo",
        "More bands than at the first echo, and the same anatomy.",
        "phase",
        PALETTE["phase"],
        echo=-1,
        within="",
    ),
    "mask": _map(
        "Brain mask on the magnitude of all echoes",
        "Red: brain mask. Yellow: its reliable part, with two passes. The outline should follow "
        "the cortex, without dura, eyes or holes.",
        "combined",
        PALETTE["magnitude"],
        outlines=(("brain_mask", _BRAIN), ("reliable", _RELIABLE)),
        within="",
    ),
    "quality": _map(
        "Phase quality",
        "How well neighbouring voxels agree in phase, from noise (0) to certain (1). Low values "
        "inside the outline are where the map should be read with care.",
        "quality",
        PALETTE["share"],
        outlines=(("brain_mask", _BRAIN),),
        within="",
    ),
    "unwrapped": _map(
        "Unwrapped phase, first echo",
        "There should be no step of a whole turn (6.28 rad) left inside the brain.",
        "unwrapped",
        PALETTE["unwrapped"],
    ),
    "lastunwrapped": _map(
        "Unwrapped phase, last echo",
        "Like the first echo, scaled with the echo time.",
        "unwrapped",
        PALETTE["unwrapped"],
        echo=-1,
    ),
    "totalfield": _map(
        "Total field",
        "Field of all sources, the air of sinuses and ears above all.",
        "total_field",
        PALETTE["total_field"],
    ),
    "weights": _map(
        "Weight of the field",
        "How much each voxel counts in what follows: 1 is the most precise, 0 is not used.",
        "weights",
        PALETTE["share"],
    ),
    "localfield": _map(
        "Local field",
        "What is left after removal of the background. Shading at the rim of the brain or wide "
        "bands across it are background that was not removed.",
        "local_field",
        PALETTE["local_field"],
    ),
    "chi": _map(
        "Susceptibility",
        "Bright is paramagnetic (iron, veins), dark is diamagnetic (myelin, calcium). Nuclei and "
        "veins should be sharp, without streaks along the magic angle.",
        "chi",
        PALETTE["chi"],
    ),
    "nuclei": _map(
        "Susceptibility of the deep grey nuclei",
        "Axial slices a few millimetres apart, from the caudate nuclei down through putamen, "
        "pallidum, red nuclei and substantia nigra to the dentate nuclei of the cerebellum. Both "
        "sides should be alike.",
        "chi",
        PALETTE["chi"],
        nuclei=True,
    ),
    "trusted": _map(
        "Where the map can be trusted",
        "Red: brain. Blue: desc-qsm_mask, where the map is valid. What lies between them is not "
        "trusted: use no value from there.",
        "combined",
        PALETTE["magnitude"],
        outlines=(("brain_mask", _BRAIN), ("qsm_mask", _TRUSTED)),
    ),
    "strongsources": _map(
        "Strong sources",
        "Susceptibility on a wide scale. Red: the field is so steep here, or the signal so weak, "
        "that the map may be wrong: bleeding, calcification, implants. These voxels are not in "
        "desc-qsm_mask.",
        "chi",
        Scale("ppm", (-1.0, 1.0)),
        outlines=(("unsure", _BRAIN),),
    ),
    "predicted": _map(
        "Field that the map predicts",
        "The dipole field of the map, to be compared with the local field.",
        "predicted_field",
        PALETTE["local_field"],
    ),
    "residual": _map(
        "Residual",
        "Local field less predicted field. It should look like noise: anatomy in it is what the "
        "inversion did not fit, smooth shading is background that was left.",
        "residual",
        PALETTE["residual"],
    ),
    "fielderror": Figure(
        "Spectrum of the local field's error",
        "How strong the local field is at each frequency, and what of it is error: what it holds "
        "where no susceptibility has a field. White noise is flat; errors of phase and background "
        "rise towards low frequencies. Where the red line comes near the blue one, the map rests "
        "on what is known of brains, and not on this field.",
        ("local_field", FIELD_ERROR),
        _field_error,
    ),
    "uncertainty": _map(
        "Uncertainty of the susceptibility",
        "Where not to trust the map: its expected error, one standard deviation. It was "
        "calibrated on simulated brains and tells little of a single voxel.",
        "uncertainty",
        PALETTE["uncertainty"],
    ),
    "r2star": _map(
        "R2*",
        "Iron and veins decay fast; the rim over the sinuses does so without iron.",
        "r2star",
        PALETTE["r2star"],
    ),
    "t2star": _map("T2*", "The inverse of R2*.", "t2star", PALETTE["t2star"]),
    "s0": _map(
        "Signal at echo time zero",
        "The magnitude without decay; the coils make it uneven.",
        "s0",
        PALETTE["magnitude"],
    ),
    "swi": _map(
        "Susceptibility-weighted image",
        "Veins and iron are dark. So is calcium in one half of its surroundings.",
        "swi",
        PALETTE["magnitude"],
    ),
    "minip": _map(
        "Minimum projection",
        "The darkest value over a slab: veins are continuous lines.",
        "minip",
        PALETTE["magnitude"],
    ),
    "tswi": _map(
        "True susceptibility-weighted image",
        "Weighted by the map itself: veins and iron are dark, calcium is not.",
        "tswi",
        PALETTE["magnitude"],
    ),
    "histogram": Figure(
        "Histogram of the susceptibility",
        "Over all voxels with a valid value. What lies beyond the axis stands in its last bins.",
        ("chi", "qsm_mask"),
        _histogram,
    ),
}
"""In the order of the page."""

STAGES: dict[str, tuple[str, ...]] = {
    "input": ("magnitude", "phase", "lastphase"),
    "mask": ("mask", "quality"),
    "field": ("unwrapped", "lastunwrapped", "totalfield", "weights"),
    "maps": (
        "localfield",
        "chi",
        "nuclei",
        "trusted",
        "strongsources",
        "predicted",
        "residual",
        "fielderror",
        "uncertainty",
        "r2star",
        "t2star",
        "s0",
        "swi",
        "minip",
        "tswi",
        "histogram",
    ),
}
"""Figures that can be drawn once a stage has ended, so that a run that fails has those before."""
