"""The steps as a library: arrays or files in, maps with their expected error out.

Arrays of numpy or tensors of torch go in, and the same kind comes out. `qsm_pipeline` offers
everything here under its own name; see ``docs/notebooks``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.bids.maps import field_in_ppm, read_mask, read_volume, refuse_map
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.quality.assess import assess
from qsm_pipeline.numerics.quality.limits import check_limits
from qsm_pipeline.numerics.quality.verdict import judge as judge_metrics
from qsm_pipeline.steps import scan as steps_scan
from qsm_pipeline.steps.assessment import assessed, measured_of
from qsm_pipeline.steps.chain import Methods, fit_field_of_scan, phases_of_scan
from qsm_pipeline.steps.local_field import LocalField as StepLocalField
from qsm_pipeline.steps.local_field import remove_background as remove_background_step
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.quality import in_words
from qsm_pipeline.steps.susceptibility import SusceptibilityMap, invert_dipole
from qsm_pipeline.steps.total_field import TotalField

Array = np.ndarray | Tensor


def _tensor(x: Array) -> Tensor:
    """Return numbers as float32 and booleans as they are."""
    tensor = torch.as_tensor(np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x)
    return tensor if tensor.dtype == torch.bool else tensor.float()


def _mask(name: str, x: Array) -> Tensor:
    mask = _tensor(x)
    if mask.dtype != torch.bool:
        raise TypeError(f"Expected {name} as booleans, got {x.dtype}; compare it with a number")
    return mask


def _grid(
    name: str,
    values: Tensor,
    mask: Tensor,
    affine: np.ndarray,
    b0_dir: tuple[float, float, float] | None,
) -> Grid:
    """Return the grid of a field and its mask, with B0 as given or as the affine says."""
    if values.shape != mask.shape or values.ndim != 3:
        got = f"{tuple(values.shape)} and {tuple(mask.shape)}"
        raise ValueError(f"Expected {name} and mask of one 3D shape, got {got}")
    x, y, z = values.shape
    grid = Grid.from_affine((x, y, z), affine)
    return grid if b0_dir is None else replace(grid, b0_dir=b0_dir)


def _like(x: Tensor, numpy: bool) -> Array:
    return x.cpu().numpy() if numpy else x


@dataclass(frozen=True)
class Scan:
    """A gradient-echo scan.

    Parameters
    ----------
    phase_rad : array, shape (E, X, Y, Z)
        Wrapped phase in radians, larger where the field is higher.
    magnitude : array, shape (E, X, Y, Z)
        Magnitude in any unit.
    echo_times_s : sequence of float, length E
        In seconds, ascending.
    b0_tesla : float
        Field strength.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm, as NIfTI has it.
    readout : {"unknown", "monopolar", "bipolar"}
        Whether even echoes were read in the other direction.
    mask : array of bool, shape (X, Y, Z), optional
        A brain mask of your own, which is used unchanged.
    echo_numbers : sequence of int, optional
        Of each echo, from 1, where some are missing; they decide its polarity.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.

    Examples
    --------
    >>> import numpy as np
    >>> import qsm_pipeline as qsm
    >>> zeros = np.zeros((2, 16, 16, 16))
    >>> scan = qsm.Scan(zeros, zeros + 1, (0.005, 0.010), 3.0, np.eye(4))
    >>> qsm.Scan(zeros, zeros + 1, (0.010, 0.005), 3.0, np.eye(4))
    Traceback (most recent call last):
        ...
    ValueError: Expected positive, ascending echo times in seconds, got [0.01, 0.005]
    """

    phase_rad: Array
    magnitude: Array
    echo_times_s: tuple[float, ...]
    b0_tesla: float
    affine: np.ndarray
    readout: str = "unknown"
    mask: Array | None = None
    echo_numbers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        grid = self._scan.grid
        if self.mask is not None and tuple(self.mask.shape) != grid.shape:
            raise ValueError(f"Expected mask of shape {grid.shape}, got {tuple(self.mask.shape)}")

    @property
    def _scan(self) -> steps_scan.Scan:
        return steps_scan.Scan(
            _tensor(self.phase_rad),
            _tensor(self.magnitude),
            tuple(self.echo_times_s),
            self.b0_tesla,
            self.affine,
            self.readout,
            self.echo_numbers,
        )


class _Origin(NamedTuple):
    """What a field was fitted to here, and how."""

    scan: steps_scan.Scan
    methods: Methods
    region: Tensor


@dataclass(frozen=True)
class Field:
    """The total field of a scan, fitted here or by another toolbox.

    Parameters
    ----------
    total_field_ppm : array, shape (X, Y, Z)
        Field of all sources, in ppm.
    mask : array of bool, shape (X, Y, Z)
        The brain.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    weights : array, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.
    magnitude : array, shape (X, Y, Z), optional
        Magnitude image of one echo, for inversions that use its edges.
    b0_dir : tuple of float, length 3, optional
        Direction of B0 in voxel axes, for fields that are not in scanner axes.
    echoes : int
        How many it was fitted to; the phase of the receive coils is left in the field of one.
    provenance : Provenance
        What was used and found.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    total_field_ppm: Array
    mask: Array
    affine: np.ndarray
    weights: Array | None = None
    magnitude: Array | None = None
    b0_dir: tuple[float, float, float] | None = None
    echoes: int = 2
    provenance: Provenance = field(default_factory=Provenance)
    _total: TotalField | None = field(default=None, repr=False)
    _origin: _Origin | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._total is not None:
            return
        values, wanted = _tensor(self.total_field_ppm), _mask("mask", self.mask)
        weights = None if self.weights is None else _tensor(self.weights)
        grid = _grid("total_field_ppm", values, wanted, self.affine, self.b0_dir)
        total = TotalField(values, wanted, grid, weights, echoes=self.echoes)
        object.__setattr__(self, "_total", total)


