"""What the server that nodes are forked from imports, and nothing else may.

The command itself imports nothing that computes. The server does, so that no node has to.
"""

import gc
import importlib

import qsm_pipeline.engine.nipype_defaults
import qsm_pipeline.workflows.run  # noqa: F401
from qsm_pipeline.numerics.core.depth import warm_up
from qsm_pipeline.steps.methods import METHODS

PRELOADED = (
    "PIL.WebPImagePlugin",
    "click",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "matplotlib.ticker",
    "qsm_pipeline.engine.local_plugin",
    "qsm_pipeline.external.simpleitk.align",
    "qsm_pipeline.external.simpleitk.sides",
    "qsm_pipeline.io.volumes",
    "qsm_pipeline.numerics.maps.predicted_field",
    "qsm_pipeline.numerics.maps.regions",
    "qsm_pipeline.numerics.quality.assess",
    "qsm_pipeline.numerics.quality.verdict",
    "qsm_pipeline.steps.chain",
    "qsm_pipeline.steps.coils",
)
"""Modules that nodes and the script of the command import; those of methods come to it."""

for name in PRELOADED:
    importlib.import_module(name)
for method in METHODS:
    if method.reference:
        method.function  # noqa: B018
warm_up()
gc.freeze()  # a collection in a node would copy the memory that it shares with the server
