"""Random sidecars and headers: a run is read, or refused in one sentence; nothing else happens."""

import gzip
import json
import struct

import numpy as np
import pytest
from bids_trees import SIDECAR, add_megre, make_dataset, write_sidecar
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import LoadedRun, load_run
from qsm_pipeline.exceptions import QSMPipelineError

KEYS = (
    "EchoTime",
    "EchoTime1",
    "EchoTime2",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "Units",
    "Manufacturer",
    "ImageType",
    "ImageTypeText",
    "PhilipsScaleSlope",
    "Bipolar",
    "SeriesDescription",
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([0.008, 3, 123.2, "rad", "Hz", "0.008", "GE", "bipolar", 10**400, 1e-320])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
CHANGES = st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4)
FIELDS = {  # offset and type of the fields of a NIfTI-1 header
    "sizeof_hdr": (0, "i"),
    "dim_info": (39, "B"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
EDGES = {"h": [-1, 0, 1, 7, 8, 32767, -32768], "f": [0.0, -0.0, 1e38, -1e38, 1e-45]}
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LONG = settings(FUZZ, max_examples=3000, derandomize=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return the index of one sound run with small images, and its files."""
    raw = make_dataset(tmp_path_factory.mktemp("fuzz") / "raw")
    paths = add_megre(raw, shape=(6, 7, 5))
    return index(raw), paths


def _outcome(layout):
    """Return the loaded runs and the sentences about the rest."""
    found = collect_runs(layout)
    loaded, sentences = [], [f"{s.what}: {s.reason}" for s in found.skipped]
    for run in found.runs:
        try:
            loaded.append(load_run(run))
        except QSMPipelineError as error:
            sentences.append(str(error))
    return loaded, sentences


def _check(layout):
    loaded, sentences = _outcome(layout)
    assert len(loaded) + len(sentences) == 1
    for sentence in sentences:
        assert 20 < len(sentence) < 900
        assert "sub-01" in sentence
    for run in loaded:
        _check_usable(run)


def _check_usable(run: LoadedRun):
    """Check what the numerics rely on."""
    assert np.isfinite(run.phase_rad).all()
    assert np.abs(run.phase_rad).max() <= np.pi + 1e-5
    assert np.isfinite(np.square(run.magnitude, dtype=np.float32).sum(0)).all()
    assert run.magnitude.min() >= 0
    assert run.valid_mask.any()
    assert all(1e-5 <= time <= 0.2 for time in run.echo_times_s)
    assert list(run.echo_times_s) == sorted(set(run.echo_times_s))
    assert len(run.echo_times_s) == len(run.phase_rad) == len(run.magnitude)
    assert 0.05 <= run.b0_tesla <= 22
    assert all(0.005 <= size <= 100 for size in run.grid.voxel_size_mm)


def _check_sidecar(sound, changes):
    layout, paths = sound
    for path in paths.values():
        time = 0.004 * int(path.name.split("echo-")[1][0])
        units = {"Units": "rad"} if "part-phase" in path.name else {}
        write_sidecar(path, {"EchoTime": time, **SIDECAR, **units})
    path = paths["phase", 2]
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))
    _check(layout)


def _check_bytes(sound, content):
    layout, paths = sound
    path = paths["phase", 2]
    path.with_name(path.name.replace(".nii.gz", ".json")).write_bytes(content)
    _check(layout)


def _check_header(sound, edits, everywhere):
    layout, paths = sound
    originals = {path: path.read_bytes() for path in paths.values()}
    try:
        for path in originals if everywhere else [paths["phase", 2]]:
            plain = bytearray(gzip.decompress(originals[path]))
            for (offset, form), values in edits:
                struct.pack_into("<" + form, plain, offset, *values)
            path.write_bytes(gzip.compress(bytes(plain), 1))
        _check(layout)
    finally:
        for path, content in originals.items():
            path.write_bytes(content)


@st.composite
def _edit(draw):
    offset, form = FIELDS[draw(st.sampled_from(sorted(FIELDS)))]
    kind = form[-1]
    if kind == "s":
        return (offset, form), [draw(st.binary(max_size=4))]
    count = int(form[:-1] or 1)
    bits = {"h": 15, "i": 31, "B": 8}.get(kind)
    low = 0 if kind == "B" else -(2 ** (bits or 0))
    whole = st.integers(low, 2 ** (bits or 0) - 1)
    value = st.floats(width=32) if kind == "f" else whole
    value |= st.sampled_from(EDGES.get(kind, [0, 1]))
    return (offset, form), draw(st.lists(value, min_size=count, max_size=count))


EDITS = st.lists(_edit(), min_size=1, max_size=3)


@FUZZ
@given(CHANGES)
@example({"EchoTime": 10**400})
@example({"Units": []})
@example({"Manufacturer": {}, "ImageType": [[]]})
def test_sidecars(sound, changes):
    _check_sidecar(sound, changes)


@FUZZ
@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_files_in_place_of_a_sidecar(sound, content):
    _check_bytes(sound, content)


@FUZZ
@given(EDITS, st.booleans())
def test_headers(sound, edits, everywhere):
    _check_header(sound, edits, everywhere)


@pytest.mark.slow
@LONG
@given(CHANGES)
def test_many_sidecars(sound, changes):
    _check_sidecar(sound, changes)


@pytest.mark.slow
@LONG
@given(EDITS, st.booleans())
def test_many_headers(sound, edits, everywhere):
    _check_header(sound, edits, everywhere)
