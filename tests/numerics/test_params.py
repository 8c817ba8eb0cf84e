"""Parameters that no method can use are refused by name, also what is not a number."""

import math

import pytest

from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.params import (
    background,
    field,
    inversion,
    maps,
    masking,
    phase,
    unwrap,
)

WRONG = [
    (background.LbvParams, "screening_mm", 0.0),
    (background.LbvParams, "tolerance", 0.0),
    (background.LbvParams, "max_iterations", 0),
    (background.PdfParams, "margin_mm", -1.0),
    (background.PdfParams, "inner_to_outer", math.nan),
    (background.PdfParams, "screening_mm", -1.0),
    (background.LbvPdfParams, "block_mm", math.nan),
    (background.SharpParams, "threshold", 1.0),
    (background.SharpParams, "radius_mm", 0.0),
    (background.VSharpParams, "min_radius_mm", 13.0),
    (background.VSharpParams, "threshold", 0.0),
    (background.ResharpParams, "regularisation", -1e-4),
    (background.IsmvParams, "radius_mm", 0.0),
    (field.WeightedFitParams, "dephased_residual", 1.1),
    (field.NonlinearFitParams, "max_iterations", 0),
    (field.ReliabilityParams, "max_step_rad", 4.0),
    (field.ReliabilityParams, "steep_ppm", 0.0),
    (field.RimWeightParams, "rim_mm", math.nan),
    (masking.RobustMaskParams, "opening_mm", -1.0),
    (masking.RefinementParams, "grow_mm", -1.0),
    (masking.FieldRegionParams, "margin_mm", -1.0),
    (masking.TwoPassParams, "threshold", 1.5),
    (phase.PhaseOffsetParams, "sigma_mm", 0.0),
    (unwrap.RomeoParams, "template_echo", 0),
    (maps.WeightingParams, "slab_mm", 0.0),
    (maps.CsfReferenceParams, "parts", 0),
    (inversion.TkdParams, "threshold", 0.4),
    (inversion.TikhonovParams, "penalty", "curvature"),
    (inversion.RtsParams, "shrinkage", 0.0),
    (inversion.RtsParams, "least_squares_iterations", 0),
    (inversion.IlsqrParams, "regularisation", -1.0),
    (inversion.IlsqrParams, "streak_iterations", 0),
    (inversion.IlsqrParams, "flat_fraction", 0.8),
    (inversion.TvParams, "relaxation", 2.0),
    (inversion.TvParams, "max_iterations", 0),
    (inversion.TvParams, "edge_fraction", 1.0),
    (inversion.MediParams, "outlier_sd", 0.0),
    (inversion.NltvParams, "data_step", math.nan),
    (inversion.WienerParams, "refinements", -1),
    (CycleQsmParams, "memory_gb", 0.0),
    (CycleQsmParams, "generator", "/nowhere/generator.safetensors"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"), WRONG, ids=[f"{kind.__name__}-{name}" for kind, name, _ in WRONG]
)
def test_what_no_method_can_use_is_refused(kind, name, value):
    assert kind()  # what is there by default can be used
    with pytest.raises(ValueError, match=name if name != "generator" else value):
        kind(**{name: value})