@dataclass(frozen=True)
class LocalField:
    """The field of the sources in the brain, from a scan or from another toolbox.

    Parameters
    ----------
    local_field_ppm : array, shape (X, Y, Z)
        In ppm; 0 or NaN where it is not known.
    mask : array of bool, shape (X, Y, Z)
        Where susceptibility is wanted.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    weights : array, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.
    magnitude : array, shape (X, Y, Z), optional
        Magnitude image of one echo, for methods that use its edges.
    b0_dir : tuple of float, length 3, optional
        Direction of B0 in voxel axes, for fields that are not in scanner axes.
    measured : bool
        Background removal made the field; False for a simulated field without background.
    b0_tesla, echo_time_s : float, optional
        Field strength and (mean) echo time, for methods that fit the complex signal.
    provenance : Provenance
        How the field was made.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    local_field_ppm: Array
    mask: Array
    affine: np.ndarray
    weights: Array | None = None
    magnitude: Array | None = None
    b0_dir: tuple[float, float, float] | None = None
    measured: bool = True
    b0_tesla: float | None = None
    echo_time_s: float | None = None
    provenance: Provenance = field(default_factory=Provenance)
    _local: StepLocalField | None = field(default=None, repr=False)
    _field: Field | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self._local is not None:
            return
        values, wanted = _tensor(self.local_field_ppm), _mask("mask", self.mask)
        grid = _grid("local_field_ppm", values, wanted, self.affine, self.b0_dir)
        phase_of_ppm = None
        if self.b0_tesla and self.echo_time_s:
            phase_of_ppm = rad_per_s_per_ppm(self.b0_tesla) * self.echo_time_s
        known = wanted & values.isfinite() & (values != 0)
        local = StepLocalField(
            torch.where(known, values, 0.0),
            known,
            grid,
            brain=wanted,
            weights=None if self.weights is None else _tensor(self.weights),
            mean_rad_per_ppm=phase_of_ppm,
            measured=self.measured,
        )
        object.__setattr__(self, "_local", local)

    def on_device(self, device: torch.device) -> tuple[StepLocalField, Tensor | None]:
        """Return what `qsm_pipeline.steps.susceptibility.invert_dipole` takes, on a device."""
        local = self._local
        assert local is not None
        names = ("local_field_ppm", "mask", "brain", "weights")
        volumes = {name: getattr(local, name) for name in names}
        moved: dict[str, Any] = {
            k: None if v is None else v.to(device) for k, v in volumes.items()
        }
        edges = None if self.magnitude is None else _tensor(self.magnitude).to(device)
        return replace(local, **moved), edges


@dataclass(frozen=True)
class Map:
    """A susceptibility map.

    Parameters
    ----------
    chi_ppm : array, shape (X, Y, Z)
        Susceptibility relative to the mean of the mask, zero outside.
    mask : array of bool, shape (X, Y, Z)
        Where it is valid.
    uncertainty_ppm : array, shape (X, Y, Z), optional
        Expected error (one standard deviation), where the method knows it.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    provenance : Provenance
        What was used and found.
    """

    chi_ppm: Array
    mask: Array
    uncertainty_ppm: Array | None
    affine: np.ndarray
    provenance: Provenance
    _made: tuple[LocalField, SusceptibilityMap] = field(repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the map as NIfTI; return the path."""
        values = self.chi_ppm.cpu().numpy() if isinstance(self.chi_ppm, Tensor) else self.chi_ppm
        nib.save(nib.Nifti1Image(values.astype(np.float32), self.affine), path)
        return Path(path)


