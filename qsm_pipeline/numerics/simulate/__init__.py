"""Simulated heads and their raw gradient-echo scans."""

from qsm_pipeline.numerics.simulate.head import Head, simulate_head
from qsm_pipeline.numerics.simulate.scan import Scan, simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.numerics.simulate.tissues import LABELS, TISSUES

__all__ = ["LABELS", "TISSUES", "Head", "Scan", "ScanParams", "simulate_head", "simulate_scan"]
