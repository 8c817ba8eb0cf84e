"""How long nodes took."""

from __future__ import annotations

from nipype.pipeline.engine import Node


def node_seconds(node: Node) -> float:
    """Return how long a node took, 0 where that was not kept."""
    try:
        return float(node.result.runtime.duration)
    except (AttributeError, OSError, TypeError, ValueError):
        return 0.0
