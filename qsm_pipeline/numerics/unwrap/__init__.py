"""Phase unwrapping."""

from qsm_pipeline.numerics.core.method import Method
from qsm_pipeline.numerics.params.unwrap import (
    BestPathParams,
    LaplacianParams,
    RomeoIndividualParams,
    RomeoParams,
)
from qsm_pipeline.numerics.unwrap.best_path import best_path
from qsm_pipeline.numerics.unwrap.laplacian import laplacian
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.numerics.unwrap.romeo import romeo

METHODS = {
    "romeo": Method(romeo, RomeoParams),
    "romeo-individual": Method(romeo, RomeoIndividualParams),
    "laplacian": Method(laplacian, LaplacianParams),
    "best-path": Method(best_path, BestPathParams),
}

__all__ = ["METHODS", "UnwrapProblem"]
