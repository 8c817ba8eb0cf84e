"""The nodes of a run's workflow: what they are called, what they do with files, what they need.

Records, crash files and messages know a node by its name. What follows from it stands in this
table alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class NodeKind:
    """A node of a run's workflow.

    Parameters
    ----------
    name : str
        Its name in the workflow.
    label : str
        What it is called on a page.
    volumes, volumes_per_echo : int
        Volumes of the run that it holds in memory at once, and for each echo; measured, see the
        log of ``-vv``.
    serial : bool
        It reads or writes files and uses one core.
    computes : bool
        It needs the libraries that compute.
    network : bool
        It runs the network of deepbet, which needs memory whatever the size of the image.
    figures : str
        The stage whose figures it draws, of `qsm_pipeline.reports.figures.STAGES`; empty if none.
    optional : bool
        It makes figures or tables, without which the maps are whole: it comes last.
    usual_s : float
        Seconds in a run of five echoes with the default methods; only how they compare counts, for
        the time left of a run before the first has ended, and for what is drawn first.
    """

    name: str
    label: str
    volumes: int
    volumes_per_echo: int = 0
    serial: bool = False
    computes: bool = True
    network: bool = False
    figures: str = ""
    optional: bool = False
    usual_s: float = 4.0


READ = NodeKind("read", "reading", 4, 4, serial=True, computes=False, usual_s=3.5)
MASK = NodeKind("mask", "brain mask", 20, 2, network=True, usual_s=6.4)
CORRECT = NodeKind("correct", "phase correction", 8, 8, usual_s=1.5)
UNWRAP = NodeKind("unwrap", "phase unwrapping", 8, 4, usual_s=1.0)
FIT = NodeKind("fit", "field fit", 4, 4, usual_s=0.9)
RELAXATION = NodeKind("relaxation", "R2* fit", 4, 4, usual_s=0.9)
BACKGROUND = NodeKind("background", "background field removal", 25, usual_s=3.5)
INVERT = NodeKind("invert", "dipole inversion", 50, 1, usual_s=8.5)
BACKGROUND_RELIABLE = replace(
    BACKGROUND, name="background_reliable", label="background field removal, reliable voxels"
)
INVERT_RELIABLE = replace(
    INVERT, name="invert_reliable", label="dipole inversion, reliable voxels"
)
COMBINE = NodeKind("combine", "combination of two passes", 5, usual_s=0.5)
REFERENCE = NodeKind("reference", "reference", 5, usual_s=0.2)
PREDICT = NodeKind("predict", "predicted field", 30, usual_s=0.5)
WRITE = NodeKind("write", "writing", 5, serial=True, usual_s=2.3)
DERIVE = NodeKind("derive", "susceptibility-weighted images", 8, 1)
ASSESS = NodeKind("assess", "quality metrics", 25, 3, usual_s=3.0)
WRITE_QUALITY = NodeKind(
    "write_quality", "writing of quality metrics", 0, serial=True, optional=True, usual_s=0.1
)
LABELS = NodeKind("labels", "labels of regions", 20, network=True)
REGIONS = NodeKind("regions", "regional values", 6)
WRITE_REGIONS = NodeKind(
    "write_regions", "writing of regional values", 4, serial=True, optional=True
)
DRAW = {
    stage: NodeKind(
        f"draw_{stage}",
        f"figures of the {what}",
        8,
        1,
        serial=True,
        figures=stage,
        optional=True,
        usual_s=usual_s,
    )
    for stage, what, usual_s in (
        ("input", "raw data", 0.7),
        ("mask", "mask", 0.6),
        ("field", "field", 0.8),
        ("maps", "maps", 2.8),
    )
}
"""By the stage whose figures they draw."""

NODES = {
    kind.name: kind
    for kind in (
        READ,
        MASK,
        CORRECT,
        UNWRAP,
        FIT,
        RELAXATION,
        BACKGROUND,
        BACKGROUND_RELIABLE,
        INVERT,
        INVERT_RELIABLE,
        COMBINE,
        REFERENCE,
        PREDICT,
        WRITE,
        DERIVE,
        ASSESS,
        WRITE_QUALITY,
        LABELS,
        REGIONS,
        WRITE_REGIONS,
        *DRAW.values(),
    )
}
"""Every node by its name."""


def label_of(name: str) -> str:
    """Return what a node is called on a page; the name itself of one that is not known."""
    return NODES[name].label if name in NODES else name
