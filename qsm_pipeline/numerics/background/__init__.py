"""Background field removal."""

from qsm_pipeline.numerics.background.ismv import IsmvParams, ismv
from qsm_pipeline.numerics.background.lbv import LbvParams, lbv
from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.resharp import ResharpParams, resharp
from qsm_pipeline.numerics.background.sharp import SharpParams, sharp
from qsm_pipeline.numerics.background.sources import LbvPdfParams, PdfParams, pdf
from qsm_pipeline.numerics.background.vsharp import VSharpParams, vsharp
from qsm_pipeline.numerics.core.method import Method

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
