"""Fixed cases that no training sees, and how well a generator does on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from qsm_pipeline.cycleqsm.data.errors import coloured_noise
from qsm_pipeline.cycleqsm.data.random_brain import RandomBrain
from qsm_pipeline.cycleqsm.data.textures import power_noise, smooth_noise
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.model.generator import FieldBatch, Generator, GeneratorConfig
from qsm_pipeline.cycleqsm.model.uncertainty import calibrate
from qsm_pipeline.cycleqsm.training.metrics import nrmse_percent, slope, xsim
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.voxels import grown
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction

AXIAL, TILTED, OBLIQUE = (0.0, 0.0, 1.0), (0.3, 0.25, 0.92), (0.0, 0.3, 0.95)


@dataclass(frozen=True)
class Scan:
    """How a validation brain is scanned.

    Parameters
    ----------
    brain : int
        First or second brain.
    factors : tuple of int
        Voxel in multiples of the validation's.
    b0_dir : tuple of float
        B0 direction.
    noise_ppm : float
        White floor of the error.
    knee, power : float
        Of stationary coloured noise; a knee of 0 for none.
    outer_ppm : float
        Standard deviation of the field of blobs around the brain.
    fibres_ppm : float
        Strength of an error that follows the fibres of white matter.
    texture_ppm : float
        Standard deviation of fine texture that is added to the susceptibility: measured maps
        have more of it than random brains.
    """

    brain: int
    factors: tuple[int, int, int]
    b0_dir: tuple[float, float, float]
    noise_ppm: float
    knee: float = 0.0
    power: float = 3.2
    outer_ppm: float = 0.0
    fibres_ppm: float = 0.0
    texture_ppm: float = 0.0

    @property
    def kind(self) -> str:
        """What the error is beside white noise."""
        if self.knee:
            return "coloured"
        if self.outer_ppm:
            return "outer sources"
        return "fibres" if self.fibres_ppm else "white"


SCANS = {
    "low noise": Scan(0, (1, 1, 1), AXIAL, 0.001),
    "high noise": Scan(0, (1, 1, 1), AXIAL, 0.004),
    "tilted": Scan(1, (1, 1, 1), TILTED, 0.002),
    "anisotropic": Scan(1, (1, 1, 2), OBLIQUE, 0.002),
    "coloured": Scan(0, (1, 1, 1), AXIAL, 0.0018, knee=0.25),
    "coloured, low floor": Scan(1, (1, 1, 1), TILTED, 0.001, knee=0.25),
    "outer sources": Scan(1, (1, 1, 1), OBLIQUE, 0.0015, outer_ppm=0.004),
    "fibres": Scan(0, (1, 1, 1), TILTED, 0.0015, fibres_ppm=0.01),
    "coloured, textured": Scan(1, (1, 1, 1), OBLIQUE, 0.002, knee=0.25, texture_ppm=0.03),
}
REFERENCE = GeneratorConfig(tv_iterations=6, tv_weight=0.15, tv_exponent=1.5)
"""Whose start is the reference."""
WITH_MAGNITUDE = ("high noise", "anisotropic")
"""Scans that are also validated with their magnitude."""
CASES = (*SCANS, *[f"{name} with magnitude" for name in WITH_MAGNITUDE])
DECAY_PER_PPM = 3.0
"""In 1/ppm: how fast the logarithm of the magnitude falls with the size of the susceptibility."""


@dataclass(frozen=True)
class Case:
    """A simulated scan whose map is known.

    Parameters
    ----------
    chi_ppm, field_ppm : torch.Tensor, shape (X, Y, Z)
        Truth, and its field with noise in the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    grid : Grid
        Geometry.
    kind : str
        What its error is beside white noise.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        In any unit.
    """

    chi_ppm: Tensor
    field_ppm: Tensor
    mask: Tensor
    grid: Grid
    kind: str = "white"
    magnitude: Tensor | None = None


def make_cases(brains: Sequence[RandomBrain], voxel_mm: float) -> dict[str, Case]:
    """Simulate the scans of the two validation brains."""
    cases = {}
    for number, (name, scan) in enumerate(SCANS.items()):
        truth = brains[scan.brain]
        voxel = tuple(factor * voxel_mm for factor in scan.factors)
        size = [max(8, round(n / v)) for n, v in zip(truth.mask.shape, voxel, strict=True)]
        assert truth.signal is not None
        stack = torch.stack([truth.chi_ppm, truth.mask.float(), truth.signal])[None]
        chi, inside, signal = interpolate(stack, size=size, mode="trilinear")[0]
        mask = inside > 0.5
        grid = Grid(tuple(size), voxel, scan.b0_dir)
        generator = torch.Generator().manual_seed(number)
        if scan.texture_ppm:
            chi = chi + scan.texture_ppm * power_noise(chi.shape, 0.5, generator)
        chi = chi * mask
        field = DipoleOperator(grid)(chi)
        field = field + scan.noise_ppm * torch.randn(chi.shape, generator=generator)
        field = field + _further_error(scan, chi, mask, grid, generator)
        cases[name] = Case(chi, field * mask, mask, grid, scan.kind)
        if name in WITH_MAGNITUDE:
            magnitude = signal * torch.exp(-DECAY_PER_PPM * chi.abs())
            cases[f"{name} with magnitude"] = replace(cases[name], magnitude=magnitude)
    return cases


def _further_error(
    scan: Scan, chi_ppm: Tensor, mask: Tensor, grid: Grid, generator: torch.Generator
) -> Tensor:
    """Return the error of a field beside white noise; other than what training draws."""
    error = torch.zeros_like(chi_ppm)
    if scan.knee:
        noise = coloured_noise(grid, scan.knee, scan.power, generator)
        error += scan.noise_ppm * noise
    if scan.outer_ppm:
        error += scan.outer_ppm * _blobs_outside(mask, grid, generator)
    if scan.fibres_ppm:
        error += scan.fibres_ppm * _fibres(chi_ppm, mask, grid, generator)
    return error


def _blobs_outside(mask: Tensor, grid: Grid, generator: torch.Generator) -> Tensor:
    """Return the field of blobs of 2 to 8 mm just outside of a mask, of unit variance in it."""
    near = grown(mask, [math.ceil(8 / v) for v in grid.voxel_size_mm])
    places = (near & ~mask).nonzero()
    chosen = places[torch.randint(len(places), (40,), generator=generator)]
    axes = [torch.arange(n) * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    sources = torch.zeros(grid.shape)
    for place in chosen:
        radius = 2 + 6 * float(torch.rand((), generator=generator))
        strength = float(torch.randn((), generator=generator))
        squared = sum(
            (a - a[i]).square().reshape([-1 if i == n else 1 for i in range(3)])
            for n, (a, i) in enumerate(zip(axes, place.tolist(), strict=True))
        )
        sources += strength * (squared < radius**2)
    field = DipoleOperator(grid)(sources * ~mask)
    return field / field[mask].std()


def _fibres(chi_ppm: Tensor, mask: Tensor, grid: Grid, generator: torch.Generator) -> Tensor:
    """Return cos^2 - 1/3 of the angle between B0 and fibres, where tissue is diamagnetic."""
    across = [torch.gradient(smooth_noise(grid.shape, 20.0, generator)) for _ in range(2)]
    direction = torch.linalg.cross(*(torch.stack(g) for g in across), dim=0)
    direction = direction / direction.norm(dim=0).clamp(min=1e-9)
    b0 = torch.tensor(grid.b0_dir)
    angle = (direction * (b0 / b0.norm())[:, None, None, None]).sum(0)
    smooth = avg_pool3d((chi_ppm * mask)[None, None], 3, 1, 1)[0, 0]
    white = torch.sigmoid((-0.008 - smooth) / 0.006)
    return (angle.square() - 1 / 3) * white * mask


def validate(generator: Generator, case: Case) -> tuple[Tensor, dict[str, float]]:
    """Return a generator's map of a case in ppm, shape (X, Y, Z), and its :func:`scores`."""
    chi = _reconstruct(generator, case).chi_ppm.cpu()
    return chi, scores(chi, case)


