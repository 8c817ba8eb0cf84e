"""Dipole inversion."""

from qsm_pipeline.numerics.inversion.nltv import NltvParams, nltv
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.tikhonov import TikhonovParams, tikhonov
from qsm_pipeline.numerics.inversion.tkd import TkdParams, tkd
from qsm_pipeline.numerics.inversion.tv import TvParams, tv
from qsm_pipeline.numerics.method import Method

METHODS = {
    "tkd": Method(tkd, TkdParams),
    "tikhonov": Method(tikhonov, TikhonovParams),
    "tv": Method(tv, TvParams, fills_gaps=True),
    "nltv": Method(nltv, NltvParams, fills_gaps=True),
}

__all__ = ["METHODS", "InversionProblem"]
