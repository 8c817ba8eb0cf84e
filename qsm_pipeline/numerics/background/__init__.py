"""Background field removal."""

from qsm_pipeline.numerics.background.ismv import ismv
from qsm_pipeline.numerics.background.lbv import lbv
from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.resharp import resharp
from qsm_pipeline.numerics.background.sharp import sharp
from qsm_pipeline.numerics.background.sources import pdf
from qsm_pipeline.numerics.background.vsharp import vsharp
from qsm_pipeline.numerics.core.method import Method
from qsm_pipeline.numerics.params.background import (
    IsmvParams,
    LbvParams,
    LbvPdfParams,
    PdfParams,
    ResharpParams,
    SharpParams,
    VSharpParams,
)

METHODS = {
    "lbv-pdf": Method(pdf, LbvPdfParams),
    "vsharp": Method(vsharp, VSharpParams),
    "sharp": Method(sharp, SharpParams),
    "resharp": Method(resharp, ResharpParams),
    "ismv": Method(ismv, IsmvParams),
    "pdf": Method(pdf, PdfParams),
    "lbv": Method(lbv, LbvParams),
}

__all__ = ["METHODS", "BackgroundProblem", "LocalField"]
