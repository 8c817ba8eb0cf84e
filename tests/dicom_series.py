"""Synthetic DICOM of multi-echo gradient echoes, as the scanners of three makers write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")
KINDS = {
    "Siemens": {"mag": ("M", "ND"), "phase": ("P", "ND")},
    "Philips": {"mag": ("M_FFE", "M", "FFE"), "phase": ("PHASE MAP", "P", "FFE")},
    "GE": {"real": ("OTHER",), "imag": ("OTHER",)},
}
"""By maker: the parts and what stands in ImageType behind ORIGINAL and PRIMARY."""
NAMES = {"Siemens": "SIEMENS", "Philips": "Philips Medical Systems", "GE": "GE MEDICAL SYSTEMS"}
EMPTY = ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber")
EMPTY += ("Laterality", "PositionReferenceIndicator", "EchoTrainLength")
"""What DICOM asks of every image and lets be empty."""
GE_CODES = {"mag": 0, "phase": 1, "real": 2, "imag": 3}


def write_series(
    folder: Path,
    maker: str,
    phase_rad: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    voxel_mm: tuple[float, float, float],
) -> None:
    """Write phase and magnitude of shape (E, X, Y, Z) in the order of an axial scan.

    GE's parts have the opposite sign of phase and every second slice negated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study, frame = generate_uid(), generate_uid()
    uids = {part: generate_uid() for part in KINDS[maker]}
    for number, (part, kind) in enumerate(KINDS[maker].items()):
        for echo, time in enumerate(echo_times_s):
            stored = _stored(maker, part, phase_rad[echo], magnitude[echo])
            for z in range(stored.shape[2]):
                image = _image(maker, part, kind, stored[:, :, z])
                image.SeriesInstanceUID = uids[part]
                image.StudyInstanceUID, image.FrameOfReferenceUID = study, frame
                image.SeriesNumber = 3 if maker != "Siemens" else 3 + number
                image.EchoTime, image.EchoNumbers = time * 1000, echo + 1
                image.PixelSpacing = [voxel_mm[1], voxel_mm[0]]
                image.SliceThickness = image.SpacingBetweenSlices = voxel_mm[2]
                origin = [-voxel_mm[0] * stored.shape[0] / 2, -voxel_mm[1] * stored.shape[1] / 2]
                image.ImagePositionPatient = [*origin, z * voxel_mm[2]]
                image.SliceLocation = z * voxel_mm[2]
                image.InstanceNumber = (
                    1 + z + stored.shape[2] * (echo + len(echo_times_s) * number)
                )
                image.save_as(folder / f"{part}-{echo}-{z:03}.dcm", enforce_file_format=True)


def _stored(maker: str, part: str, phase_rad: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Return the integers of a file."""
    if part == "mag":
        return np.round(magnitude * 1000).clip(0, 4095).astype(np.int16)
    if part == "phase":
        return (np.round(phase_rad / np.pi * 2048) + 2048).clip(0, 4095).astype(np.int16)
    signal = magnitude * np.exp(-1j * phase_rad) * (1 - 2 * (np.arange(phase_rad.shape[2]) % 2))
    return np.round(1000 * (signal.real if part == "real" else signal.imag)).astype(np.int16)


def _image(maker: str, part: str, kind: tuple[str, ...], plane: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR_IMAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = MR_IMAGE, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID, image.StudyID = "Nobody^Simulated", "sim", "1"
    image.Modality, image.Manufacturer = "MR", NAMES[maker]
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = "20260101"
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = "101010"
    image.SeriesDescription = image.ProtocolName = "gre_qsm"
    image.ImageType = ["ORIGINAL", "PRIMARY", *kind]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "GR", "SP", ""
    image.MRAcquisitionType, image.MagneticFieldStrength = "3D", 3.0
    image.RepetitionTime, image.FlipAngle, image.AcquisitionNumber = 35.0, 15.0, 1
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PatientPosition = "HFS"
    for name in EMPTY:
        setattr(image, name, "")
    image.Rows, image.Columns = plane.shape[1], plane.shape[0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 1
    image.PixelData = np.ascontiguousarray(plane.T).tobytes()
    if part == "phase":
        image.RescaleSlope, image.RescaleIntercept = {
            "Siemens": (2, -4096),
            "Philips": (2000 * np.pi / 4096, -1000 * np.pi),
        }[maker]
        image.RescaleType = "US"
    if maker == "GE":
        image.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(
            0x2F, "SS", GE_CODES[part]
        )
    return image
