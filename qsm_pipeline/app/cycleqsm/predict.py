"""One local field to one susceptibility map, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nibabel import Nifti1Header

from qsm_pipeline.bids.derivatives import software_versions, write_image, write_json
from qsm_pipeline.bids.maps import ppm_per_unit, read_mask, read_volume, sidecar_beside
from qsm_pipeline.cycleqsm.infer import reconstruct
from qsm_pipeline.cycleqsm.shipped_generator import SHIPPED
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.training.device import find_device
from qsm_pipeline.training.generators import open_generator


def predict(
    field: Path,
    mask: Path,
    out: Path,
    *,
    uncertainty: Path | None = None,
    magnitude: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    units: str = "",
    b0_tesla: float | None = None,
    residual_background: bool = False,
) -> None:
    """Write the susceptibility map of a local field, and its JSON sidecar.

    Parameters
    ----------
    field, mask, out : pathlib.Path
        NIfTI files; ``out`` ends in ``.nii.gz``. Where the field is 0 or no number it is not
        known.
    uncertainty : pathlib.Path, optional
        Also write the expected error there; the map is then the mean of two passes.
    magnitude : pathlib.Path, optional
        Magnitude of the same scan: gradients of susceptibility cost less at its edges.
    weights : pathlib.Path, optional
        The generator; that of the package by default.
    device : str
        ``auto`` or a torch device.
    units : str
        ``ppm``, ``hz`` or ``rad/s``; by default what the sidecar of the field says.
    b0_tesla : float, optional
        Field strength for the last two; by default that of the sidecar.
    residual_background : bool
        The field holds what background removal left; see
        :func:`~qsm_pipeline.cycleqsm.infer.reconstruct`.

    Raises
    ------
    BIDSInputError
        If the files do not fit, or the units are not known.
    ConfigError
        If the generator, the device or the name of the output cannot be used.
    OutputError
        If the map cannot be written.
    """
    for path in (out, *([uncertainty] if uncertainty else [])):
        if not path.name.endswith(".nii.gz"):
            raise ConfigError(f"{path}: expected a name that ends in .nii.gz")
    volume = read_volume(field)
    inside = torch.from_numpy(read_mask(mask, volume))
    factor = ppm_per_unit(field, sidecar_beside(field), units, b0_tesla)
    place = find_device(device)
    generator = open_generator(weights, place)
    values = torch.from_numpy(volume.values * factor).to(place)
    edges = None
    if magnitude is not None:
        edges = torch.from_numpy(read_volume(magnitude, volume).values).to(place)
    made = reconstruct(
        generator, values, inside.to(place), volume.grid, (values != 0).float(), edges,
        uncertainty=uncertainty is not None, residual_background=residual_background,
    )  # fmt: skip
    metadata: dict[str, Any] = {
        "Description": "Magnetic susceptibility.",
        "Units": "ppm",
        "SkullStripped": True,
        "SusceptibilityReference": "none",
        "Sources": [path.absolute().as_uri() for path in (field, mask, magnitude) if path],
        "Generator": weights.name if weights else SHIPPED,
        "PpmPerFieldUnit": factor,
        "ResidualBackground": residual_background,
        "B0Direction": list(volume.grid.b0_dir),
        "Software": software_versions(),
    }
    _write(out, made.chi_ppm, volume.image.header, metadata)
    if uncertainty is not None and made.uncertainty_ppm is not None:
        about = "Expected error of the susceptibility, one standard deviation."
        metadata = metadata | {"Description": about}
        _write(uncertainty, made.uncertainty_ppm, volume.image.header, metadata)


def _write(path: Path, values: torch.Tensor, header: Nifti1Header, metadata: dict) -> None:
    write_image(path, values.cpu().numpy(), header)
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), metadata)
