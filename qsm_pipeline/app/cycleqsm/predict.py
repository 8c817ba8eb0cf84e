"""One local field to one susceptibility map, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nibabel import Nifti1Header

from qsm_pipeline import library
from qsm_pipeline.bids.derivatives import shortened, software_versions, write_image, write_json
from qsm_pipeline.bids.images import open_image
from qsm_pipeline.bids.naming import OUTPUTS
from qsm_pipeline.cycleqsm.shipped_generator import SHIPPED
from qsm_pipeline.exceptions import ConfigError
from qsm_pipeline.steps.susceptibility import invert_dipole
from qsm_pipeline.training.device import find_device


def predict(
    field: Path,
    mask: Path,
    out: Path,
    *,
    uncertainty: Path | None = None,
    generator: Path | None = None,
    device: str = "auto",
    echo: Callable[[str], None] = lambda line: None,
    tell: Callable[[str], None] = lambda what: None,
    **reading: Any,
) -> None:
    """Write the susceptibility map of a local field, and its JSON sidecar.

    It is the step of the pipeline: from the local field, weights and magnitude of a run it makes
    the map of the run.

    Parameters
    ----------
    field, mask, out : pathlib.Path
        NIfTI files; ``out`` ends in ``.nii.gz``. Where the field is 0 or no number it is not
        known.
    uncertainty : pathlib.Path, optional
        Also write the expected error there.
    generator : pathlib.Path, optional
        Another one than that of the package.
    device : str
        ``auto`` or a torch device.
    echo : callable, optional
        Told what was written.
    tell : callable, optional
        Told what is being done.
    **reading
        Of `qsm_pipeline.library.read_field`: units, field strength, weights, magnitude.

    Raises
    ------
    BIDSInputError
        If the files do not fit, the units are not known, or the field is a susceptibility map.
    ConfigError
        If the generator, the device or the name of the output cannot be used.
    OutputError
        If the map cannot be written.
    """
    for path in (out, *([uncertainty] if uncertainty else [])):
        if not path.name.endswith(".nii.gz"):
            raise ConfigError(f"{path}: expected a name that ends in .nii.gz")
    tell("reading the field")
    read = library.read_field(field, mask=mask, **reading)
    place = find_device(device)
    local, edges = read.on_device(place)
    params = {"generator": str(generator) if generator else "", "uncertainty": bool(uncertainty)}
    tell(f"inverting the field on {place}")
    try:
        with torch.inference_mode():
            made = invert_dipole(local, edges, method="cycleqsm", params=params)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    header = open_image(str(field)).header
    sources = (field, mask, reading.get("weights"), reading.get("magnitude"))
    metadata: dict[str, Any] = {
        "Description": "Magnetic susceptibility.",
        "Units": "ppm",
        "SignConvention": OUTPUTS["chi"].sign,
        "SkullStripped": True,
        "SusceptibilityReference": "none",
        "Sources": [Path(path).absolute().as_uri() for path in sources if path],
        "Generator": generator.name if generator else SHIPPED,
        "Parameters": shortened(dict(made.provenance.parameters)),
        "MeasuredField": local.measured,
        "B0Direction": shortened(local.grid.b0_dir),
        "Software": software_versions(),
    }
    _write(out, "chi", made.chi_ppm, header, metadata, echo)
    if uncertainty is not None and made.uncertainty_ppm is not None:
        about = "Expected error of the susceptibility, one standard deviation."
        described = metadata | {"Description": about}
        del described["SignConvention"]
        _write(uncertainty, "uncertainty", made.uncertainty_ppm, header, described, echo)


def _write(
    path: Path,
    quantity: str,
    values: torch.Tensor,
    header: Nifti1Header,
    metadata: dict[str, Any],
    echo: Callable[[str], None],
) -> None:
    write_image(path, values.cpu().numpy(), header, OUTPUTS[quantity].window)
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), metadata)
    echo(f"{metadata['Description'].rstrip('.')} in {path}")
