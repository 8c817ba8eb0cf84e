"""The workflow of one run: from raw phase to written maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.engine.checked_node import CheckedNode
from qsm_pipeline.interfaces.derivatives import WriteDerivatives
from qsm_pipeline.interfaces.field import CorrectPhase, FitField, FitRelaxation, UnwrapPhase
from qsm_pipeline.interfaces.mask import CombinePasses, MaskBrain
from qsm_pipeline.interfaces.prepare import ReadRun
from qsm_pipeline.interfaces.susceptibility import (
    InvertDipole,
    PredictField,
    Reference,
    RemoveBackground,
)
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.steps import nodes
from qsm_pipeline.steps.methods import method
from qsm_pipeline.steps.nodes import NodeKind
from qsm_pipeline.workflows.extras import (
    add_quality,
    add_regions,
    add_weighted_images,
    region_source,
)
from qsm_pipeline.workflows.figures import add_figures
from qsm_pipeline.workflows.memory import node_memory_gb, volume_size_gb
from qsm_pipeline.workflows.names import node_name


def init_run_wf(
    *,
    run: GreRun,
    out_dir: Path,
    mask_method: str = "deepbet",
    mask_refinement: str = "phase-quality",
    two_pass: bool = False,
    readout: str = "auto",
    unwrap: str = "romeo",
    field_fit: str = "weighted",
    background: str = "lbv-pdf",
    background_params: Mapping[str, Any] | None = None,
    inversion: str = "cycleqsm",
    inversion_params: Mapping[str, Any] | None = None,
    reference: str = "brain",
    derive: bool = False,
    quality_limits: Mapping[str, float] | None = None,
    atlas: Path | None = None,
    atlas_template: Path | None = None,
    device: str = "cpu",
    omp_nthreads: int = 1,
) -> Workflow:
    """Build the workflow of one run.

    Parameters
    ----------
    run : GreRun
        The files.
    out_dir : pathlib.Path
        Derivatives data set.
    mask_method, mask_refinement, unwrap, field_fit, background, inversion, reference : str
        Methods, by the names of their registries.
    readout : {"auto", "monopolar", "bipolar"}
        Whether even echoes were read in the other direction; by default what the sidecars say, or
        what is found in the phase where they do not.
    two_pass : bool
        Map the reliable voxels alone first, and fill the rest from the whole mask.
    background_params, inversion_params : mapping, optional
        Parameters that differ from the method's defaults.
    derive : bool
        Make susceptibility-weighted images too.
    quality_limits : mapping, optional
        Limits of the quality metrics that differ from the defaults.
    atlas, atlas_template : pathlib.Path, optional
        Labels of regions and the T1-weighted template that they belong to, for a run without a
        segmentation.
    device : str
        torch device.
    omp_nthreads : int
        Threads of one node.

    Returns
    -------
    nipype.pipeline.engine.Workflow
        Ends in the node ``write``.
    """
    times = list(run.echo_times_s)
    several = len(times) > 1
    background_params = dict(background_params or {})
    inversion_params = dict(inversion_params or {})
    on_gpu = device.startswith("cuda")
    common: dict[str, Any] = {
        "device": device,
        "use_gpu": on_gpu,
        "num_threads": omp_nthreads,
    }
    echoes = {"echo_times_s": times, "b0_tesla": run.b0_tesla}
    volume_gb = volume_size_gb(run)

    def node(interface: Any, kind: NodeKind, more_gb: float = 0, **inputs: Any) -> Node:
        alone = kind.serial or (on_gpu and "device" in inputs)
        return CheckedNode(
            interface(**inputs),
            name=kind.name,
            computes=kind.computes,
            rank=1 / kind.usual_s if kind.optional else 0.0,  # last, and the longest of them first
            n_procs=1 if alone else omp_nthreads,
            mem_gb=node_memory_gb(kind, volume_gb, len(times)) + more_gb,
        )

    sums_gb = 3 * len(times) * volume_gb if run.coils else 0.0
    read = node(ReadRun, nodes.READ, sums_gb, run=run.to_dict(), files=list(run.files))
    brain = node(
        MaskBrain,
        nodes.MASK,
        method=mask_method,
        refinement=mask_refinement,
        two_pass=two_pass,
        label=run.prefix,
        **echoes,
    )
    correct = node(
        CorrectPhase,
        nodes.CORRECT,
        readout=run.readout if readout == "auto" else readout,
        echo_numbers=run.echo_numbers,
        **echoes,
        **common,
    )
    unwrapping = node(UnwrapPhase, nodes.UNWRAP, method=unwrap, **echoes, **common)
    fit = node(FitField, nodes.FIT, method=field_fit, **echoes, **common)

    def remove_and_invert(background_kind: NodeKind, invert_kind: NodeKind) -> tuple[Node, Node]:
        remove = node(
            RemoveBackground,
            background_kind,
            method=background,
            params=background_params,
            echoes=2 if run.from_field_map else len(times),  # it holds no phase offset
            **common,
        )
        invert = node(
            InvertDipole,
            invert_kind,
            method=inversion,
            params=inversion_params,
            mean_rad_per_ppm=rad_per_s_per_ppm(run.b0_tesla) * sum(times) / len(times),
            **common,
        )
        return remove, invert

    remove, invert = remove_and_invert(nodes.BACKGROUND, nodes.INVERT)
    zero = node(Reference, nodes.REFERENCE, reference=reference, **common)
    predict = node(PredictField, nodes.PREDICT, **common)
    regions = region_source(run, atlas)
    write = node(
        WriteDerivatives,
        nodes.WRITE,
        out_dir=str(out_dir),
        run=run.to_dict(),
        parameters={"Regions": regions} if regions else {},
    )
    workflow = Workflow(node_name(run))
    workflow.connect(
        [
            (read, brain, [("valid", "valid"), ("mask", "user_mask")]),
            (read, brain, [("magnitude", "magnitude"), ("phase", "phase")]),
            (read, correct, [("phase", "phase"), ("magnitude", "magnitude")]),
            (brain, correct, [("measured", "mask")]),
            (read, unwrapping, [("magnitude", "magnitude")]),
            (brain, unwrapping, [("measured", "mask")]),
            (correct, unwrapping, [("phase", "phase")]),
            (read, fit, [("magnitude", "magnitude")]),
            (brain, fit, [("measured", "mask")]),
            (unwrapping, fit, [("unwrapped", "phase")]),
            *_connections(read, brain, fit, remove, invert),
            (brain, invert, [("mask", "brain")]),
            (invert, zero, [("mask", "mask")]),
            (read, zero, [("region", "region")]),
            (invert, predict, [("mask", "mask")]),
            (remove, predict, [("local_field", "local_field")]),
            (read, write, [("facts", "inferred"), ("combined", "fieldmap_magnitude")]),
            (brain, write, [("mask", "brain_mask"), ("provenance", "mask_provenance")]),
            (correct, write, [("provenance", "phase_provenance")]),
            (unwrapping, write, [("provenance", "unwrap_provenance")]),
            (
                fit,
                write,
                [
                    ("total_field", "total_field"),
                    ("weights", "weights"),
                    ("provenance", "fit_provenance"),
                ],
            ),
            (
                remove,
                write,
                [("local_field", "local_field"), ("provenance", "background_provenance")],
            ),
            (
                invert,
                write,
                [
                    ("valid", "qsm_mask"),
                    ("uncertainty", "uncertainty"),
                    ("provenance", "invert_provenance"),
                ],
            ),
            (zero, write, [("chi", "chi"), ("provenance", "reference_provenance")]),
        ]
    )
    if two_pass:
        first = remove_and_invert(nodes.BACKGROUND_RELIABLE, nodes.INVERT_RELIABLE)
        combine = node(CombinePasses, nodes.COMBINE, **common)
        workflow.connect(
            [
                *_connections(read, brain, fit, *first),
                (brain, first[0], [("reliable", "within")]),
                (brain, first[1], [("reliable", "brain")]),
                (first[1], combine, [("chi", "chi_reliable"), ("mask", "reliable")]),
                (invert, combine, [("chi", "chi_whole")]),
                (combine, zero, [("chi", "chi")]),
                (combine, predict, [("chi", "chi")]),
            ]
        )
    else:
        workflow.connect([(invert, zero, [("chi", "chi")]), (invert, predict, [("chi", "chi")])])
    if several:
        decay = node(FitRelaxation, nodes.RELAXATION, echo_times_s=times, **common)
        workflow.connect(
            [
                (read, decay, [("magnitude", "magnitude")]),
                (brain, decay, [("mask", "mask")]),
                (correct, decay, [("left_out", "left_out")]),
                (decay, zero, [("r2star", "r2star")]),
                (
                    decay,
                    write,
                    [
                        ("r2star", "r2star"),
                        ("t2star", "t2star"),
                        ("s0", "s0"),
                        ("r2star_error", "r2star_error"),
                        ("provenance", "relaxation_provenance"),
                    ],
                ),
            ]
        )
    limits = dict.fromkeys(method("unwrap", unwrap).no_limits, math.inf)
    if run.from_field_map or run.from_difference:  # their phase wraps hardly anywhere
        limits["min_phase_range_turns"] = 0.0
    limits |= quality_limits or {}
    add_quality(workflow, node, run=run, out_dir=out_dir, limits=limits, common=common)
    if derive:
        add_weighted_images(workflow, node, run=run, common=common)
    add_figures(workflow, node, out_dir=str(out_dir), run=run.to_dict())  # of all that is there
    add_regions(
        workflow,
        node,
        run=run,
        out_dir=out_dir,
        atlas=atlas,
        atlas_template=atlas_template,
        common=common,
    )
    return workflow


def _connections(read: Node, brain: Node, fit: Node, remove: Node, invert: Node) -> list[tuple]:
    """Return what goes into background removal and inversion, whatever their masks."""
    return [
        (fit, remove, [("total_field", "total_field"), ("trusted", "mask")]),
        (fit, remove, [("weights", "weights")]),
        (brain, remove, [("mask", "brain")]),
        (read, invert, [("magnitude", "magnitude")]),
        (fit, invert, [("weights", "weights"), ("noise_ppm", "noise_ppm"), ("unsure", "unsure")]),
        (remove, invert, [("local_field", "local_field"), ("mask", "mask")]),
    ]
