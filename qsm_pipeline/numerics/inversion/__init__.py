"""Dipole inversion."""

from qsm_pipeline.numerics.core.method import Method
from qsm_pipeline.numerics.inversion.ilsqr import ilsqr
from qsm_pipeline.numerics.inversion.medi import medi
from qsm_pipeline.numerics.inversion.nltv import nltv
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.rts import rts
from qsm_pipeline.numerics.inversion.tikhonov import tikhonov
from qsm_pipeline.numerics.inversion.tkd import tkd
from qsm_pipeline.numerics.inversion.tv import tv
from qsm_pipeline.numerics.params.inversion import (
    IlsqrParams,
    MediParams,
    NltvParams,
    RtsParams,
    TikhonovParams,
    TkdParams,
    TvParams,
)

METHODS = {
    "tkd": Method(tkd, TkdParams),
    "tikhonov": Method(tikhonov, TikhonovParams),
    "rts": Method(rts, RtsParams, fills_gaps=True),
    "ilsqr": Method(ilsqr, IlsqrParams),
    "tv": Method(tv, TvParams, fills_gaps=True),
    "medi": Method(medi, MediParams, fills_gaps=True),
    "nltv": Method(nltv, NltvParams, fills_gaps=True),
}

__all__ = ["METHODS", "InversionProblem"]
