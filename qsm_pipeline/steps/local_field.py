"""Remove the field of sources outside the brain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.numerics.background.fill import fill_unknown
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.background.problem import LocalField as ValidField
from qsm_pipeline.numerics.background.strong import field_of_sources, strong_voxels
from qsm_pipeline.numerics.core.bounding_box import BoundingBox, box_slices
from qsm_pipeline.numerics.core.contracts import (
    check_finite,
    check_mask,
    check_volume,
    check_weights,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.core.voxels import any_of, at, some_of
from qsm_pipeline.numerics.field.reliability import rim_weight
from qsm_pipeline.numerics.quality.mask_shape import volume_ml
from qsm_pipeline.steps import methods as registry
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.total_field import TotalField

SINGLE_ECHO_SCREENING_MM = 8.0
"""The phase of the receive coils is left in a single echo; screening takes out most of it."""


STRONG_PASSES, STRONG_CHANGE = 4, 0.1
"""The first fit sees a field that background removal has weakened, a small source by a quarter and
a large one by a half; the next see less and less of that."""
MUCH_UNTRUSTED, MOST_UNTRUSTED = 0.1, 0.5
"""Shares of the brain without trusted phase, beyond which is a warning and a failure."""
STRONG_ML = 0.1
"""Strong sources of less are not worth a warning: veins at 7 T have as much."""
LEAST_BACKGROUND = 2.0
"""The typical total field of a brain over its local field, unless phase was filtered: simulated
scans have 8 to 9, and 0.9 to 2.3 after high-pass filters of 4 to 12 mm."""


@dataclass(frozen=True)
class LocalField:
    """The field of the sources in the brain.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Zero outside ``mask``.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.
    brain : torch.Tensor, shape (X, Y, Z), bool, optional
        Where susceptibility is wanted; methods that weight their data also give values where the
        field is not known. ``mask`` by default.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.
    noise_ppm : float, optional
        Standard deviation of the field where the weight is 1.
    mean_rad_per_ppm : float, optional
        Phase in radians of a field of 1 ppm at the mean echo time, for methods that fit the
        complex signal.
    unsure : torch.Tensor, shape (X, Y, Z), bool, optional
        Voxels in and around strong sources, where the field may be wrong.
    measured : bool
        Background removal made the field, which then holds a residue of the background; False
        for the exact field of the sources in the mask.
    provenance : Provenance
        How it was made.

    Raises
    ------
    TypeError, ValueError
        If something does not fit.
    """

    local_field_ppm: Tensor
    mask: Tensor
    grid: Grid
    brain: Tensor | None = None
    weights: Tensor | None = None
    noise_ppm: float | None = None
    mean_rad_per_ppm: float | None = None
    unsure: Tensor | None = None
    measured: bool = True
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        check_mask("mask", self.mask, self.grid.shape, empty=False)
        check_volume("local_field_ppm", self.local_field_ppm, self.grid.shape)
        check_finite("local_field_ppm", self.local_field_ppm, self.mask)
        if self.weights is not None:
            check_volume("weights", self.weights, self.grid.shape)
            check_weights("weights", self.weights, self.mask)
        if self.brain is not None:
            check_mask("brain", self.brain, self.grid.shape)


def remove_background(
    total: TotalField,
    brain: Tensor | None = None,
    *,
    within: Tensor | None = None,
    method: str = registry.default("background"),
    params: Mapping[str, Any] | None = None,
) -> LocalField:
    """Remove the background field.

    Parameters
    ----------
    total : TotalField
        The field of all sources.
    brain : torch.Tensor, shape (X, Y, Z), bool, optional
        Where the local field is wanted; where the total field is trusted by default.
    within : torch.Tensor, shape (X, Y, Z), bool, optional
        A second mask; only what lies in both is used.
    method : str
        A method of the stage ``background``.
    params : mapping, optional
        Parameters that differ from the method's defaults. A single echo is screened at
        :data:`SINGLE_ECHO_SCREENING_MM` by ``lbv-pdf``, unless something else is given.

    Returns
    -------
    LocalField
        Valid in the brain, where the total field is trusted and the method does not erode.

    Raises
    ------
    ValueError
        If no voxel is left.
    """
    chosen = registry.method("background", method)
    given = dict(params or {})
    if total.echoes == 1 and chosen.name == "lbv-pdf":
        given = {"screening_mm": SINGLE_ECHO_SCREENING_MM} | given
    mask = total.trusted if within is None else total.trusted & within
    brain = total.trusted if brain is None else brain
    used = chosen.with_values(given)
    grid = head_sized(total.grid, brain)
    check_mask("mask", mask, total.grid.shape, empty=False)
    whole, all_brain = total, brain
    box = BoundingBox.of(mask | brain, grid)  # beyond, there is no local field
    total, grid = total.within(box), box.inner
    mask, brain, within = (
        box.cut(mask),
        box.cut(brain),
        None if within is None else box.cut(within),
    )

    def without_background(total_field_ppm: Tensor) -> ValidField:
        problem = BackgroundProblem(total_field_ppm, mask, grid, total.weights)
        filled = replace(problem, total_field_ppm=fill_unknown(problem))
        return chosen.function(filled, used)

    found = without_background(total.total_field_ppm)
    found, strong = _with_strong_sources(found, total, mask, grid, without_background)
    valid = found.mask & brain
    if not any_of(valid):
        raise ValueError(
            f"No voxel of the brain has a local field: {int(mask.sum())} had a trusted total "
            f"field, and {method} left {int(found.mask.sum())} of them"
        )
    unknown = brain & ~mask if within is None else brain & within & ~mask
    if total.weights is not None:
        unknown |= brain & mask & (total.weights <= 0)
    facts, warnings = _judged(brain, unknown)
    if strong is not None:
        facts["StrongSourcesFittedMl"] = round(volume_ml(strong, total.grid), 3)
    if _was_filtered(total.total_field_ppm, found.local_field_ppm, valid):
        warnings.append(
            "The total field holds hardly any background, as if the phase had been high-pass "
            "filtered; susceptibility is then too small. Use phase that was not filtered"
        )
    if total.unsure is not None:
        strong_ml = float((total.unsure & brain).sum()) * total.grid.voxel_volume_mm3 / 1000
        facts["StrongSourceMl"] = round(strong_ml, 3)
        if strong_ml > STRONG_ML:
            warnings.append(
                f"{strong_ml:.2f} mL of the brain lie in or around sources so strong (bleeding, "
                "calcification, implants) that the map may be wrong there; they are not in "
                "desc-qsm_mask, and the expected error says by how much"
            )
    parameters = {"BackgroundRemoval": chosen.name, "BackgroundParameters": asdict(used)}
    return LocalField(
        box.paste(torch.where(valid, found.local_field_ppm, 0.0)),
        box.paste(valid),
        whole.grid,
        all_brain,
        whole.weights,
        whole.noise_ppm,
        whole.mean_rad_per_ppm,
        whole.unsure,
        provenance=Provenance(parameters, facts, tuple(warnings)),
    )


def _with_strong_sources(
    found: ValidField,
    total: TotalField,
    mask: Tensor,
    grid: Grid,
    without_background: Callable[[Tensor], ValidField],
) -> tuple[ValidField, Tensor | None]:
    """Return the local field with the whole field of strong sources, and where they were sought.

    As it was, and None, without any.

    Background removal takes a part of every field that is smooth; of a bleeding, whose field
    reaches far, so much that its sum is wrong. The field of such sources is fitted, subtracted
    before background removal, and added again.
    """
    weights = mask.to(found.local_field_ppm) if total.weights is None else total.weights
    known = found.mask & (weights > 0) & (rim_weight(found.mask, grid) >= 1)
    if not any_of(known):
        return found, None
    enclosed = torch.zeros_like(mask) if total.unsure is None else total.unsure & found.mask
    local, before = found.local_field_ppm, torch.zeros_like(found.local_field_ppm)
    for _ in range(STRONG_PASSES):
        strong = strong_voxels(local, known, grid) | enclosed
        if not any_of(strong):
            return found, None
        field = field_of_sources(local, found.mask, weights, strong, grid)
        rest = without_background(total.total_field_ppm - field)
        local = torch.where(found.mask, rest.local_field_ppm + field, 0.0)
        if (field - before).norm() < STRONG_CHANGE * field.norm():
            break
        before = field
    return ValidField(local, found.mask), strong


def _judged(brain: Tensor, unknown: Tensor) -> tuple[dict[str, Any], list[str]]:
    """Return how much of the brain has no field that can be trusted, or refuse it."""
    share = float(unknown.sum()) / max(1, int(brain.sum()))
    facts = {"UntrustedPercent": round(100 * share, 2)}
    said = f"{100 * share:.0f} % of the brain has no phase that can be trusted"
    if share > MOST_UNTRUSTED:
        raise ValueError(
            f"{said}, expected at most {100 * MOST_UNTRUSTED:.0f} %: it is noise, wrapped between "
            "all neighbours, or not the phase of this magnitude. Look at the phase images and at "
            "the combination of the coils"
        )
    if share > MUCH_UNTRUSTED:
        return facts, [f"{said}; the map is not valid there, and near it only with care"]
    return facts, []


def _was_filtered(total_ppm: Tensor, local_ppm: Tensor, valid: Tensor) -> bool:
    """Return whether a field of a whole brain has less background than any unfiltered one."""
    box = box_slices(valid)
    count = int(valid.count_nonzero())
    if box is None or count < 1000:
        return False
    if count < 0.3 * valid[box].numel():  # a brain fills half of its box
        return False
    some = some_of(valid)
    total, local = (at(x, some) for x in (total_ppm, local_ppm))
    spread_total, spread_local = ((x - x.median()).abs().median() for x in (total, local))
    return bool(spread_total < LEAST_BACKGROUND * spread_local)
