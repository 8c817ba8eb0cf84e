"""Methods keep to the threads that they are given."""

import torch

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = methods_of("unwrap")


def test_unwrapping_leaves_the_number_of_threads_alone():
    # numba's own parallel loops would raise it for the rest of the process
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        phase = torch.zeros(2, 8, 8, 8)
        mask = torch.ones(8, 8, 8, dtype=torch.bool)
        problem = UnwrapProblem(phase, mask, (0.005, 0.01), Grid((8, 8, 8)), phase + 1)
        METHODS["romeo"].function(problem, METHODS["romeo"].params())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
