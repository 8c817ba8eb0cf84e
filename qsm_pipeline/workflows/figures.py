"""The nodes that draw a run, one for each stage, so that a failed run shows how far it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.interfaces.figures import DrawFigures
from qsm_pipeline.steps.nodes import DRAW

_SOURCES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "input": (("read", "magnitude", ""), ("read", "phase", ""), ("read", "combined", "")),
    "mask": (
        ("read", "combined", ""),
        ("mask", "mask", "brain_mask"),
        ("mask", "reliable", ""),
        ("mask", "quality", ""),
    ),
    "field": (
        ("mask", "mask", "brain_mask"),
        ("unwrap", "unwrapped", ""),
        ("fit", "total_field", ""),
        ("fit", "weights", ""),
    ),
    "maps": (
        ("read", "combined", ""),
        ("mask", "mask", "brain_mask"),
        ("background", "local_field", ""),
        ("invert", "valid", "qsm_mask"),
        ("fit", "unsure", ""),
        ("invert", "uncertainty", ""),
        ("invert", "provenance", "field_error"),
        ("reference", "chi", ""),
        ("predict", "predicted_field", ""),
        ("predict", "residual", ""),
        ("relaxation", "r2star", ""),
        ("relaxation", "t2star", ""),
        ("relaxation", "s0", ""),
        ("derive", "swi", ""),
        ("derive", "minip", ""),
        ("derive", "tswi", ""),
    ),
}
"""Of each stage: a node, its output, and the name of the input where that is another one."""


def add_figures(workflow: Workflow, make_node: Callable[..., Node], **inputs: Any) -> None:
    """Add a node for each stage and connect it to what it draws.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        Of one run, complete.
    make_node : callable
        ``make_node(interface, kind, **inputs)``.
    **inputs
        ``out_dir`` and ``run`` of `qsm_pipeline.interfaces.figures.DrawFigures`.
    """
    there = {name: workflow.get_node(name) for name in workflow.list_node_names()}
    for stage, kind in DRAW.items():
        node = make_node(DrawFigures, kind, stage=stage, **inputs)
        for source, output, name in _SOURCES[stage]:
            if source in there:
                workflow.connect(there[source], output, node, name or output)