@dataclass(frozen=True)
class Judgement:
    """The verdict on a map.

    Parameters
    ----------
    level : {"good", "look", "wrong"}
        All quality metrics keep their limits; one does not; one is beyond its limit by far.
    reason, action : str
        What is probably wrong, and what to do; empty for a good map.
    metrics : dict of str to float or None
        All numbers that it rests on; ``qsm-pipeline explain`` says what each means.
    """

    level: str
    reason: str
    action: str
    metrics: dict[str, float | None]


def read_run(bids_dir: str | Path, participant: str, session: str | None = None) -> Scan:
    """Read the one gradient-echo run of a participant from a BIDS folder.

    Parameters
    ----------
    bids_dir : str or pathlib.Path
        Raw data set.
    participant, session : str
        Labels, with or without ``sub-`` and ``ses-``.

    Returns
    -------
    Scan
        As arrays of numpy; with the user's own mask if there is one.

    Raises
    ------
    BIDSInputError
        If there is no run that can be read, or more than one.
    """
    from qsm_pipeline.bids.coils import load_combined
    from qsm_pipeline.bids.collect import collect_runs
    from qsm_pipeline.bids.layout import index
    from qsm_pipeline.steps.coils import combine_coils

    root = Path(bids_dir).resolve()
    labels = [participant.removeprefix("sub-")]
    found = collect_runs(index(root, labels), labels, [session] if session else None)
    if len(found.runs) != 1:
        there = ", ".join(run.prefix for run in found.runs) or "none"
        why = "; ".join(f"{s.what}: {s.reason}" for s in found.skipped)
        raise BIDSInputError(
            f"{root}: expected one run of sub-{labels[0]}, found {there}. {why}".strip()
        )
    run = found.runs[0]
    loaded = load_combined(run, combine_coils)
    magnitude = loaded.magnitude
    if magnitude is None:
        magnitude = np.repeat(loaded.valid_mask[None].astype(np.float32), len(loaded.phase_rad), 0)
    return Scan(
        loaded.phase_rad,
        magnitude,
        loaded.echo_times_s,
        loaded.b0_tesla,
        loaded.affine,
        run.readout,
        loaded.mask,
        tuple(run.echo_numbers),
    )


def read_field(
    path: str | Path,
    *,
    mask: str | Path,
    units: str = "",
    b0_tesla: float | None = None,
    echo_time_s: float | None = None,
    weights: str | Path | None = None,
    magnitude: str | Path | None = None,
    b0_dir: tuple[float, float, float] | None = None,
    measured: bool = True,
) -> LocalField:
    """Read a local field that another toolbox, or the pipeline, has made.

    Parameters
    ----------
    path, mask : str or pathlib.Path
        NIfTI files; where the field is 0 or no number it is not known.
    units : str
        ``ppm``, ``Hz``, ``rad/s`` or ``rad``; by default what the JSON file beside it says.
    b0_tesla : float, optional
        Field strength, for fields that are not in ppm; by default that of the JSON file.
    echo_time_s : float, optional
        For a field in ``rad``: the time over which the phase evolved. Also for methods that fit
        the complex signal.
    weights, magnitude : str or pathlib.Path, optional
        Reliability in [0, 1], and a magnitude image, of the same scan.
    b0_dir, measured
        As of `LocalField`.

    Returns
    -------
    LocalField
        As arrays of numpy.

    Raises
    ------
    BIDSInputError
        If the files do not fit, the units are not known, or the file is a susceptibility map.
    """
    refuse_map(Path(path))
    volume = read_volume(Path(path))

    def values(file: str | Path | None) -> np.ndarray | None:
        return None if file is None else read_volume(Path(file), volume).values

    return LocalField(
        volume.values * field_in_ppm(Path(path), units, b0_tesla, echo_time_s),
        read_mask(Path(mask), volume),
        volume.image.affine,
        values(weights),
        values(magnitude),
        b0_dir,
        measured,
        b0_tesla,
        echo_time_s,
    )


