"""Simulated heads and their raw gradient-echo scans."""

from qsm_pipeline.numerics.simulate.anatomy import Anatomy, Lesion, random_anatomy
from qsm_pipeline.numerics.simulate.head import Head, simulate_head
from qsm_pipeline.numerics.simulate.scan import Scan, ScanParams, simulate_scan
from qsm_pipeline.numerics.simulate.tissues import LABELS, TISSUES

__all__ = [
    "LABELS",
    "TISSUES",
    "Anatomy",
    "Head",
    "Lesion",
    "Scan",
    "ScanParams",
    "random_anatomy",
    "simulate_head",
    "simulate_scan",
]
