"""The error of a local field, estimated from the field alone."""

from qsm_pipeline.numerics.field_error.estimate import estimate_field_error
from qsm_pipeline.numerics.field_error.spectrum import FieldError

__all__ = ["FieldError", "estimate_field_error"]
