"""The one registry: every method of every step.

A new method is a function in a file of its own and one entry here. The choices of the command and
their help, the tables of its TOML file, the reference of parameters, the methods text with its
bibliography, and the workflow read this table. Nothing that computes is imported with it.
"""

from __future__ import annotations

from typing import TypeVar

from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.exceptions import did_you_mean
from qsm_pipeline.numerics.params.background import (
    IsmvParams,
    LbvParams,
    LbvPdfParams,
    PdfParams,
    ResharpParams,
    SharpParams,
    VSharpParams,
)
from qsm_pipeline.numerics.params.field import (
    NonlinearFitParams,
    ReliabilityParams,
    RimWeightParams,
    WeightedFitParams,
)
from qsm_pipeline.numerics.params.inversion import (
    IlsqrParams,
    MediParams,
    NltvParams,
    RtsParams,
    TikhonovParams,
    TkdParams,
    TvParams,
    WienerParams,
)
from qsm_pipeline.numerics.params.maps import CsfReferenceParams, WeightingParams
from qsm_pipeline.numerics.params.masking import (
    FieldRegionParams,
    RefinementParams,
    RobustMaskParams,
    TwoPassParams,
)
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.params.unwrap import RomeoIndividualParams, RomeoParams
from qsm_pipeline.steps.method import Method, Stage

OWN_MASK = "the user's own"
"""What stands for the method of a mask that the user gave."""

_Named = TypeVar("_Named", Stage, Method)

STAGES = (
    Stage("mask", "Brain mask", "How the brain is found in the magnitude.", "mask_method"),
    Stage(
        "mask_refinement",
        "Edge of the mask",
        "How the edge of a mask that was found is refined.",
        "mask_refinement",
    ),
    Stage(
        "field_region",
        "Region of the field",
        "Where around the mask the field is measured too, with a refined edge.",
    ),
    Stage("two_pass", "Two passes", "What the first of two passes maps, with --two-pass."),
    Stage("phase_offset", "Phase offset", "How the phase that all echoes share is removed."),
    Stage("unwrap", "Phase unwrapping", "How phase is unwrapped.", "unwrap"),
    Stage("field_fit", "Field fit", "How the total field is fitted to the echoes.", "field_fit"),
    Stage("reliability", "Reliability of the field", "Which voxels are excluded or count less."),
    Stage(
        "background",
        "Background field removal",
        "How the field of sources outside the brain is removed.",
        "background",
        "background_params",
    ),
    Stage("rim_weight", "Weights near the surface", "Where the local field counts less."),
    Stage(
        "inversion",
        "Dipole inversion",
        "How the local field is inverted to susceptibility.",
        "inversion",
        "inversion_params",
    ),
    Stage("reference", "Reference", "What has the susceptibility zero.", "reference"),
    Stage(
        "weighting",
        "Susceptibility-weighted images",
        "How the magnitude is weighted, with --derive.",
    ),
)
"""In the order of the chain."""

