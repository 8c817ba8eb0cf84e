"""The error of a local field, estimated from the field alone."""

from qsm_pipeline.numerics.field_error.estimate import estimate_field_error, estimate_spectra
from qsm_pipeline.numerics.field_error.spectrum import (
    FieldError,
    FieldSpectra,
    SusceptibilitySpectrum,
)

__all__ = [
    "FieldError",
    "FieldSpectra",
    "SusceptibilitySpectrum",
    "estimate_field_error",
    "estimate_spectra",
]
