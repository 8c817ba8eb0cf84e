"""Every method of dipole inversion that a run may choose: the classical ones and CycleQSM."""

from qsm_pipeline.cycleqsm.method import cycleqsm
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.core.method import Method
from qsm_pipeline.numerics.inversion import METHODS

INVERSIONS = {"cycleqsm": Method(cycleqsm, CycleQsmParams, fills_gaps=True), **METHODS}
