"""CycleQSM as one more method of dipole inversion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qsm_pipeline.cycleqsm.generator import Generator
from qsm_pipeline.cycleqsm.infer import Reconstruction, reconstruct
from qsm_pipeline.cycleqsm.weights import load_generator
from qsm_pipeline.numerics.inversion.problem import InversionProblem


@dataclass(frozen=True)
class CycleQsmParams:
    """Parameters of CycleQSM.

    Parameters
    ----------
    generator : str
        File of another generator than that of the package.
    memory_gb : float
        Memory for the networks on a CPU, beyond which they run in tiles.
    magnitude : bool
        Keep the edges of the magnitude, where there is one.
    uncertainty : bool
        Also estimate the error of the map, which takes the last network a second time.
    """

    generator: str = ""
    memory_gb: float = 6.0
    magnitude: bool = True
    uncertainty: bool = True

    def __post_init__(self) -> None:
        if not self.memory_gb > 0:
            raise ValueError(f"Expected memory_gb > 0, got {self.memory_gb}")
        if self.generator and not Path(self.generator).is_file():
            raise ValueError(f"Expected the file of a generator, found none at {self.generator}")


def cycleqsm(problem: InversionProblem, params: CycleQsmParams | None = None) -> Reconstruction:
    """Invert a local field with a trained generator.

    Weights are brought nearer to 1: the generator does worse with very uneven ones.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights and magnitude.
    params : CycleQsmParams, optional
        Parameters.

    Returns
    -------
    Reconstruction
        Susceptibility in ppm, zero outside the mask, and its expected error.

    References
    ----------
    Oh et al. 2020, arXiv 2012.03842; this is an independent implementation.
    """
    params = params or CycleQsmParams()
    device = problem.local_field_ppm.device
    return reconstruct(
        _generator(params.generator, str(device)),
        problem.local_field_ppm,
        problem.mask,
        problem.grid,
        None if problem.weights is None else problem.weights.sqrt(),
        problem.magnitude if params.magnitude else None,
        memory_gb=params.memory_gb if device.type != "cuda" else None,
        uncertainty=params.uncertainty,
        error=problem.field_error,
        residual_background=problem.residual_background,
    )


@cache
def _generator(path: str, device: str) -> Generator:
    """Load a generator once per process."""
    return load_generator(Path(path) if path else None, device)
