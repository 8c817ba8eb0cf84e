"""Nodes that use the maps of a run: quality, susceptibility-weighted images, regional values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.bids.region_names import names_beside
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.segmentations import Segmentation, voxels_of
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.interfaces.derived import WeightMagnitude
from qsm_pipeline.interfaces.quality import AssessQuality, WriteQuality
from qsm_pipeline.interfaces.regions import MapLabels, MeasureRegions, WriteRegions
from qsm_pipeline.steps import nodes

MakeNode = Callable[..., Node]


def add_quality(
    workflow: Workflow,
    node: MakeNode,
    *,
    run: GreRun,
    out_dir: Path,
    limits: Mapping[str, float],
    common: Mapping[str, Any],
) -> None:
    """Judge the run and write the metrics; a failure here leaves the maps alone.

    Parameters
    ----------
    workflow : nipype.pipeline.engine.Workflow
        Of the run, with the nodes of `qsm_pipeline.workflows.run.init_run_wf`.
    node : callable
        Makes a node of an interface, its kind and inputs.
    run : GreRun
        The files.
    out_dir : pathlib.Path
        Derivatives data set.
    limits : mapping
        See `qsm_pipeline.numerics.quality.limits.check_limits`.
    common : mapping
        Device and threads.
    """
    get = workflow.get_node
    judge = node(
        AssessQuality,
        nodes.ASSESS,
        limits=dict(limits),
        echo_times_s=list(run.echo_times_s),
        b0_tesla=run.b0_tesla,
        **common,
    )
    write = node(WriteQuality, nodes.WRITE_QUALITY, run=run.to_dict(), out_dir=str(out_dir))
    workflow.connect(
        [
            (get("read"), judge, [("magnitude", "magnitude"), ("phase", "raw_phase")]),
            (get("mask"), judge, [("mask", "brain")]),
            (get("correct"), judge, [("phase", "phase")]),
            (get("unwrap"), judge, [("unwrapped", "unwrapped")]),
            (
                get("fit"),
                judge,
                [
                    ("total_field", "total_field"),
                    ("weights", "weights"),
                    ("relative_residual", "relative_residual"),
                    ("unsure", "unsure"),
                ],
            ),
            (get("background"), judge, [("local_field", "local_field"), ("mask", "known")]),
            (get("predict"), judge, [("residual", "residual")]),
            (get("invert"), judge, [("valid", "valid")]),
            (get("reference"), judge, [("chi", "chi")]),
            (judge, write, [("metrics", "metrics"), ("verdict", "verdict")]),
        ]
    )


def add_weighted_images(
    workflow: Workflow, node: MakeNode, *, run: GreRun, common: Mapping[str, Any]
) -> None:
    """Make the susceptibility-weighted images and hand them to the node that writes.

    Parameters as of :func:`add_quality`.
    """
    get = workflow.get_node
    weight = node(
        WeightMagnitude,
        nodes.DERIVE,
        echo_times_s=list(run.echo_times_s),
        b0_tesla=run.b0_tesla,
        **common,
    )
    images = [(name, name) for name in ("swi", "tswi", "minip")]
    workflow.connect(
        [
            (get("read"), weight, [("magnitude", "magnitude")]),
            (get("background"), weight, [("local_field", "local_field")]),
            (get("invert"), weight, [("mask", "mask")]),
            (get("reference"), weight, [("chi", "chi")]),
            (weight, get("write"), [*images, ("provenance", "weighting_provenance")]),
        ]
    )


def add_regions(
    workflow: Workflow,
    node: MakeNode,
    *,
    run: GreRun,
    out_dir: Path,
    atlas: Path | None,
    atlas_template: Path | None,
    common: Mapping[str, Any],
) -> None:
    """Measure the regions of the run's segmentation, or of an atlas, if there is either.

    Parameters
    ----------
    atlas, atlas_template : pathlib.Path, optional
        Labels in the space of a template and the template, for runs without a segmentation.
    workflow, node, run, out_dir, common
        As of :func:`add_quality`.
    """
    if run.segmentation:
        found, foreign = Segmentation(**run.segmentation), False
    elif atlas and atlas_template:
        found, foreign = _as_segmentation(atlas.absolute(), atlas_template.absolute()), True
    else:
        return
    get = workflow.get_node
    bring = node(
        MapLabels,
        nodes.LABELS,
        labels=found.labels,
        names=found.names,
        same_grid=found.same_grid,
        transform=found.transform,
        inverse=found.inverse,
        anatomy=found.anatomy,
        atlas=foreign,
        num_threads=common["num_threads"],
        more_gb=_gb(found.labels) + _gb(found.anatomy),
    )
    measure = node(MeasureRegions, nodes.REGIONS, **common)
    write = node(
        WriteRegions, nodes.WRITE_REGIONS, run=run.to_dict(), out_dir=str(out_dir), seg=found.name
    )
    workflow.connect(
        [
            (get("read"), bring, [("combined", "combined")]),
            (get("mask"), bring, [("mask", "brain")]),
            (get("invert"), measure, [("valid", "valid")]),
            (get("reference"), measure, [("chi", "chi")]),
            (get("reference"), write, [("provenance", "reference")]),
            (bring, measure, [("labels", "labels"), ("names", "names")]),
            (bring, write, [("labels", "labels"), ("facts", "facts")]),
            (measure, write, [("rows", "rows")]),
        ]
    )


def region_source(run: GreRun, atlas: Path | None) -> str:
    """Return whose regions :func:`add_regions` measures, in words; empty without any."""
    if run.segmentation:
        return "a segmentation of the same participant"
    return f"the atlas {atlas.name}" if atlas else ""


def _gb(volume: str) -> float:
    """Return what reading a volume of another grid takes, in GiB; 0 if it cannot be read."""
    with suppress(BIDSInputError):  # the node will say so, and the map does not need it
        return voxels_of(Path(volume)) * 16 / 2**30 if volume else 0.0
    return 0.0


def _as_segmentation(atlas: Path, template: Path) -> Segmentation:
    names = names_beside(atlas)
    return Segmentation(str(atlas), "atlas", str(names or ""), anatomy=str(template))
