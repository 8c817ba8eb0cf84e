"""Quantitative susceptibility mapping as a BIDS App.

``cli`` -> ``workflows`` -> ``interfaces`` -> ``numerics``; ``bids`` and ``reports`` beside.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("qsm-pipeline")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
