"""All metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.field.reliability import rim_weight
from qsm_pipeline.numerics.quality.fidelity import inversion_residual_percent
from qsm_pipeline.numerics.quality.mask_shape import compactness, volume_ml
from qsm_pipeline.numerics.quality.metric import Metric
from qsm_pipeline.numerics.quality.noise import signal_to_noise
from qsm_pipeline.numerics.quality.rim import rim_ratio
from qsm_pipeline.numerics.quality.streaking import streaking_index
from qsm_pipeline.numerics.quality.unwrapping import incongruence_rad, jumps_percent

_WHOLE_HEAD_MM = 120.0
"""Narrower volumes hold no whole brain, so the volume of their mask is not checked."""


@dataclass(frozen=True)
class Assessed:
    """The data that the quality of a run is computed from.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Any unit.
    wrapped_rad, unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase, without its offset, before and after unwrapping.
    weights : torch.Tensor, shape (X, Y, Z)
        Reliability of the field, 0 where it is not used.
    relative_residual : torch.Tensor, shape (X, Y, Z)
        Of the field fit, see `qsm_pipeline.numerics.field.fit.FieldFit`.
    unsure : torch.Tensor, shape (X, Y, Z), bool
        In and around strong sources, see `qsm_pipeline.numerics.field.trust.Trust`.
    local_field_ppm, field_residual_ppm, chi_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, what the map does not explain of it, and the map.
    brain, known, valid : torch.Tensor, shape (X, Y, Z), bool
        Brain, where the local field is known, and where the map is valid.
    reference_sd_ppm : float or None
        Standard deviation of the susceptibility in the reference region, None without one.
    grid : Grid
        Geometry.
    """

    magnitude: Tensor
    wrapped_rad: Tensor
    unwrapped_rad: Tensor
    weights: Tensor
    relative_residual: Tensor
    unsure: Tensor
    local_field_ppm: Tensor
    field_residual_ppm: Tensor
    chi_ppm: Tensor
    brain: Tensor
    known: Tensor
    valid: Tensor
    reference_sd_ppm: float | None
    grid: Grid


def assess(run: Assessed, limits: Mapping[str, float]) -> list[Metric]:
    """Compute all metrics.

    Parameters
    ----------
    run : Assessed
        The run.
    limits : mapping
        From `qsm_pipeline.numerics.quality.limits.check_limits`.

    Returns
    -------
    list of Metric
        In the order of processing, each with its limits.
    """
    extent_mm = min(n * v for n, v in zip(run.grid.shape, run.grid.voxel_size_mm, strict=True))
    run = _cut(run)
    metrics = [*_of_the_scan(run), *_of_the_field(run), *_of_the_map(run)]
    if extent_mm < _WHOLE_HEAD_MM:
        limits = {key: v for key, v in limits.items() if not key.endswith("mask_volume_ml")}
    return [metric.within(limits) for metric in metrics]


def _cut(run: Assessed) -> Assessed:
    """Return the box of the masks: no metric looks beyond them."""
    masks = run.brain | run.known | run.valid
    if not masks.any():
        return run
    box = BoundingBox.of(masks, run.grid, margin=1)
    volumes: dict[str, Any] = {
        k: box.cut(v) for k, v in vars(run).items() if isinstance(v, Tensor)
    }
    return replace(run, grid=box.inner, **volumes)


def _of_the_scan(run: Assessed) -> list[Metric]:
    snr = [
        Metric(
            f"snr_echo_{number}",
            signal_to_noise(echo, run.brain),
            "1",
            f"Median magnitude of echo {number} in the brain over the standard deviation of its "
            "noise, which is found from second differences along all axes.",
            "doi:10.1006/cviu.1996.0060",
        )
        for number, echo in enumerate(run.magnitude, 1)
    ]
    return [
        *snr,
        Metric("mask_volume_ml", volume_ml(run.brain, run.grid), "mL", "Brain mask."),
        Metric(
            "mask_compactness",
            compactness(run.brain, run.grid),
            "1",
            "Surface of the ball of the same volume over the surface of the brain mask.",
            "doi:10.1086/624298",
        ),
    ]


def _of_the_field(run: Assessed) -> list[Metric]:
    residual = run.relative_residual[run.brain]
    several = len(run.magnitude) > 1
    return [
        Metric(
            "unwrapping_jumps_percent",
            jumps_percent(run.unwrapped_rad, run.brain),
            "%",
            "Pairs of neighbouring voxels in the brain whose unwrapped phase differs by more than "
            "half a turn, over all echoes.",
        ),
        Metric(
            "unwrapping_incongruence_rad",
            incongruence_rad(run.unwrapped_rad, run.wrapped_rad, run.brain),
            "rad",
            "Root mean square of what unwrapping has added besides whole turns.",
            "doi:10.1002/mrm.30006",
        ),
        Metric(
            "fit_residual_percent",
            100 * float(residual.median()) if several and residual.numel() else None,
            "%",
            "Median over the brain of the part of the signal that the fit of the field over the "
            "echoes does not explain.",
            "doi:10.1002/mrm.30006",
        ),
        Metric(
            "unreliable_percent",
            100 * float((run.weights[run.brain] <= 0).double().mean()),
            "%",
            "Voxels of the brain whose field is not used: fit residual above 30 %, or phase too "
            "steep to be unwrapped.",
            "doi:10.1002/mrm.30006",
        ),
        Metric(
            "strong_source_ml",
            volume_ml(run.unsure & run.brain, run.grid),
            "mL",
            "Volume in and around bleedings, calcifications and other sources so strong that the "
            "field, and with it the map, may be wrong there. It is left out of desc-qsm_mask.",
        ),
    ]


def _of_the_map(run: Assessed) -> list[Metric]:
    weights = run.weights * rim_weight(run.known, head_sized(run.grid, run.brain))
    return [
        Metric(
            "inversion_residual_percent",
            inversion_residual_percent(run.local_field_ppm, run.field_residual_ppm, weights),
            "%",
            "Root mean square of local field minus field of the map, over that of the local "
            "field, weighted as in the inversion.",
        ),
        Metric(
            "streaking_index",
            streaking_index(run.chi_ppm, run.valid, run.grid),
            "1",
            "Amplitude of the map in k-space near the cone where the dipole kernel vanishes, over "
            "that where it is well known; about 1 without streaks.",
            "doi:10.1002/mrm.28435",
        ),
        Metric(
            "reference_sd_ppm",
            run.reference_sd_ppm,
            "ppm",
            "Standard deviation of the susceptibility in the reference region.",
            "doi:10.1002/mrm.30006",
        ),
        Metric(
            "rim_ratio",
            rim_ratio(run.chi_ppm, run.valid, head_sized(run.grid, run.brain)),
            "1",
            "Typical size of the susceptibility in the outer 3 mm of its mask over that within; a "
            "rim is left by the background field.",
        ),
    ]
