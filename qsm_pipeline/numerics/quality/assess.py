"""All metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.depth import depth_mm
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.field.reliability import rim_weight
from qsm_pipeline.numerics.quality import axis, background, coverage, echoes, raw_data, tissue
from qsm_pipeline.numerics.quality.assessed import Assessed, Measured
from qsm_pipeline.numerics.quality.fidelity import inversion_residual_percent
from qsm_pipeline.numerics.quality.mask_shape import compactness, volume_ml
from qsm_pipeline.numerics.quality.metric import Metric
from qsm_pipeline.numerics.quality.noise import signal_to_noise
from qsm_pipeline.numerics.quality.pairing import coherence, pairing
from qsm_pipeline.numerics.quality.rim import rim_ratio
from qsm_pipeline.numerics.quality.sampling import coarsened, cut_to_masks, middle_half, repeated
from qsm_pipeline.numerics.quality.sign import tails
from qsm_pipeline.numerics.quality.streaking import streaking_index
from qsm_pipeline.numerics.quality.unwrapping import (
    incongruence_rad,
    jumps_percent,
    turns_off_percent,
)

WHOLE_HEAD_MM = 120.0
"""Narrower volumes hold no whole brain, so the volume of their mask is not checked."""
_DEEP_MM = 6.0


@dataclass(frozen=True)
class WholeVolume:
    """What is asked of the whole volume; all else of what lies around the masks.

    Parameters
    ----------
    extent_mm : float
        The shortest.
    pairing : float, optional
        Of raw phase and magnitude of the first echo, see
        :func:`qsm_pipeline.numerics.quality.pairing.pairing`.
    """

    extent_mm: float
    pairing: float | None = None

    @classmethod
    def of(cls, grid: Grid, sized: Grid, first_echo: tuple[Tensor, Tensor] | None) -> WholeVolume:
        """Ask it of the grid, as it is and as head-sized, and of raw phase and magnitude."""
        extent_mm = min(n * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True))
        return cls(extent_mm, pairing(*first_echo, sized) if first_echo else None)


def assess(
    run: Assessed, limits: Mapping[str, float], whole: WholeVolume | None = None
) -> list[Metric]:
    """Compute all metrics.

    Parameters
    ----------
    run : Assessed
        The run.
    limits : mapping
        From `qsm_pipeline.numerics.quality.limits.check_limits`.
    whole : WholeVolume, optional
        Of a run that was cut to its masks before, as ``run`` itself is whole by default.

    Returns
    -------
    list of Metric
        In the order of processing, each with its limits.
    """
    sized = head_sized(run.grid, run.brain)
    if whole is None:
        scan = run.measured
        first = (scan.raw_rad[0], scan.magnitude[0]) if scan else None
        whole = WholeVolume.of(run.grid, sized, first)
    metrics = []
    if run.measured:
        metrics.append(
            Metric(
                "phase_pairing",
                whole.pairing,
                "1",
                "Correlation between where the magnitude is bright and where the phase hangs "
                "together, less the largest of those with the magnitude flipped or moved.",
            )
        )
    fine = cut_to_masks(run, sized)
    run, step = coarsened(fine)
    sized = head_sized(run.grid, run.brain)
    core = _core(run, sized)
    deep = core & run.known & ~run.unsure
    deep = deep if deep.any() else run.brain & run.known
    deep_fine = repeated(deep, step, fine.brain.shape)
    if fine.measured:
        metrics += _of_the_images(fine.measured, fine.brain)
    metrics += _of_the_mask(fine, run, sized)
    if fine.measured and run.measured:
        metrics += [
            *_of_the_magnitude(run.measured, run.brain, core, sized),
            *_of_the_unwrapping(fine.measured, fine.brain, deep_fine),
            *_of_the_echoes(run.measured, run.brain, deep),
            *_of_the_total_field(run.measured, run, core),
        ]
    metrics += [
        Metric(
            "strong_source_ml",
            volume_ml(fine.unsure & fine.brain, fine.grid),
            "mL",
            "Volume in and around bleedings, calcifications and other sources so strong that the "
            "field, and with it the map, may be wrong there. It is left out of desc-qsm_mask.",
        ),
        Metric(
            "field_noise_percent",
            background.white_noise_percent(fine.local_field_ppm, deep_fine),
            "%",
            "Noise of the local field from fourth differences, over its typical size.",
        ),
        *_of_the_field(run, deep, sized),
        *_of_the_map(run, deep, sized),
    ]
    if run.measured:
        metrics.append(_of_map_and_magnitude(run.measured, run, deep, sized))
    if whole.extent_mm < WHOLE_HEAD_MM:
        limits = {key: v for key, v in limits.items() if not key.endswith("mask_volume_ml")}
    return [metric.within(limits) for metric in metrics]


def _core(run: Assessed, sized: Grid) -> Tensor:
    """Return the voxels of the brain away from its surface."""
    depth = torch.from_numpy(depth_mm(run.brain.cpu().numpy(), sized)).to(run.brain.device)
    finite = depth[depth.isfinite()]
    least = min(_DEEP_MM, 0.3 * float(finite.max())) if finite.numel() else 0.0
    return run.brain & (depth > least)


def _of_the_images(scan: Measured, brain: Tensor) -> list[Metric]:
    middle = middle_half(brain)
    snr = [
        Metric(
            f"snr_echo_{number}",
            signal_to_noise(echo, middle),
            "1",
            f"Median magnitude of echo {number} in the brain over the standard deviation of its "
            "noise, which is found from second differences along all axes; of large volumes in "
            "the middle half.",
            "doi:10.1006/cviu.1996.0060",
        )
        for number, echo in enumerate(middle_half(scan.magnitude), 1)
    ]
    phase, magnitude = (raw_data.sampled(x, brain) for x in (scan.raw_rad, scan.magnitude))
    return [
        Metric(
            "phase_range_turns",
            raw_data.phase_range_turns(phase),
            "turns",
            "Range of all but a thousandth of the phase in the brain on either side, of the echo "
            "that fills most.",
        ),
        Metric(
            "clipped_percent",
            raw_data.clipped_percent(phase, magnitude),
            "%",
            "Voxels of the brain that hold the largest or smallest value of their image.",
        ),
        Metric(
            "missing_percent",
            raw_data.missing_percent(phase, magnitude),
            "%",
            "Voxels of the brain whose phase or magnitude is zero in an echo; 100 if most of an "
            "echo is the same as the echo before.",
        ),
        Metric(
            "phase_levels",
            raw_data.phase_levels(phase),
            "1",
            "Different values among 20,000 voxels of the brain, of the echo that has fewest.",
        ),
        *snr,
    ]


def _of_the_mask(fine: Assessed, run: Assessed, sized: Grid) -> list[Metric]:
    return [
        Metric("mask_volume_ml", volume_ml(fine.brain, fine.grid), "mL", "Brain mask."),
        Metric(
            "mask_compactness",
            compactness(fine.brain, fine.grid),
            "1",
            "Surface of the ball of the same volume over the surface of the brain mask.",
            "doi:10.1086/624298",
        ),
        Metric(
            "mask_holes_percent",
            coverage.holes_percent(run.brain),
            "%",
            "Voxels that the mask surrounds, within slices along at least two axes, without "
            "holding them, over those of the mask.",
        ),
        Metric(
            "coverage_mm",
            coverage.thinnest_mm(run.brain, sized),
            "mm",
            "Shortest extent of the mask along the axes of the voxels.",
        ),
    ]


def _of_the_magnitude(scan: Measured, brain: Tensor, core: Tensor, sized: Grid) -> list[Metric]:
    return [
        Metric(
            "mask_dark_percent",
            coverage.dark_percent(scan.magnitude[0], brain & ~core, brain),
            "%",
            "Voxels in the outer 6 mm of the mask with less than a quarter of the brain's median "
            "magnitude in the first echo.",
        ),
        Metric(
            "dark_inside_percent",
            coverage.dark_percent(scan.magnitude[0], core, brain),
            "%",
            "The same for voxels that are deeper than 6 mm.",
        ),
        Metric(
            "tissue_beside_percent",
            coverage.tissue_beside_percent(
                scan.magnitude[0], coherence(scan.raw_rad[0]), brain, sized
            ),
            "%",
            "Voxels 2.5 to 6 mm outside the mask with nothing around them there that is darker "
            "than the brain or has incoherent phase.",
        ),
    ]


def _of_the_unwrapping(scan: Measured, brain: Tensor, deep: Tensor) -> list[Metric]:
    return [
        Metric(
            "unwrapping_jumps_percent",
            jumps_percent(scan.unwrapped_rad[:: max(1, len(scan.unwrapped_rad) - 1)], deep),
            "%",
            "Pairs of neighbouring voxels away from the surface whose unwrapped phase differs by "
            "more than half a turn, in the first and the last echo.",
        ),
        Metric(
            "unwrapping_incongruence_rad",
            incongruence_rad(scan.unwrapped_rad, scan.wrapped_rad, brain),
            "rad",
            "Root mean square of what unwrapping has added besides whole turns.",
            "doi:10.1002/mrm.30006",
        ),
    ]


def _of_the_echoes(scan: Measured, brain: Tensor, deep: Tensor) -> list[Metric]:
    residual = scan.relative_residual[brain]
    several = len(scan.magnitude) > 1
    times = scan.echo_times_s
    return [
        Metric(
            "turns_off_percent",
            turns_off_percent(
                scan.unwrapped_rad, scan.total_field_ppm, deep, times, scan.b0_tesla
            ),
            "%",
            "Voxels away from the surface with an echo that is nearer to the phase of the field "
            "after another number of turns.",
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
            "echo_misfit_rad",
            echoes.echo_misfit_rad(
                scan.unwrapped_rad,
                scan.magnitude,
                scan.total_field_ppm,
                deep,
                times,
                scan.b0_tesla,
            ),
            "rad",
            "Phase of the worst echo less that of the field, averaged over cubes of three voxels: "
            "the absolute value that a tenth of the voxels exceeds.",
        ),
        Metric(
            "decay_misfit_percent",
            echoes.decay_misfit_percent(scan.magnitude, deep, times),
            "%",
            "Magnitude of the worst echo less that of an exponential decay, averaged over cubes "
            "of three voxels: the absolute value that a tenth of the voxels exceeds.",
        ),
        Metric(
            "relative_decay",
            echoes.relative_decay(scan.magnitude, deep, times, scan.b0_tesla),
            "1",
            "Median R2* of the brain over that of an adult's at this field strength.",
            "doi:10.1016/j.mri.2007.02.014",
        ),
    ]


def _of_the_total_field(scan: Measured, run: Assessed, core: Tensor) -> list[Metric]:
    return [
        Metric(
            "unreliable_percent",
            100 * float((run.weights[run.brain] <= 0).double().mean()),
            "%",
            "Voxels of the brain whose field is not used: fit residual above 30 %, or phase too "
            "steep to be unwrapped.",
            "doi:10.1002/mrm.30006",
        ),
        Metric(
            "unreliable_inside_percent",
            100 * float((run.weights[core] <= 0).double().mean()) if core.any() else None,
            "%",
            "The same for voxels that are deeper than 6 mm.",
        ),
        Metric(
            "background_ratio",
            background.background_ratio(
                scan.total_field_ppm, run.local_field_ppm, run.known & ~run.unsure
            ),
            "1",
            "Median distance of the total field from its median, over that of the local field.",
        ),
    ]


def _of_the_field(run: Assessed, deep: Tensor, sized: Grid) -> list[Metric]:
    field, known = run.local_field_ppm, run.known & ~run.unsure
    along = axis.dipole_axis(field * ~run.unsure, run.known, sized)
    return [
        Metric(
            "long_waves_percent",
            background.long_waves_percent(field, known, sized),
            "%",
            "Root mean square of the local field averaged over about 25 mm, over that of the "
            "local field.",
        ),
        Metric(
            "slice_ripple_percent",
            background.slice_ripple_percent(field, deep),
            "%",
            "Typical second difference of the means of slices, along the worst axis, over the "
            "standard deviation of the local field.",
        ),
        Metric(
            "cone_share",
            along.cone_share if along else None,
            "1",
            "Power of the local field near the cone where a dipole has none, over that in the "
            "same shells of k-space.",
        ),
        Metric(
            "axis_misfit",
            along.better_axis if along else None,
            "1",
            "That share for the direction of B0, over the least for directions more than 20 "
            "degrees away.",
        ),
    ]


def _of_the_map(run: Assessed, deep: Tensor, sized: Grid) -> list[Metric]:
    weights = run.weights * rim_weight(run.known, sized)
    where = deep & run.valid if (deep & run.valid).any() else run.valid
    return [
        Metric(
            "inversion_residual_percent",
            inversion_residual_percent(run.local_field_ppm, run.field_residual_ppm, weights),
            "%",
            "Root mean square of local field minus field of the map, over that of the local "
            "field, weighted as in the inversion.",
        ),
        Metric(
            "residual_unevenness",
            background.unevenness(run.field_residual_ppm, deep, sized),
            "1",
            "Size of the residual in windows of about 3 cm: the largest but a percent over the "
            "median.",
        ),
        Metric(
            "streaking_index",
            streaking_index(run.chi_ppm, run.valid, sized),
            "1",
            "Amplitude of the map in k-space near the cone where the dipole kernel vanishes, over "
            "that where it is well known; about 1 without streaks.",
            "doi:10.1002/mrm.28435",
        ),
        Metric(
            "chi_spread_ppm",
            tissue.spread_ppm(run.chi_ppm, where),
            "ppm",
            "Half the distance between the 16th and 84th percentile of the map, away from the "
            "surface.",
        ),
        Metric(
            "iron_ppm",
            tissue.iron_ppm(run.chi_ppm, where),
            "ppm",
            "The 99.5th percentile of the map less its median, away from the surface.",
        ),
        Metric(
            "asymmetry",
            tails(run.chi_ppm[where]),
            "1",
            "By how much the upper tail of the map is longer than the lower, over both.",
        ),
        Metric(
            "rim_ratio",
            rim_ratio(run.chi_ppm, run.valid, sized),
            "1",
            "Typical size of the susceptibility in the outer 3 mm of its mask over that within; a "
            "rim is left by the background field.",
        ),
    ]


def _of_map_and_magnitude(scan: Measured, run: Assessed, deep: Tensor, sized: Grid) -> Metric:
    where = deep & run.valid
    where = where if where.any() else run.valid
    return Metric(
        "iron_decays",
        tissue.iron_decays(run.chi_ppm, scan.magnitude[-1], run.brain, where, sized),
        "1",
        "Mean of the map in the percent of voxels that are darkest beside their surroundings in "
        "the last echo, less its median, over half the distance between its 16th and 84th "
        "percentile.",
    )
