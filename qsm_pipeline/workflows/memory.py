"""Memory that the nodes of a run need, so that not too many run at once."""

from __future__ import annotations

import math

from qsm_pipeline.bids.load import open_image
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import BIDSInputError

_LIBRARIES_GB = 0.3
_NETWORK_GB = 0.6
"""What deepbet needs on top, whatever the size of the image: of the run, or of a template."""
_UNREADABLE_GB = 0.01
"""Size where the first file cannot be read; the node that reads it will say so."""
_VOLUMES = {
    "read": (4, 4),
    "mask": (20, 2),
    "correct": (8, 8),
    "unwrap": (8, 4),
    "fit": (4, 4),
    "relaxation": (4, 4),
    "background": (25, 0),
    "invert": (50, 1),
    "combine": (5, 0),
    "reference": (5, 0),
    "predict": (30, 0),
    "write": (5, 0),
    "derive": (8, 1),
    "assess": (25, 3),
    "write_quality": (0, 0),
    "labels": (20, 0),
    "regions": (6, 0),
    "write_regions": (4, 0),
    "draw": (8, 1),
}
"""Volumes at once, and for each echo; measured, see the log of ``-vv``."""


def volume_size_gb(run: GreRun) -> float:
    """Return the size of one volume of a run as float32, in GiB."""
    first = (run.phase or run.real)[0]
    try:
        shape = open_image(first).shape[:3]
    except BIDSInputError:
        return _UNREADABLE_GB
    return math.prod(shape) * 4 / 2**30


def node_memory_gb(node: str, volume_gb: float, echoes: int) -> float:
    """Return what a node may need, in GiB.

    Parameters
    ----------
    node : str
        Name in the workflow of `qsm_pipeline.workflows.run.init_run_wf`.
    volume_gb : float
        From :func:`volume_size_gb`.
    echoes : int
        Number of echoes.
    """
    volumes, volumes_per_echo = _VOLUMES[_kind(node)]
    libraries_gb = _LIBRARIES_GB + (_NETWORK_GB if node in ("mask", "labels") else 0)
    return libraries_gb + volume_gb * (volumes + volumes_per_echo * echoes)


def run_memory_gb(run: GreRun) -> float:
    """Return what the node of a run that needs most may need, in GiB."""
    volume_gb, echoes = volume_size_gb(run), len(run.echo_times_s)
    return max(node_memory_gb(node, volume_gb, echoes) for node in _VOLUMES)


def _kind(node: str) -> str:
    return "draw" if node.startswith("draw_") else node.removesuffix("_reliable")
