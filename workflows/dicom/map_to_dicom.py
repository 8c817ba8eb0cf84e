"""Write a susceptibility map as DICOM beside the series that it was made from.

python workflows/dicom/map_to_dicom.py CHIMAP.nii.gz MAGNITUDE_FOLDER OUT_FOLDER

MAGNITUDE_FOLDER holds the single-frame images of one echo; each slice of the map takes the place,
the patient and the study of one of them. Needs pydicom. Research use only.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PPB_PER_STEP = 0.1
"""Resolution of the stored integers, coarser where the map exceeds 3276 ppb."""
TO_RAS = np.diag([-1.0, -1.0, 1.0])
OFF_GRID = 0.05
"""Voxels by which a slice may miss the map."""


def slice_of_map(source: Dataset, chi_ppb: np.ndarray, from_ras: np.ndarray) -> np.ndarray:
    """Return the values of a map at the pixels of a DICOM image, shape (rows, columns)."""
    across, down = np.reshape(np.array(source.ImageOrientationPatient, float), (2, 3))
    between_rows, between_columns = map(float, source.PixelSpacing)
    rows, columns = np.mgrid[: source.Rows, : source.Columns]
    position = np.array(source.ImagePositionPatient, float)
    position = position + columns[..., None] * between_columns * across
    position = position + rows[..., None] * between_rows * down
    voxels = nib.affines.apply_affine(from_ras, position @ TO_RAS)
    nearest = np.round(voxels).astype(int)
    if np.abs(voxels - nearest).max() > OFF_GRID:
        raise ValueError("the voxels of the map are not those of the series")
    if (nearest < 0).any() or (nearest >= chi_ppb.shape).any():
        raise ValueError("the series reaches beyond the map")
    return chi_ppb[tuple(np.moveaxis(nearest, -1, 0))]


def derived(source: Dataset, values_ppb: np.ndarray, step_ppb: float, series: str) -> Dataset:
    """Return an image with the values of the map in place of those of the source."""
    image = source.copy()
    image.remove_private_tags()
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "VOILUTFunction"):
        if name in image:
            delattr(image, name)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.SeriesInstanceUID = series
    image.SeriesNumber = int(source.get("SeriesNumber") or 0) + 1000
    image.SeriesDescription = "QSM, research use only"
    image.ImageType = ["DERIVED", "SECONDARY", "QSM"]
    image.DerivationDescription = "Susceptibility in ppb relative to the mean of the brain"
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    image.SourceImageSequence = [reference]
    stored = np.round(values_ppb / step_ppb).astype(np.int16)
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation, image.SamplesPerPixel = 1, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = stored.tobytes()
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = step_ppb, 0, "ppb"
    image.WindowCenter, image.WindowWidth = 0, 400
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator = "[ppb]", "UCUM"
    unit.CodeMeaning = "parts per billion"
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = -32768, 32767
    mapping["RealWorldValueFirstValueMapped"].VR = "SS"
    mapping["RealWorldValueLastValueMapped"].VR = "SS"
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = step_ppb, 0.0
    mapping.LUTLabel, mapping.LUTExplanation = "QSM", "Magnetic susceptibility"
    mapping.MeasurementUnitsCodeSequence = [unit]
    image.RealWorldValueMappingSequence = [mapping]
    return image


def read_series(folder: Path) -> list[Dataset]:
    """Return the images of a folder, which are single frames of one echo."""
    sources = []
    for path in sorted(folder.iterdir()):
        try:
            sources.append(dcmread(path))
        except InvalidDicomError as error:
            raise ValueError(f"{path} is no DICOM image") from error
        for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
            if name not in sources[-1]:
                raise ValueError(f"{path} has no {name}: images of a single frame are needed")
    if len({float(source.get("EchoTime", 0)) for source in sources}) != 1:
        raise ValueError(f"{folder} must hold the images of one echo")
    return sources


def convert(chimap: Path, magnitude_folder: Path, out: Path) -> str:
    """Write an image for each slice; return what was done."""
    image = nib.load(chimap)
    chi_ppb = 1000 * image.get_fdata(dtype=np.float32)
    step_ppb = max(PPB_PER_STEP, float(f"{np.abs(chi_ppb).max() / 32767 * 1.001:.3g}"))
    from_ras = np.linalg.inv(image.affine)
    sources, series = read_series(magnitude_folder), generate_uid()
    try:
        slices = [slice_of_map(source, chi_ppb, from_ras) for source in sources]
    except ValueError as error:
        raise ValueError(f"{chimap}: {error}") from error
    made = [
        derived(source, plane, step_ppb, series)
        for source, plane in zip(sources, slices, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(made):
        each.save_as(out / f"qsm-{number:04}.dcm", enforce_file_format=True)
    return f"{len(made)} images in {out}, {step_ppb:g} ppb a step"


def main(words: list[str]) -> int:
    """Convert; return the exit status."""
    if len(words) != 3:
        print(__doc__, file=sys.stderr)
        return 64
    try:
        print(convert(*map(Path, words)))
    except (ValueError, OSError, nib.filebasedimages.ImageFileError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
