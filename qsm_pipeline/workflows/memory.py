"""Memory that nodes need: not too many run at once, and what cannot fit is not run at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from qsm_pipeline.bids.images import open_image
from qsm_pipeline.bids.run import GreRun, Skipped
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.steps.nodes import NODES, NodeKind

_LIBRARIES_GB = 0.3
_NETWORK_GB = 0.6
"""What deepbet needs on top, whatever the size of the image: of the run, or of a template."""
_UNREADABLE_GB = 0.01
"""Size where the first file cannot be read; the node that reads it will say so."""
_LEAST_VOLUMES_PER_ECHO = 4
"""To refuse a run by: reading phase and magnitude takes 6, aligning their echoes 9."""


def volume_size_gb(run: GreRun) -> float:
    """Return the size of one volume of a run as float32, in GiB."""
    try:
        return _size_gb(open_image(_first(run)).shape)
    except BIDSInputError:
        return _UNREADABLE_GB


def node_memory_gb(kind: NodeKind, volume_gb: float, echoes: int) -> float:
    """Return what a node may need, in GiB.

    Parameters
    ----------
    kind : NodeKind
        The node.
    volume_gb : float
        From :func:`volume_size_gb`.
    echoes : int
        Number of echoes.
    """
    libraries_gb = _LIBRARIES_GB + (_NETWORK_GB if kind.network else 0)
    return libraries_gb + volume_gb * (kind.volumes + kind.volumes_per_echo * echoes)


def run_memory_gb(run: GreRun) -> float:
    """Return what the node of a run that needs most may need, in GiB."""
    volume_gb, echoes = volume_size_gb(run), len(run.echo_times_s)
    return max(node_memory_gb(kind, volume_gb, echoes) for kind in NODES.values())


def too_large(runs: Iterable[GreRun], mem_gb: float) -> list[Skipped]:
    """Return the runs that could only end by being killed for their memory.

    Parameters
    ----------
    runs : iterable of GreRun
        Their headers are read.
    mem_gb : float
        What nodes may claim together, in GiB.
    """
    skipped = []
    for run in runs:
        try:
            shape = open_image(_first(run)).shape[:3]
        except BIDSInputError:  # the node that reads it will say so
            continue
        echoes = len(run.echo_times_s)
        needed_gb = _size_gb(shape) * _LEAST_VOLUMES_PER_ECHO * echoes
        if needed_gb > mem_gb:
            voxels = " x ".join(map(str, shape))
            reason = (
                f"{_first(run)} has {voxels} voxels, which with {echoes} echo(es) need at least "
                f"{needed_gb:.1f} GiB of memory, more than the {mem_gb:.1f} GiB that may be used "
                "here; give a larger --mem-gb if there is more, or another machine"
            )
            skipped.append(Skipped(f"{run.prefix}_{run.suffix}", reason, run.subject))
    return skipped


def _first(run: GreRun) -> str:
    return (run.phase or run.real)[0]


def _size_gb(shape: Sequence[int]) -> float:
    return math.prod(shape[:3]) * 4 / 2**30