METHODS = (
    Method(
        "deepbet",
        "mask",
        "external.deepbet:brain_mask",
        help="Deep learning, on a whole head or a slab of one.",
        sentence="The brain was extracted from the magnitude by deepbet [@fisch2024]",
    ),
    Method(
        "robust",
        "mask",
        "numerics.masking.robust:robust_mask",
        RobustMaskParams,
        "A threshold of the magnitude and an opening; other tissue that touches the brain stays.",
        "The brain was extracted by a threshold of the magnitude and morphological opening",
    ),
    Method(
        "phase-quality",
        "mask_refinement",
        "numerics.masking.refine:refine_mask",
        RefinementParams,
        "The edge moves to where the phase is reliable. A mask you supply is used unchanged.",
        "The edge of the mask was moved to where the phase is reliable [@hagberg2022; "
        "@consensus2024]",
    ),
    Method("none", "mask_refinement", "", help="The mask is used as it was found."),
    Method(
        "phase-quality",
        "field_region",
        "numerics.masking.refine:measured_region",
        FieldRegionParams,
        "Voxels close to the mask are used where their phase is reliable.",
        "The field was also mapped around the mask, where the phase is reliable there",
    ),
    Method(
        "phase-quality",
        "two_pass",
        "numerics.masking.refine:reliable_part",
        TwoPassParams,
        "Voxels with reliable phase are mapped first; the whole mask fills the rest.",
        "Reliable voxels were mapped first, and the others filled from a second pass over the "
        "whole mask [@stewart2022]",
    ),
    Method(
        "mcpc-3d-s",
        "phase_offset",
        "numerics.phase.offset:remove_phase_offset",
        PhaseOffsetParams,
        "The smooth phase at echo time zero is subtracted (MCPC-3D-S).",
        "The phase offset was removed by MCPC-3D-S [@eckstein2018]",
        least_echoes=2,
    ),
    Method(
        "romeo",
        "unwrap",
        "numerics.unwrap.romeo:romeo",
        RomeoParams,
        "One echo in space along the most reliable path, the others in time (ROMEO).",
        "Phase was unwrapped by ROMEO, in space at the template echo and in time from there "
        "[@dymerska2021]",
    ),
    Method(
        "romeo-individual",
        "unwrap",
        "numerics.unwrap.romeo:romeo",
        RomeoIndividualParams,
        "Each echo in space by ROMEO; robust where a phase offset is left.",
        "Each echo was unwrapped in space by ROMEO [@dymerska2021]",
    ),
    Method(
        "laplacian",
        "unwrap",
        "numerics.unwrap.laplacian:laplacian",
        help="Each echo by a Poisson equation; smooth, but part of the background is lost.",
        sentence="Phase was unwrapped with the Laplacian [@schofield2003]",
        # it never adds whole turns alone
        no_limits=("max_unwrapping_incongruence_rad", "max_turns_off_percent"),
    ),
    Method(
        "best-path",
        "unwrap",
        "numerics.unwrap.best_path:best_path",
        help="Each echo in space along the path sorted by reliability.",
        sentence="Phase was unwrapped along the best path [@abdulrahman2007]",
    ),
    Method(
        "weighted",
        "field_fit",
        "numerics.field.fit:weighted_field_fit",
        WeightedFitParams,
        "A weighted line through the unwrapped phase.",
        "The total field is the slope of a line through the origin, fitted to the unwrapped "
        "phase with the squared magnitude times the squared echo time as weight; late echoes "
        "that a line does not explain were left out voxel by voxel",
    ),
    Method(
        "nonlinear",
        "field_fit",
        "numerics.field.fit:nonlinear_field_fit",
        NonlinearFitParams,
        "Field and phase offset, fitted to the complex signal of at least two echoes.",
        "The total field and a phase offset were fitted to the complex signal over all echoes "
        "by Gauss-Newton [@liu2013]",
        least_echoes=2,
    ),
    Method(
        "weights",
        "reliability",
        "numerics.field.reliability:reliability",
        ReliabilityParams,
        "Noise, misfit and steepness of the field, as weights from 0 to 1.",
        "Voxels whose signal the fit explains too badly got no weight [@consensus2024]; voxels "
        "at the surface whose phase steps are too large for any unwrapping were not trusted, "
        "nor what lies behind them; voxels in a steep field weigh less",
    ),
    Method(
        "lbv-pdf",
        "background",
        "numerics.background.sources:pdf",
        LbvPdfParams,
        "LBV, then PDF with weaker sources inside the brain; keeps the whole mask.",
        "The background field was removed by solving the Laplacian boundary value problem "
        "(LBV) [@zhou2014] and then projecting onto dipole fields (PDF) [@liu2011] with weaker "
        "sources inside the brain [@liu2017]",
    ),
    Method(
        "vsharp",
        "background",
        "numerics.background.vsharp:vsharp",
        VSharpParams,
        "Spherical means, with smaller balls near the edge of the mask (V-SHARP).",
        "The background field was removed by V-SHARP [@li2011; @wu2012]",
        erodes=True,
    ),
    Method(
        "sharp",
        "background",
        "numerics.background.sharp:sharp",
        SharpParams,
        "Spherical means over one ball (SHARP).",
        "The background field was removed by SHARP [@schweser2011]",
        erodes=True,
    ),
    Method(
        "resharp",
        "background",
        "numerics.background.resharp:resharp",
        ResharpParams,
        "SHARP, regularised (RESHARP).",
        "The background field was removed by RESHARP [@sun2014]",
        erodes=True,
    ),
    Method(
        "ismv",
        "background",
        "numerics.background.ismv:ismv",
        IsmvParams,
        "Spherical means, iterated (iSMV).",
        "The background field was removed by the iterative spherical mean value method (iSMV) "
        "[@wen2014]",
        erodes=True,
    ),
    Method(
        "pdf",
        "background",
        "numerics.background.sources:pdf",
        PdfParams,
        "Projection onto the fields of dipoles outside the mask; keeps the whole mask.",
        "The background field was removed by projection onto dipole fields (PDF) [@liu2011] "
        "with weaker sources inside the brain [@liu2017]",
    ),
    Method(
        "lbv",
        "background",
        "numerics.background.lbv:lbv",
        LbvParams,
        "Laplacian boundary value problem, screened at long distances; loses one voxel.",
        "The background field was removed by solving the Laplacian boundary value problem "
        "(LBV) [@zhou2014], screened at long distances",
        erodes=True,
    ),
    Method(
        "ramp",
        "rim_weight",
        "numerics.field.reliability:rim_weight",
        RimWeightParams,
        "The weight rises from the surface of the mask to full depth.",
        "Voxels near the surface of the mask weigh less",
    ),
    Method(
        "cycleqsm",
        "inversion",
        "cycleqsm.method:cycleqsm",
        CycleQsmParams,
        "An unsupervised network informed by the dipole physics; gives the expected error too.",
        "Susceptibility was computed from the local field by CycleQSM, an unsupervised network "
        "informed by the dipole physics [@oh2020], in the independent implementation of "
        "qsm-pipeline, after the field of sources outside the mask had been estimated with "
        "total variation [@bilgic2014] and subtracted",
        fills_gaps=True,
    ),
    Method(
        "wiener",
        "inversion",
        "numerics.inversion.wiener:wiener",
        WienerParams,
        "Closed form under the spectra that the field shows; fast, conservative, with the "
        "expected error.",
        "Susceptibility was computed from the local field by a Wiener filter, with the spectra of "
        "susceptibility and of the field's error estimated from the field by a Whittle "
        "likelihood [@sykulski2019]",
        fills_gaps=True,
    ),
    Method(
        "tv",
        "inversion",
        "numerics.inversion.tv:tv",
        TvParams,
        "Weighted least squares with total variation.",
        "Susceptibility was computed from the local field by least squares with total "
        "variation, solved by ADMM [@bilgic2014] with weights [@milovic2018]",
        fills_gaps=True,
    ),
    Method(
        "nltv",
        "inversion",
        "numerics.inversion.nltv:nltv",
        NltvParams,
        "Total variation with the misfit of the complex signal.",
        "Susceptibility was computed from the local field with a nonlinear data term and total "
        "variation, solved by ADMM [@milovic2018]",
        fills_gaps=True,
    ),
    Method(
        "medi",
        "inversion",
        "numerics.inversion.medi:medi",
        MediParams,
        "Total variation where the magnitude has no edge, with outlier reduction (MEDI).",
        "Susceptibility was computed from the local field by morphology enabled dipole "
        "inversion (MEDI) [@liu2012] with a nonlinear data term and outlier reduction "
        "[@liu2013]",
        fills_gaps=True,
        needs_magnitude=True,
    ),
    Method(
        "rts",
        "inversion",
        "numerics.inversion.rts:rts",
        RtsParams,
        "The well-conditioned part of k-space, the rest by total variation (RTS).",
        "Susceptibility was computed from the local field by rapid two-step inversion (RTS) "
        "[@kames2018]",
        fills_gaps=True,
    ),
    Method(
        "ilsqr",
        "inversion",
        "numerics.inversion.ilsqr:ilsqr",
        IlsqrParams,
        "Least squares, less an estimate of its streaks (iLSQR).",
        "Susceptibility was computed from the local field by iLSQR [@li2015]",
    ),
    Method(
        "tkd",
        "inversion",
        "numerics.inversion.tkd:tkd",
        TkdParams,
        "Division in k-space by the dipole kernel, cut off near zero (TKD).",
        "Susceptibility was computed from the local field by thresholded k-space division "
        "(TKD) [@shmueli2009]",
    ),
    Method(
        "tikhonov",
        "inversion",
        "numerics.inversion.tikhonov:tikhonov",
        TikhonovParams,
        "Tikhonov regularisation in closed form.",
        "Susceptibility was computed from the local field by Tikhonov regularisation in closed "
        "form [@bilgic2014]",
    ),
    Method(
        "brain",
        "reference",
        "numerics.maps.reference:subtract_reference",
        help="The mean of the whole brain mask.",
        sentence="Susceptibility is in ppm relative to the mean of the whole brain mask",
    ),
    Method(
        "csf",
        "reference",
        "numerics.maps.reference:subtract_reference",
        CsfReferenceParams,
        "The mean of the cerebrospinal fluid of the ventricles; needs at least two echoes.",
        "Susceptibility is in ppm relative to the mean of the cerebrospinal fluid of the "
        "ventricles, found by its slow decay near the centre of the brain [@liu2018]",
        least_echoes=2,
    ),
    Method(
        "region",
        "reference",
        "numerics.maps.reference:subtract_reference",
        help="The mean of a region of your own; see --reference-pattern.",
        sentence="Susceptibility is in ppm relative to the mean of a region that was drawn for "
        "each scan",
    ),
    Method(
        "none",
        "reference",
        "numerics.maps.reference:subtract_reference",
        help="Nothing is subtracted: the zero is that of the inversion.",
        sentence="Susceptibility is in ppm without a reference: its zero is that of the inversion",
    ),
    Method(
        "swi",
        "weighting",
        "numerics.maps.swi:phase_weighted",
        WeightingParams,
        "By the local field and by the susceptibility, with a minimum projection of the first.",
        "Susceptibility-weighted images [@haacke2004], their minimum projection, and "
        "susceptibility-weighted images from the map itself [@liu2014] were made",
    ),
)
"""Of each stage the default comes first."""


