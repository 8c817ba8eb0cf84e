"""Broken and odd participants, made by code: what is done to each, and what must be said of it."""

from __future__ import annotations

import gzip
import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from bids_trees import AFFINE, SHAPE, SIDECAR, magnitude, wrapped_phase, write_image, write_sidecar

PHASE, MAG = "echo-2_part-phase", "echo-1_part-mag"
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A participant of three echoes, spoilt.

    Parameters
    ----------
    spoil : callable
        Gets its ``anat`` folder.
    words : str
        Regular expression that the one sentence about it must match; empty if it must be read,
        and rightly.
    note : str
        What must be noted of one that is read.
    """

    spoil: Spoil
    words: str = ""
    note: str = ""


def _the(folder: Path, part: str, end: str = ".nii.gz") -> Path:
    (path,) = folder.glob(f"*{part}_MEGRE{end}")
    return path


def _bytes(change: Callable[[bytes], bytes], part: str = PHASE) -> Spoil:
    """Change the file as it lies on the disk."""

    def spoil(folder: Path) -> None:
        path = _the(folder, part)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def _header(offset: int, form: str, *values: Any, part: str = PHASE) -> Spoil:
    """Overwrite a field of the NIfTI header, by its offset in the standard."""

    def change(data: bytes) -> bytes:
        plain = bytearray(gzip.decompress(data))
        struct.pack_into("<" + form, plain, offset, *values)
        return gzip.compress(bytes(plain), 1)

    return _bytes(change, part)


def _values(make: Callable[[], np.ndarray], part: str = PHASE, **options: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        write_image(_the(folder, part), make(), **options)

    return spoil


def _everywhere(part: str, make: Callable[[], np.ndarray], **options: Any) -> Spoil:
    """Replace all echoes of a part."""

    def spoil(folder: Path) -> None:
        for path in folder.glob(f"*part-{part}_MEGRE.nii.gz"):
            write_image(path, make(), **options)

    return spoil


def _affine(change: Callable[[np.ndarray], None]) -> Spoil:
    """Give all images of the participant another affine."""
    affine = AFFINE.copy()
    change(affine)

    def spoil(folder: Path) -> None:
        for path in folder.glob("*.nii.gz"):
            _header_of_affine(path, affine)

    return spoil


def _header_of_affine(path: Path, affine: np.ndarray) -> None:
    plain = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<hh", plain, 252, 0, 1)  # no qform, a scanner sform
    struct.pack_into("<12f", plain, 280, *affine[:3].ravel())
    path.write_bytes(gzip.compress(bytes(plain), 1))


def _set(part: str = PHASE, **changes: Any) -> Spoil:
    """Change keys of sidecars; None removes one, and an empty part means all."""

    def spoil(folder: Path) -> None:
        for path in folder.glob(f"*{part}*.json".replace("**", "*")):
            data = json.loads(path.read_text()) | changes
            write_sidecar(path, {k: v for k, v in data.items() if v is not None})

    return spoil


def _sidecar(content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        _the(folder, PHASE, ".json").write_bytes(content)

    return spoil


def _instead(end: str, make: Callable[[Path], object]) -> Spoil:
    """Put something that is no file in the place of an image or a sidecar."""

    def spoil(folder: Path) -> None:
        path = _the(folder, PHASE, end)
        path.unlink()
        make(path)

    return spoil


def _rename(old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        for path in list(folder.glob(f"*{old}*")):
            path.rename(path.with_name(path.name.replace(old, new)))

    return spoil


def _remove(pattern: str) -> Spoil:
    def spoil(folder: Path) -> None:
        for path in list(folder.glob(pattern)):
            path.unlink()

    return spoil


def _copy_of_echo_1(folder: Path) -> None:
    for path in list(folder.glob("*echo-1_part-phase*")):
        path.with_name(path.name.replace("echo-1", "echo-01")).write_bytes(path.read_bytes())


def _reverse_times(folder: Path) -> None:
    for path in folder.glob("*.json"):
        echo = int(path.name.split("echo-")[1][0])
        write_sidecar(path, json.loads(path.read_text()) | {"EchoTime": 0.016 - 0.004 * echo})
        image = path.with_name(path.name[:-5] + ".nii.gz")
        make = wrapped_phase if "part-phase" in path.name else magnitude
        write_image(image, make(echo_time_s=0.016 - 0.004 * echo))


def _bomb(folder: Path) -> None:
    """Declare 16 TB, and pack 64 MB of zeros into 64 kB."""
    plain = gzip.decompress(_the(folder, PHASE).read_bytes())[:352]
    changed = bytearray(plain)
    struct.pack_into("<8h", changed, 40, 3, 16000, 16000, 16000, 1, 1, 1, 1)
    _the(folder, PHASE).write_bytes(gzip.compress(bytes(changed) + bytes(2**26)))


def _copied_echo(folder: Path) -> None:
    _the(folder, PHASE).write_bytes(_the(folder, "echo-1_part-phase").read_bytes())


def _packed_and_not(folder: Path) -> None:
    path = _the(folder, PHASE)
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))


def _again_as(kind: type[nib.Nifti1Image], endianness: str) -> Spoil:
    """Write all images in another kind of NIfTI."""

    def spoil(folder: Path) -> None:
        for path in folder.glob("*.nii.gz"):
            values = np.asanyarray(nib.load(path).dataobj, np.float32)
            header = kind.header_class(endianness=endianness)
            header.set_data_dtype(np.dtype(np.float32).newbyteorder(endianness))
            nib.save(kind(values, AFFINE, header), path)

    return spoil


def _extension(size: int) -> Spoil:
    """Put an extension of that size, as it says, between header and data."""

    def change(data: bytes) -> bytes:
        plain = bytearray(gzip.decompress(data))
        struct.pack_into("<f", plain, 108, 368.0)
        plain[348:352] = struct.pack("<iii", 1, size, 6) + bytes(8)
        return gzip.compress(bytes(plain), 1)

    return _bytes(change)


def _qform(*quaternion: float) -> Spoil:
    """Give all images a qform beside their sform."""

    def spoil(folder: Path) -> None:
        for path in folder.glob("*.nii.gz"):
            _header_of_affine(path, AFFINE)
            plain = bytearray(gzip.decompress(path.read_bytes()))
            struct.pack_into("<h", plain, 252, 1)
            struct.pack_into("<3f", plain, 256, *quaternion)
            path.write_bytes(gzip.compress(bytes(plain), 1))

    return spoil


def _with_long_list(folder: Path) -> None:
    _set(ImageType=[f"WORD{n}" for n in range(100_000)], Manufacturer="Siemens" * 100_000)(folder)


def _nest(depth: int) -> bytes:
    return b'{"EchoTime": 0.008, "x": ' + b"[" * depth + b"]" * depth + b"}"


def _text(**changes: Any) -> str:
    return json.dumps({"EchoTime": 0.008, "Units": "rad", **SIDECAR, **changes})


def _nan_everywhere() -> np.ndarray:
    return np.full(SHAPE, np.nan)


def _phase() -> np.ndarray:
    return wrapped_phase(echo_time_s=0.008)


def _twelve_bit(folder: Path) -> None:
    for path in folder.glob("*part-phase_MEGRE.nii.gz"):
        time_s = json.loads(path.with_name(path.name[:-7] + ".json").read_text())["EchoTime"]
        stored = np.floor((wrapped_phase(echo_time_s=time_s) + np.pi) / (2 * np.pi) * 4096)
        write_image(path, stored.clip(0, 4095), dtype=np.uint16)


DAMAGED = "is damaged or was cut off"
NOT_NIFTI = "is not a readable NIfTI file"
IMAGES = {
    "cutInHeader": Case(_bytes(lambda b: b[:60]), NOT_NIFTI),
    "cutInData": Case(_bytes(lambda b: b[: len(b) * 2 // 3]), DAMAGED),
    "cutBeforePacking": Case(_bytes(lambda b: gzip.compress(gzip.decompress(b)[:2000])), DAMAGED),
    "flippedByte": Case(
        _bytes(lambda b: b[:-200] + bytes([b[-200] ^ 0xFF]) + b[-199:]), f"{DAMAGED}|{NOT_NIFTI}"
    ),
    "empty": Case(_bytes(lambda b: b""), NOT_NIFTI),
    "textInstead": Case(_bytes(lambda b: b"hello\n" * 99), NOT_NIFTI),
    "packedText": Case(_bytes(lambda b: gzip.compress(b"hello\n" * 99)), NOT_NIFTI),
    "notPacked": Case(_bytes(gzip.decompress), NOT_NIFTI),
    "packedTwice": Case(_bytes(gzip.compress), NOT_NIFTI),
    "zeros": Case(_bytes(lambda b: gzip.compress(bytes(10_000))), NOT_NIFTI),
    "garbageBehind": Case(_bytes(lambda b: b + bytes(1000))),
    "folderInstead": Case(_instead(".nii.gz", Path.mkdir), "Echo 2 has a magnitude image but no"),
    "linkToNothing": Case(
        _instead(".nii.gz", lambda p: p.symlink_to("nowhere")), "does not exist"
    ),
    "linkToItself": Case(_instead(".nii.gz", lambda p: p.symlink_to(p.name)), "but no phase"),
    "pipeInstead": Case(_instead(".nii.gz", os.mkfifo), "is no file"),
    "deviceInstead": Case(_instead(".nii.gz", lambda p: p.symlink_to("/dev/zero")), "is no file"),
    "bomb": Case(_bomb, "cannot hold"),
    "moreThanDeclared": Case(
        _bytes(lambda b: gzip.compress(gzip.decompress(b) + bytes(2**25))), "more than twice"
    ),
    "packedAndNot": Case(_packed_and_not, "are the same echo of the same part; remove one"),
    "nifti2": Case(_again_as(nib.Nifti2Image, "<")),
    "bigEndian": Case(_again_as(nib.Nifti1Image, ">")),
    "extensionOfNoSize": Case(_extension(0), NOT_NIFTI),
    "extensionOfNegativeSize": Case(_extension(-16), NOT_NIFTI),
    "extensionOfTwoGigabytes": Case(_extension(2**31 - 1), NOT_NIFTI),
    "hugeDimensions": Case(_header(40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1), "cannot hold"),
    "negativeDimension": Case(_header(40, "8h", 3, 10, -12, 8, 1, 1, 1, 1), "shape|readable"),
    "dimensionOfZero": Case(_header(40, "8h", 3, 10, 0, 8, 1, 1, 1, 1), "has shape"),
    "ninthAxis": Case(_header(40, "h", 9), NOT_NIFTI),
    "noAxis": Case(_header(40, "h", 0), f"has shape|{NOT_NIFTI}"),
    "oneVoxel": Case(_everywhere("phase", lambda: np.ones((1, 1, 1))), "at least 4 voxels"),
    "line": Case(_everywhere("phase", lambda: np.ones(12)), "has shape"),
    "plane": Case(_everywhere("phase", lambda: np.ones((10, 12))), "at least 4 voxels"),
    "slab": Case(_everywhere("phase", lambda: np.ones((10, 12, 2))), "at least 4 voxels"),
    "sevenAxes": Case(_values(lambda: np.ones((10, 12, 8, 1, 1, 1, 2))), "but one EchoTime"),
    "timeSeries": Case(_values(lambda: np.ones((*SHAPE, 5))), "but one EchoTime"),
    "otherShape": Case(_values(lambda: np.ones((10, 12, 7))), r"\(10, 12, 7\), but"),
    "otherShapeOfMagnitude": Case(_everywhere("mag", lambda: np.ones((9, 12, 8))), r"but \(10"),
    "dataBeyondTheEnd": Case(_header(108, "f", 1e9), DAMAGED),
    "dataInTheHeader": Case(_header(108, "f", 12.0), "readable|vox offset|offset"),
    "dataAtNowhere": Case(_header(108, "f", math.nan), f"{DAMAGED}|{NOT_NIFTI}"),
    "unknownType": Case(_header(70, "hh", 9999, 32), NOT_NIFTI),
    "oneBitType": Case(_header(70, "hh", 1, 1), NOT_NIFTI),
    "complex": Case(_values(_phase, dtype=np.complex64), "holds complex numbers"),
    "colours": Case(_header(70, "hh", 128, 24), "expected integers or floats"),
    "doubles": Case(_values(_phase, dtype=np.float64)),
    "metres": Case(_header(123, "B", 1), "gives lengths in meter, expected mm"),
    "micrometres": Case(_header(123, "B", 3), "gives lengths in micron, expected mm"),
    "unknownUnit": Case(_header(123, "B", 7), "gives lengths in unit 7, expected mm"),
}
GEOMETRY = {
    "affineNan": Case(_affine(lambda a: a.fill(math.nan)), "not finite"),
    "affineInfinite": Case(_affine(lambda a: a.fill(math.inf)), "not finite"),
    "affineZero": Case(_affine(lambda a: a.fill(0)), "zero voxel size"),
    "affineHuge": Case(_affine(lambda a: np.multiply(a, 1e30, out=a)), "voxel size"),
    "affineTiny": Case(_affine(lambda a: np.multiply(a, 1e-9, out=a)), "voxel size"),
    "affineSheared": Case(_affine(lambda a: a.__setitem__((0, 1), 0.4)), "sheared"),
    "affineFarAway": Case(_affine(lambda a: a.__setitem__((0, 3), math.nan)), "not finite"),
    "oneImageElsewhere": Case(
        lambda f: _header_of_affine(_the(f, PHASE), AFFINE + 3 * np.eye(4, k=3)), "lies elsewhere"
    ),
    "qformNoRotation": Case(_qform(5.0, 5.0, 5.0), note="The qform of the header is no rotation"),
    "qformNan": Case(_qform(math.nan, 0.0, 0.0)),
    "voxelSizeZeroBesideAffine": Case(_header(80, "3f", 0.0, 0.0, 0.0)),
    "slopeNan": Case(_header(112, "ff", math.nan, 0.0)),
    "slopeZero": Case(_header(112, "ff", 0.0, 7.0)),
    "slopeInfinite": Case(_header(112, "ff", math.inf, 0.0), "slope"),
    "slopeOverflows": Case(_header(112, "ff", 3e38, 0.0), "finite|convention"),
    "interceptInfinite": Case(_header(112, "ff", 1.0, math.inf), "intercept|inter"),
    "interceptOverflows": Case(_header(112, "ff", 1.0, 3e38), "convention"),
    "slopeOfMagnitudeOverflows": Case(_header(112, "ff", 3e38, 0.0, part=MAG), "finite"),
}
VALUES = {
    "phaseConstant": Case(
        _everywhere("phase", lambda: np.full(SHAPE, 1.5)), "every voxel of the phase is 1.5"
    ),
    "phaseZero": Case(_everywhere("phase", lambda: np.zeros(SHAPE)), "finite and not empty"),
    "phaseZeroInOneEcho": Case(_values(lambda: np.zeros(SHAPE)), "finite and not empty"),
    "phaseCopied": Case(_copied_echo, "hold the same phase in every voxel"),
    "phaseNan": Case(_values(_nan_everywhere), "no voxel holds finite data"),
    "phaseHuge": Case(_everywhere("phase", lambda: _phase() * 1e20), "fits no known convention"),
    "phaseIsMagnitude": Case(
        _everywhere("phase", lambda: 9 * magnitude()), "fits no known convention"
    ),
    "phaseInSteps": Case(_twelve_bit, note="0..4095 for one turn"),
    "magnitudeZero": Case(
        _everywhere("mag", lambda: np.zeros(SHAPE)), "every voxel of the magnitude is zero"
    ),
    "magnitudeNegative": Case(
        _everywhere("mag", lambda: -magnitude()), "every voxel of the magnitude is zero"
    ),
    "magnitudeNan": Case(_values(_nan_everywhere, MAG), "no voxel holds finite data"),
    "magnitudeInfinite": Case(_values(lambda: magnitude() * np.inf, MAG), "finite"),
    "magnitudeConstant": Case(_everywhere("mag", lambda: np.full(SHAPE, 7))),
    "magnitudeHuge": Case(_everywhere("mag", lambda: magnitude() * 1e36), "too large"),
}
NUMBER = "expected one finite number in seconds"
SIDECARS = {
    "milliseconds": Case(_set("", EchoTime=8), "milliseconds, so write 0.008 instead"),
    "negativeTime": Case(_set(EchoTime=-0.004), "expected a positive time"),
    "timeOfZero": Case(_set(EchoTime=0), "expected a positive time"),
    "timeOfNearlyZero": Case(_set(EchoTime=5e-324), "expected a positive time|at least"),
    "timeAsText": Case(_set(EchoTime="0.008"), note="was read as a number"),
    "timeWithUnit": Case(_set(EchoTime="8 ms"), NUMBER),
    "timeAsMarkup": Case(_set(EchoTime="<script>alert(1)</script>"), NUMBER),
    "timeNan": Case(_set(EchoTime=math.nan), NUMBER),
    "timeInfinite": Case(_set(EchoTime=math.inf), NUMBER),
    "timeBeyondFloats": Case(_sidecar(_text().replace("0.008", "1e999").encode()), NUMBER),
    "timeOfManyDigits": Case(_sidecar(_text().replace("0.008", "9" * 400).encode()), NUMBER),
    "timeOfTooManyDigits": Case(
        _sidecar(_text().replace("0.008", "9" * 5000).encode()), "is not valid JSON"
    ),
    "timeNull": Case(_sidecar(_text(EchoTime=None).encode()), NUMBER),
    "timeTrue": Case(_set(EchoTime=True), NUMBER),
    "timeList": Case(_set(EchoTime=[0.008]), NUMBER),
    "timeObject": Case(_set(EchoTime={"a": [1]}), NUMBER),
    "timeMissing": Case(_set(EchoTime=None), "EchoTime is missing"),
    "timeTwice": Case(
        _sidecar(_text().replace("{", '{"EchoTime": 0.007, ', 1).encode()),
        "holds the key 'EchoTime' twice",
    ),
    "timesEqual": Case(_set("", EchoTime=0.008), "differ and to increase"),
    "timesUnsorted": Case(_reverse_times, note="sorted by time"),
    "fieldMissing": Case(_set("", MagneticFieldStrength=None), "MagneticFieldStrength is missing"),
    "fieldZero": Case(_set("", MagneticFieldStrength=0), "expected tesla between"),
    "fieldNegative": Case(_set("", MagneticFieldStrength=-3), "expected tesla between"),
    "fieldInGauss": Case(_set("", MagneticFieldStrength=30000), "gauss, so write 3"),
    "fieldAsWords": Case(_set("", MagneticFieldStrength="three"), "expected one finite number"),
    "fieldsMixed": Case(_set(MagneticFieldStrength=7), "7 T, but 3 T in"),
    "fieldContradicted": Case(_set("", ImagingFrequency=63.9), "means 1.5 T"),
    "frequencyOdd": Case(_set("", ImagingFrequency="many")),
    "unitsHz": Case(_set(Units="Hz"), "Units is Hz, so this is a field map"),
    "unitsUnknown": Case(_set("part-phase", Units="furlong"), "expected 'rad' or 'arbitrary'"),
    "unitsList": Case(_set("part-phase", Units=["rad"]), "expected 'rad' or 'arbitrary'"),
    "unitsObject": Case(_set("part-phase", Units={}), "expected 'rad' or 'arbitrary'"),
    "unitsMixed": Case(_set(Units="arbitrary"), "have different Units"),
    "unitsMissing": Case(_set("part-phase", Units=None), note="taken as radians"),
    "unitsContradicted": Case(_twelve_bit, note="which these values cannot be"),
    "fieldMap": Case(_set(ImageType=["FIELDMAPHZ"]), "this is a field map"),
    "imageTypeOdd": Case(_set(ImageType=[1, None, {}], ImageTypeText=7)),
    "manufacturerOdd": Case(_set("", Manufacturer=[{"a": 1}])),
    "keysOdd": Case(_set("", **{"": 1, "\x00": 2, "<b>": 3, "é" * 9999: None})),
    "longLists": Case(_with_long_list),
    "deep": Case(_sidecar(_nest(100_000)), "is not valid JSON"),
    "huge": Case(_sidecar(b'{"x": "' + b"x" * 2**24 + b'"}'), "larger than 16 MiB"),
    "latin1": Case(
        _sidecar(_text(Operator="é").encode("latin-1").replace(b"\\u00e9", b"\xe9")),
        "is not valid JSON",
    ),
    "utf16": Case(_sidecar(_text().encode("utf-16")), "is not valid JSON"),
    "byteOrderMark": Case(_sidecar(_text().encode("utf-8-sig"))),
    "emptySidecar": Case(_sidecar(b""), "is not valid JSON"),
    "binarySidecar": Case(_sidecar(bytes(range(256))), "is not valid JSON"),
    "comma": Case(_sidecar(b'{"EchoTime": 0.008,}'), "is not valid JSON"),
    "list": Case(_sidecar(b"[1]"), "holds a JSON list, expected an object"),
    "sidecarFolder": Case(_instead(".json", Path.mkdir), "is no file"),
    "sidecarPipe": Case(_instead(".json", os.mkfifo), "is no file"),
    "sidecarDevice": Case(_instead(".json", lambda p: p.symlink_to("/dev/zero")), "is no file"),
    "sidecarLoop": Case(_instead(".json", lambda p: p.symlink_to(p.name)), "cannot be read"),
    "sidecarNowhere": Case(
        _instead(".json", lambda p: p.symlink_to("nowhere")), "does not exist|EchoTime is missing"
    ),
}
NAMES = {
    "echoTwice": Case(_copy_of_echo_1, "are the same echo of the same part; remove one"),
    "echoGap": Case(_remove("*echo-2_*"), note="Echo 2 is not there"),
    "echoOfOnePartOnly": Case(_remove("*echo-2_part-mag*"), "Echo 2 has a phase image but no mag"),
    "echoWord": Case(_rename("echo-2_", "echo-x_"), "echo-x is not a number"),
    "echoOther": Case(_rename("echo-2_", "echo-²_"), "echo-² is not a number"),
    "echoHuge": Case(_rename("echo-3_", f"echo-{10**15}_"), "is not a number of"),
    "partUnknown": Case(_rename("part-mag", "part-modulus"), "part-modulus is not known"),
    "partMissing": Case(_remove("*part-phase*"), "There is no phase"),
    "magnitudeMissing": Case(_remove("*part-mag*"), "phase but no magnitude"),
    "entityUnknown": Case(_rename("_echo-", "_inv-1_echo-"), "BIDS has no entity 'inv'"),
    "labelWithSpace": Case(_rename("_echo-", "_acq-a b_echo-"), "must be letters and digits"),
    "labelWithMarkup": Case(_rename("_echo-", "_acq-<b>_echo-"), "must be letters and digits"),
    "labelWithShell": Case(_rename("_echo-", "_acq-$(id)_echo-"), "must be letters and digits"),
    "labelWithQuotes": Case(_rename("_echo-", "_acq-'\"_echo-"), "must be letters and digits"),
    "labelFromTheRight": Case(_rename("_echo-", "_acq-\u202e☠_echo-"), "must be letters"),
    "labelWithNewLine": Case(_rename("_echo-", "_acq-a\nb_echo-"), "must be letters and digits"),
    "labelUpwards": Case(_rename("_echo-", "_acq-.._echo-"), "must be letters and digits"),
    "otherParticipant": Case(_rename("sub-otherParticipant_", "sub-x_"), "The name says sub-x"),
    "nothing": Case(_remove("*"), "No gradient-echo image"),
    "sidecarsMissing": Case(_remove("*.json"), "EchoTime is missing"),
}
CASES = {**IMAGES, **GEOMETRY, **VALUES, **SIDECARS, **NAMES}
"""Label of the participant to what is done to it."""
