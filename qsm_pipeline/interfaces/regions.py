"""The nodes that bring labels to the map, measure them and write the table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.bids.region_names import FREESURFER, hemisphere, read_names
from qsm_pipeline.bids.regions import write_regions
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.segmentations import read_any, read_labels
from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface


class MapLabelsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MapLabels`."""

    labels = File(exists=True, mandatory=True, desc="image of whole numbers")
    names = traits.Str("", usedefault=True, desc="file that names them")
    same_grid = traits.Bool(False, usedefault=True, desc="they have the voxels of the run")
    transform = traits.Str("", usedefault=True, desc="file between T1w and the run")
    inverse = traits.Bool(False, usedefault=True, desc="it goes from the run to T1w")
    anatomy = traits.Str("", usedefault=True, desc="T1-weighted image, or template of an atlas")
    atlas = traits.Bool(False, usedefault=True, desc="the labels are not of the same person")
    combined = File(exists=True, mandatory=True, desc="3D magnitude")
    brain = File(exists=True, mandatory=True)
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads for SimpleITK")


class MapLabelsOutputSpec(TraitedSpec):
    """Outputs of `MapLabels`."""

    labels = File(exists=True, desc="in the space of the run")
    names = traits.Dict(desc="label, as text, to name")
    facts = traits.Dict(desc="how they came there, for the sidecar")


class MapLabels(SimpleInterface):
    """Bring labels into the space of the run."""

    input_spec = MapLabelsInputSpec
    output_spec = MapLabelsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from qsm_pipeline.external.simpleitk.itk import resample_labels
        from qsm_pipeline.external.simpleitk.sides import split_sides
        from qsm_pipeline.io.arrays import save_array

        inputs = self.inputs
        labels, affine = read_labels(Path(inputs.labels))
        names = read_names(Path(inputs.names)) if inputs.names else {}
        if not (names or inputs.atlas):
            names = FREESURFER
        names = {int(i): names.get(int(i), f"label-{i}") for i in np.unique(labels[labels > 0])}
        if inputs.atlas and not any(hemisphere(name) != "n/a" for name in names.values()):
            labels, names = split_sides(labels, affine, names)
        target = nib.load(inputs.combined)
        facts: dict[str, Any] = {"LabelsFrom": Path(inputs.labels).absolute().as_uri()}
        if inputs.same_grid:
            facts["LabelsMapping"] = "none: the labels have the voxels of the run"
        else:
            transform, how = self._transform(target)
            labels = resample_labels(labels, affine, target.shape[:3], target.affine, transform)
            facts |= how
        path = Path(runtime.cwd) / "labels.nii"
        save_array(labels, target.affine, target.header, path)
        self._results = {
            "labels": str(path),
            "names": {str(i): n for i, n in names.items()},
            "facts": facts,
        }
        return runtime

    def _transform(self, target: nib.Nifti1Image) -> tuple[Any, dict[str, Any]]:
        from qsm_pipeline.external.simpleitk.align import align
        from qsm_pipeline.external.simpleitk.itk import read_transform

        inputs = self.inputs
        if inputs.transform:
            return read_transform(Path(inputs.transform), invert=inputs.inverse), {
                "LabelsMapping": "a transform that was given",
                "LabelsTransform": Path(inputs.transform).absolute().as_uri(),
            }
        other, other_affine = read_any(Path(inputs.anatomy))
        if inputs.atlas:
            from qsm_pipeline.external.deepbet import brain_mask

            other = np.where(brain_mask(other, other_affine), other, 0)
        found = align(
            target.get_fdata(dtype=np.float32),
            target.affine,
            np.asarray(nib.load(inputs.brain).dataobj) > 0,
            other,
            other_affine,
            same_person=not inputs.atlas,
            threads=inputs.num_threads,
        )
        kind = "affine" if inputs.atlas else "rigid"
        return found.transform, {
            "LabelsMapping": f"{kind} registration by mutual information with SimpleITK",
            "LabelsRegisteredWith": Path(inputs.anatomy).absolute().as_uri(),
            "LabelsMutualInformation": round(found.mutual_information, 4),
        }


class MeasureRegionsInputSpec(NumericInputSpec):
    """Inputs of `MeasureRegions`."""

    chi = File(exists=True, mandatory=True, desc="ppm")
    labels = File(exists=True, mandatory=True, desc="in the space of the run")
    valid = File(exists=True, mandatory=True, desc="where the map is valid")
    names = traits.Dict(mandatory=True)


class MeasureRegionsOutputSpec(TraitedSpec):
    """Outputs of `MeasureRegions`."""

    rows = traits.List(traits.Dict, desc="one for each region")


class MeasureRegions(NumericInterface):
    """Measure the susceptibility of every region."""

    input_spec = MeasureRegionsInputSpec
    output_spec = MeasureRegionsOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        import torch

        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor
        from qsm_pipeline.numerics.maps.regions import measure_regions

        inputs = self.inputs
        regions = measure_regions(
            load_tensor(inputs.chi, device=inputs.device),
            load_tensor(inputs.labels, device=inputs.device, dtype=torch.int32),
            load_mask(inputs.valid, device=inputs.device),
            load_grid(inputs.chi),
        )
        rows = []
        for region in regions:
            name = inputs.names[str(region.index)]
            rows.append({"name": name, "hemisphere": hemisphere(name), **asdict(region)})
        return {"rows": rows}


class WriteRegionsInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteRegions`."""

    out_dir = traits.Str(mandatory=True)
    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    seg = traits.Str(mandatory=True, desc="name of the segmentation")
    labels = File(exists=True, mandatory=True)
    rows = traits.List(traits.Dict, mandatory=True)
    facts = traits.Dict(usedefault=True)
    reference = traits.Dict(usedefault=True, desc="provenance of the reference")


class WriteRegionsOutputSpec(TraitedSpec):
    """Outputs of `WriteRegions`."""

    written = traits.List(File(exists=True))


class WriteRegions(SimpleInterface):
    """Write labels and table of a run."""

    input_spec = WriteRegionsInputSpec
    output_spec = WriteRegionsOutputSpec
    always_run = True  # the outputs live outside the work directory and may have been removed

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        image = nib.load(inputs.labels)
        labels = np.asanyarray(image.dataobj).astype(np.int32)
        written = write_regions(
            Path(inputs.out_dir),
            GreRun.from_dict(inputs.run),
            inputs.seg,
            labels,
            image.header,
            inputs.rows,
            {**inputs.facts, **inputs.reference.get("facts", {})},
        )
        self._results = {"written": [str(path) for path in written]}
        return runtime