def stage(name: str) -> Stage:
    """Return a stage.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    return _one("stage", name, {each.name: each for each in STAGES})


def methods(stage_name: str) -> dict[str, Method]:
    """Return the methods of a stage by their names, the default first.

    Parameters
    ----------
    stage_name : str
        Name of the stage.

    Raises
    ------
    ValueError
        If there is no such stage.

    Examples
    --------
    >>> list(methods("field_fit"))
    ['weighted', 'nonlinear']
    """
    wanted = stage(stage_name).name
    return {each.name: each for each in METHODS if each.stage == wanted}


def method(stage_name: str, name: str) -> Method:
    """Return a method by its name, in upper or lower case.

    Parameters
    ----------
    stage_name, name : str
        Names of the stage and the method.

    Raises
    ------
    ValueError
        If there is none; with the names that there are, and the nearest.

    Examples
    --------
    >>> method("inversion", "TKD").name
    'tkd'
    """
    return _one(f"{stage_name} method", name, methods(stage_name))


def find_methods(name: str) -> list[Method]:
    """Return the methods that have a name, or all of the stage that has it.

    Parameters
    ----------
    name : str
        In upper or lower case, with hyphens or underscores.

    Raises
    ------
    ValueError
        If neither a method nor a stage is called so; with all names, and the nearest.
    """
    wanted = name.lower().replace("_", "-")
    found = [m for m in METHODS if wanted in (m.name, m.stage.replace("_", "-"))]
    if not found:
        known = dict.fromkeys([*(s.name for s in STAGES), *(m.name for m in METHODS)])
        near = did_you_mean(name, known)
        raise ValueError(
            f"no method or stage is called {name!r}; there are {', '.join(known)}{near}"
        )
    return found


def default(stage_name: str) -> str:
    """Return the name of the default method of a stage."""
    return next(iter(methods(stage_name)))


def _one(what: str, name: object, known: dict[str, _Named]) -> _Named:
    found = known.get(str(name).lower())
    if found is None:
        near = did_you_mean(str(name), known)
        raise ValueError(f"{what} is {name!r}, expected one of {', '.join(known)}{near}")
    return found