@torch.inference_mode()
def fit_field(
    scan: Scan,
    *,
    unwrap: str = "romeo",
    method: str = "weighted",
    mask: str = "deepbet",
    mask_refinement: str = "phase-quality",
) -> Field:
    """Find the brain, correct and unwrap the phase, and fit the total field.

    Parameters
    ----------
    scan : Scan
        With wrapped phase.
    unwrap, method, mask, mask_refinement : str
        Methods; see :func:`methods`. A mask in the scan is used unchanged.

    Returns
    -------
    Field
        The field with its weights.
    """
    own = None if scan.mask is None else _mask("mask", scan.mask)
    inner = scan._scan
    brain = find_mask(inner, own=own, method=mask, refinement=mask_refinement)
    chosen = Methods(unwrap=unwrap, field_fit=method)
    total = fit_field_of_scan(inner, brain.measured, chosen)
    numpy = isinstance(scan.phase_rad, np.ndarray)
    assert total.weights is not None
    return Field(
        _like(total.total_field_ppm, numpy),
        _like(brain.brain, numpy),
        scan.affine,
        _like(total.weights, numpy),
        scan.magnitude[0],
        echoes=total.echoes,
        provenance=brain.provenance | total.provenance,
        _total=total,
        _origin=_Origin(inner, chosen, brain.measured),
    )


@torch.inference_mode()
def remove_background(field: Field, *, method: str = "lbv-pdf", **params: Any) -> LocalField:
    """Remove the field of sources outside the brain.

    Parameters
    ----------
    field : Field
        The total field.
    method : str
        See ``methods("background")``.
    **params
        Parameters of the method that differ from its defaults.

    Returns
    -------
    LocalField
        With weights and magnitude for the inversion.
    """
    numpy = isinstance(field.total_field_ppm, np.ndarray)
    brain = _mask("mask", field.mask)
    assert field._total is not None
    local = remove_background_step(field._total, brain, method=method, params=params)
    return LocalField(
        _like(local.local_field_ppm, numpy),
        field.mask,
        field.affine,
        field.weights,
        field.magnitude,
        field.b0_dir,
        provenance=field.provenance | local.provenance,
        _local=local,
        _field=field,
    )


@torch.inference_mode()
def invert(
    local: LocalField, *, method: str = "cycleqsm", uncertainty: bool = True, **params: Any
) -> Map:
    """Invert a local field to susceptibility.

    Parameters
    ----------
    local : LocalField
        The field.
    method : str
        See ``methods("inversion")``.
    uncertainty : bool
        Also estimate the error, where the method can.
    **params
        Parameters of the method that differ from its defaults.

    Returns
    -------
    Map
        Relative to the mean of its mask.
    """
    inner, edges = local.on_device(_tensor(local.local_field_ppm).device)
    if method == "cycleqsm":
        params = {"uncertainty": uncertainty} | params
    made: SusceptibilityMap = invert_dipole(inner, edges, method=method, params=params)
    numpy = isinstance(local.local_field_ppm, np.ndarray)
    chi = torch.where(made.mask, made.chi_ppm - made.chi_ppm[made.mask].mean(), 0.0)
    error = made.uncertainty_ppm if uncertainty else None
    return Map(
        _like(chi, numpy),
        _like(made.mask, numpy),
        None if error is None else _like(error, numpy),
        local.affine,
        local.provenance | made.provenance,
        (local, made),
    )


@torch.inference_mode()
def judge(chi: Map) -> Judgement:
    """Tell whether a map is right, and if not, why.

    Parameters
    ----------
    chi : Map
        From :func:`invert`. Of a local field of another toolbox less can be told than of a scan.

    Returns
    -------
    Judgement
        ``good``, ``look`` or ``wrong``, with the reason in words and all numbers.
    """
    local, made = chi._made
    inner, _ = local.on_device(made.chi_ppm.device)
    measured = None
    of = local._field
    if of is not None and of._origin is not None and of._total is not None:
        scan, methods, region = of._origin
        corrected, unwrapped = phases_of_scan(scan, region, methods)
        measured = measured_of(scan, corrected.phase_rad, unwrapped.phase_rad, of._total)
    metrics = assess(assessed(inner, made, measured), check_limits({}))
    said = in_words(judge_metrics(metrics))
    return Judgement(
        said["Level"],
        said.get("Reason", ""),
        said.get("Action", ""),
        {metric.name: metric.value for metric in metrics},
    )