def _reconstruct(generator: Generator, case: Case, **options: bool) -> Reconstruction:
    device = next(generator.parameters()).device
    magnitude = None if case.magnitude is None else case.magnitude.to(device)
    field, mask = case.field_ppm.to(device), case.mask.to(device)
    return reconstruct(
        generator,
        field,
        mask,
        case.grid,
        magnitude=magnitude,
        residual_background=case.kind != "white",
        **options,
    )


def scores(chi_ppm: Tensor, case: Case) -> dict[str, float]:
    """Return ``nrmse`` in percent, ``xsim``, and the ``slope`` of the strong sources of a map."""
    judges = {"nrmse": nrmse_percent, "xsim": xsim, "slope": slope}
    return {key: judge(chi_ppm, case.chi_ppm, case.mask) for key, judge in judges.items()}


def reference_scores(case: Case) -> dict[str, float]:
    """Return the :func:`scores` of total variation that knows the spectrum of the error."""
    generator = Generator(REFERENCE)
    batch = FieldBatch(
        case.field_ppm[None, None],
        case.mask[None, None],
        case.mask[None, None].float(),
        (case.grid,),
        residual_background=(case.kind != "white",),
    )
    prepared = generator.prepare(batch)
    return scores((prepared.start * prepared.scale_ppm)[0, 0], case)


def worst_kind(
    found: Mapping[str, Mapping[str, float]],
    references: Mapping[str, Mapping[str, float]],
    cases: Mapping[str, Case],
) -> tuple[str, float]:
    """Return the kind of error that scores are worst for, and its error over the reference's.

    The error of a case is the mean of NRMSE and of 1 - XSIM, each over that of the reference.
    """
    kinds: dict[str, list[float]] = {}
    for name, case in cases.items():
        mine, other = found[name], references[name]
        unlike = (1 - mine["xsim"]) / (1 - other["xsim"])
        kinds.setdefault(case.kind, []).append((mine["nrmse"] / other["nrmse"] + unlike) / 2)
    means = {kind: mean(values) for kind, values in kinds.items()}
    worst = max(means, key=means.__getitem__)
    return worst, means[worst]


def calibrate_errors(generator: Generator, cases: Iterable[Case]) -> None:
    """Set the gains of a generator's expected error so that they fit its errors in some cases."""
    maps = []
    for case in cases:
        made = _reconstruct(generator, case, uncertainty=True, keep_error_sources=True)
        assert made.error_sources is not None
        error = (made.chi_ppm.cpu() - case.chi_ppm)[case.mask]
        maps.append((made.error_sources.cpu()[:, case.mask].T, error - error.mean()))
    generator.error_gains.copy_(calibrate(maps))
