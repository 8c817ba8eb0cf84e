"""Regional values as BIDS has them: a table beside the labels that it was made with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from qsm_pipeline.bids.derivatives import shortened, software_versions, write_image, write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.bids.tables import Column, write_table

REGION_COLUMNS = {
    "index": Column(""),  # BIDS describes these two
    "name": Column(""),
    "hemisphere": Column("left, right, or n/a for a region on both sides or of unknown side."),
    "n_voxels": Column("Voxels of the region in which the map is valid."),
    "volume_ml": Column("Volume of the whole region in the space of the run.", "mL"),
    "mean_ppm": Column("Mean susceptibility over the valid voxels.", "ppm"),
    "median_ppm": Column("Median susceptibility over the valid voxels.", "ppm"),
    "sd_ppm": Column("Standard deviation of the susceptibility over the valid voxels.", "ppm"),
}
"""Columns of a table of regions."""


def region_tables(out_dir: Path, entities: Mapping[str, str]) -> list[Path]:
    """Return the tables of regions that were written for a run, one for each segmentation."""
    example = out_dir / output_path(entities, "regions", extra={"seg": "any"}, extension=".tsv")
    start, end = example.name.split("any")
    try:
        names = os.listdir(example.parent)
    except OSError:
        return []
    return sorted(
        example.parent / name for name in names if name.startswith(start) and name.endswith(end)
    )


def write_regions(
    out_dir: Path,
    run: GreRun,
    seg: str,
    labels: np.ndarray,
    like: nib.Nifti1Header,
    rows: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> list[Path]:
    """Write labels and table of a run.

    Parameters
    ----------
    out_dir : pathlib.Path
        Derivatives data set.
    run : GreRun
        Where it came from.
    seg : str
        Name of the segmentation.
    labels : numpy.ndarray, shape (X, Y, Z), integer
        In the space of the run.
    like : nibabel.Nifti1Header
        Of an image of the run.
    rows : sequence of mapping
        Keys of :data:`REGION_COLUMNS`.
    facts : mapping
        How the labels were made, for the sidecars.

    Returns
    -------
    list of pathlib.Path
        What was written.
    """

    def path(quantity: str, extension: str) -> Path:
        return out_dir / output_path(
            run.entities, quantity, extra={"seg": seg}, extension=extension
        )

    common = {"SpatialReference": "orig", "Software": software_versions()}
    common |= shortened(dict(facts))
    image, table = path("labels", ".nii.gz"), path("regions", ".tsv")
    write_json(
        path("labels", ".json"),
        {"Description": "Labels in the space of the gradient-echo run.", **common},
    )
    write_image(image, labels, like)
    chi = output_path(run.entities, "chi")
    sources = [f"bids::{chi}", f"bids::{image.relative_to(out_dir).as_posix()}"]
    about = {"Description": "Susceptibility of each region.", **common, "Sources": sources}
    write_table(table, REGION_COLUMNS, rows, about)
    return [image, path("labels", ".json"), table, table.with_suffix(".json")]
