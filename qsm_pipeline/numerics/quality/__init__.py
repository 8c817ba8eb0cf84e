"""Numbers that tell whether a susceptibility map can be trusted."""

from qsm_pipeline.numerics.quality.assess import Assessed, assess
from qsm_pipeline.numerics.quality.limits import DEFAULT_LIMITS, check_limits
from qsm_pipeline.numerics.quality.metric import Metric

__all__ = ["DEFAULT_LIMITS", "Assessed", "Metric", "assess", "check_limits"]
