import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from bids_trees import (
    AFFINE,
    SHAPE,
    SIDECAR,
    add_megre,
    add_single_echo,
    magnitude,
    make_dataset,
    place_image,
    wrapped_phase,
    write_image,
    write_sidecar,
)

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.exceptions import BIDSInputError, MaskError

TIMES = (0.004, 0.008, 0.012)
GE = {**SIDECAR, "Manufacturer": "GE"}


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "raw")


def load(root, **options):
    found = collect_runs(index(root), **options)
    if found.skipped:  # what the file system tells is said before anything is read
        raise BIDSInputError(found.skipped[0].reason)
    (run,) = found.runs
    return load_run(run)


def circular_error(a, b):
    return np.abs(np.angle(np.exp(1j * (np.asarray(a, float) - b)))).max()


def true_phase(times=TIMES):
    return np.stack([wrapped_phase(echo_time_s=t) for t in times])


def test_arrays_as_stored(root):
    add_megre(root)
    loaded = load(root)
    assert loaded.phase_rad.dtype == loaded.magnitude.dtype == np.float32
    assert loaded.phase_rad.shape == loaded.magnitude.shape == (3, *SHAPE)
    assert circular_error(loaded.phase_rad, true_phase()) < 1e-5
    np.testing.assert_allclose(loaded.magnitude[2], magnitude(echo_time_s=0.012), rtol=1e-6)
    assert loaded.valid_mask.all()
    assert loaded.mask is None
    assert (loaded.echo_times_s, loaded.b0_tesla) == (TIMES, 3)
    np.testing.assert_array_equal(loaded.affine, AFFINE)
    assert loaded.grid.voxel_size_mm == (1, 1, 2)
    assert set(loaded.inferred) == {"b0_tesla", "phase_scaling", "phase_sign"}


def test_real_and_imaginary_give_the_same(root):
    add_megre(root, parts=("real", "imag"))
    loaded = load(root)
    assert circular_error(loaded.phase_rad, true_phase()) < 1e-5
    np.testing.assert_allclose(loaded.magnitude[0], magnitude(), rtol=1e-5)


def test_siemens_integers_with_slope(root):
    paths = add_megre(root, sidecar=SIDECAR)
    for echo, time in enumerate(TIMES, 1):
        stored = np.floor((wrapped_phase(echo_time_s=time) + np.pi) / (2 * np.pi) * 4096)
        write_image(
            paths["phase", echo], stored.clip(0, 4095), dtype=np.int16, slope=2, intercept=-4096
        )
        write_sidecar(paths["phase", echo], {"EchoTime": time, "Units": "arbitrary", **SIDECAR})
    loaded = load(root)
    assert circular_error(loaded.phase_rad, true_phase()) < 1.6e-3
    assert "slope 2, intercept -4096" in loaded.inferred["phase_scaling"]


@pytest.mark.parametrize("parts", [("mag", "phase"), ("real", "imag")])
@pytest.mark.parametrize("dim_info", [True, False])
def test_ge_alternating_slices_and_sign(root, parts, dim_info):
    paths = add_megre(root, parts=parts, sidecar=GE)
    for (part, _), path in paths.items():
        image = nib.load(path)
        values = image.get_fdata()
        if part in ("real", "imag"):
            values[..., 1::2] *= -1
        elif part == "phase":
            values[..., 1::2] += np.pi
            values = np.angle(np.exp(1j * values))
        write_image(path, values)
        if dim_info:
            again = nib.load(path)
            again.header.set_dim_info(slice=2)
            nib.save(nib.Nifti1Image(values.astype("f4"), AFFINE, again.header), path)
    loaded = load(root)
    assert circular_error(loaded.phase_rad, -true_phase()) < 1e-4
    assert "voxel axis 2" in loaded.inferred["slice_sign"]
    assert "Inverted" in loaded.inferred["phase_sign"]


def test_ge_without_alternation_is_only_inverted(root):
    add_megre(root, sidecar=GE)
    loaded = load(root)
    assert circular_error(loaded.phase_rad, -true_phase()) < 1e-5
    assert "slice_sign" not in loaded.inferred


def _stored(root, change):
    """Write the phase of each echo, number from 1, as ``change`` gives values and keywords."""
    for (part, echo), path in add_megre(root).items():
        if part == "phase":
            values, how = change(wrapped_phase(echo_time_s=TIMES[echo - 1]), echo)
            write_image(path, values, **how)
            sidecar = {**SIDECAR, "EchoTime": TIMES[echo - 1], "Units": "arbitrary"}
            write_sidecar(path, sidecar)


@pytest.mark.parametrize("odd", [1, 2, 3])
@pytest.mark.parametrize("other", ["unsigned", "milliradians", "slope"])
def test_echoes_that_a_converter_stored_differently(root, odd, other):
    """As in dcm2niix #461, whose later volumes had another scale than the first."""

    def change(phase, echo):
        stored = np.floor((phase + np.pi) / (2 * np.pi) * 4096).clip(0, 4095)
        if echo != odd:
            return stored, {"dtype": np.int16, "slope": 2, "intercept": -4096}
        if other == "milliradians":
            return 1000 * phase, {}
        if other == "unsigned":
            return stored, {"dtype": np.uint16}
        return stored, {"dtype": np.int16, "slope": 1.4, "intercept": -2867.2}

    _stored(root, change)
    loaded = load(root)
    assert circular_error(loaded.phase_rad, true_phase()) < 2.1e-3
    assert "each was scaled by its own" in loaded.inferred["phase_stored_differently"]


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_signs_that_alternate_are_repaired_for_any_maker(root, axes):
    turns = sum(np.indices(SHAPE)[axis] for axis in axes) % 2

    def change(phase, echo):
        return np.angle(np.exp(1j * (phase + np.pi * turns))), {}

    _stored(root, change)
    loaded = load(root)
    signal = (np.exp(1j * (loaded.phase_rad - true_phase()))).mean((1, 2, 3))
    np.testing.assert_allclose(np.abs(signal), 1, atol=1e-4)
    assert "every second slice was negated" in loaded.inferred["slice_sign"]


@pytest.mark.parametrize("steps", [(0.0, 0.9, 0.0), (1.9, 1.2, 0.0), (0.0, -2.9, 2.2)])
def test_a_steep_ramp_that_all_echoes_share_is_removed(root, steps):
    """As MRIReco.jl #58 describes it, of an offset of the field of view."""
    ramp = sum(step * at for step, at in zip(steps, np.indices(SHAPE), strict=True))

    def change(phase, echo):
        return np.angle(np.exp(1j * (phase + ramp))), {}

    _stored(root, change)
    loaded = load(root)
    left = np.exp(1j * (loaded.phase_rad - true_phase())).astype(np.complex128)
    for axis in (1, 2, 3):
        step = np.angle((left * np.roll(left, 1, axis).conj()).mean())
        assert abs(step) < 0.3
    assert {"phase_ramp", "slice_sign"} & set(loaded.inferred)


@pytest.mark.parametrize("echoes", [(1, 2, 3), (2,)])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_slices_without_data_between_others_are_said(root, echoes, value):
    def change(phase, echo):
        if echo in echoes:
            phase[:, :, 3:5] = value
        return phase, {}

    _stored(root, change)
    said = load(root).inferred["missing_slices"]
    assert said.startswith("2 slices along voxel axis 2 (3, 4) hold no data in some image")


def test_a_repeated_slice_is_no_volume(root):
    """As SEPIA #114 asks for."""

    def change(phase, echo):
        return np.repeat(phase[:, :, :1], SHAPE[2], 2), {}

    _stored(root, change)
    with pytest.raises(BIDSInputError, match="all 8 slices along voxel axis 2 hold the same"):
        load(root)


def test_an_echo_that_all_were_divided_by(root):
    _stored(root, lambda phase, echo: (phase * (echo > 1), {}))
    with pytest.raises(BIDSInputError, match=r"since .*echo-1_part-phase_MEGRE.nii.gz is 0 in"):
        load(root)


def test_invalid_voxels_and_empty_slices(root):
    paths = add_megre(root)
    spoiled = wrapped_phase()
    spoiled[5, 5, 5], spoiled[4, 4, 4] = np.nan, np.inf
    write_image(paths["phase", 1], spoiled)
    empty = magnitude(echo_time_s=0.008)
    empty[:, :, 0] = 0
    write_image(paths["mag", 2], empty)
    loaded = load(root)
    expected = np.ones(SHAPE, bool)
    expected[5, 5, 5] = expected[4, 4, 4] = False
    expected[:, :, 0] = False
    np.testing.assert_array_equal(loaded.valid_mask, expected)
    assert not loaded.phase_rad[:, ~expected].any()
    assert not loaded.magnitude[:, ~expected].any()
    assert circular_error(loaded.phase_rad[:, expected], true_phase()[:, expected]) < 1e-5
    assert loaded.inferred["invalid_voxels"].startswith("122 of 960 voxels")


def test_4d_file_with_listed_echo_times(root):
    for part in ("mag", "phase"):
        make = magnitude if part == "mag" else wrapped_phase
        path = root / f"sub-01/anat/sub-01_part-{part}_T2starw.nii.gz"
        write_image(path, np.stack([make(echo_time_s=t) for t in TIMES], axis=-1))
        write_sidecar(path, {"EchoTime": list(TIMES), "Units": "rad", **SIDECAR})
    loaded = load(root)
    assert circular_error(loaded.phase_rad, true_phase()) < 1e-5
    write_sidecar(path, {"EchoTime": 0.004, "Units": "rad", **SIDECAR})
    with pytest.raises(BIDSInputError, match="but one EchoTime; split it into one file for each"):
        load(root)
    write_sidecar(path, {"EchoTime": [0.004, 0.008], "Units": "rad", **SIDECAR})
    with pytest.raises(BIDSInputError, match="expected 3 spatial axes and 2 echoes"):
        load(root)


def test_trailing_axis_of_one_volume(root):
    paths = add_single_echo(root)
    write_image(paths["phase"], wrapped_phase(echo_time_s=0.02)[..., None])
    assert load(root).phase_rad.shape == (1, *SHAPE)


def test_negative_magnitude_is_noted(root):
    paths = add_megre(root)
    write_image(paths["mag", 1], magnitude() - 80)
    loaded = load(root)
    assert loaded.magnitude.min() == 0
    assert "set to zero" in loaded.inferred["negative_magnitude"]


def test_header_without_orientation_is_noted(root):
    paths = add_megre(root)
    image = nib.load(paths["phase", 1])
    image.header["sform_code"] = image.header["qform_code"] = 0
    bare = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    for (part, echo), path in paths.items():
        values = nib.load(path).get_fdata(dtype="f4")
        nib.save(nib.Nifti1Image(values, None, bare.header), path)
        assert part
        assert echo
    loaded = load(root)
    assert "gives no orientation" in loaded.inferred["orientation"]
    assert loaded.grid.b0_dir == (0, 0, 1)


def test_oblique_anisotropic_affine_gives_unit_b0(root):
    angle = np.deg2rad(30)
    affine = np.eye(4)
    rotation = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine[:3, :3] = rotation @ np.diag([1, 1, 3])
    add_megre(root, affine=affine)
    np.testing.assert_allclose(load(root).grid.b0_dir, (0, 0.5, np.sqrt(0.75)), atol=1e-6)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _truncate_inside(path):
    with gzip.open(path) as file:
        plain = file.read()
    path.write_bytes(gzip.compress(plain[: len(plain) // 2]))


def _flip_bytes(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def _affine(path, change):
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += change
    write_image(path, image.get_fdata(), affine)


def _in_metres(path):
    image = nib.load(path)
    image.header.set_xyzt_units("meter")
    nib.save(nib.Nifti1Image(image.get_fdata(dtype="f4"), AFFINE, image.header), path)


@pytest.mark.parametrize(
    ("which", "spoil", "message"),
    [
        (("phase", 2), _truncate, "is damaged or was cut off .*copy or convert it again"),
        (("mag", 2), _truncate_inside, "is damaged or was cut off"),
        (("mag", 2), _flip_bytes, "is damaged or was cut off|is not a readable NIfTI"),
        (("phase", 1), lambda p: p.write_bytes(b""), "is not a readable NIfTI file"),
        (("phase", 1), lambda p: p.write_bytes(b"hello" * 99), "is not a readable NIfTI file"),
        (("phase", 2), lambda p: write_image(p, np.zeros((10, 12, 7))), r"\(10, 12, 7\), but"),
        (("mag", 1), lambda p: write_image(p, np.zeros((10, 12, 7))), "of one run must agree"),
        (("mag", 3), lambda p: _affine(p, 0.5), "affines differ by 0.5 mm, expected at most"),
        (("phase", 2), lambda p: _affine(p, 0.5), "lies elsewhere than"),
        (("phase", 1), lambda p: _affine(p, np.nan), "affine"),
        (("mag", 1), lambda p: write_image(p, magnitude(), dtype="c8"), "holds complex numbers"),
        (("phase", 1), _in_metres, "gives lengths in meter, expected mm"),
        (
            ("phase", 1),
            lambda p: write_image(p, wrapped_phase() * 1e5),
            "fits no known convention",
        ),
    ],
)
def test_reasons_for_refusing(root, which, spoil, message):
    paths = add_megre(root)
    spoil(paths[which])
    with pytest.raises(BIDSInputError, match=message) as caught:
        load(root)
    assert paths[which].name in str(caught.value) or "convention" in message


def test_a_file_that_is_gone(root):
    paths = add_megre(root)
    (run,) = collect_runs(index(root)).runs
    paths["phase", 1].unlink()
    with pytest.raises(BIDSInputError, match=r"echo-1_part-phase.*does not exist"):
        load_run(run)


def test_sheared_affine(root):
    affine = AFFINE.copy()
    affine[0, 1] = 0.3
    add_megre(root, affine=affine)
    with pytest.raises(BIDSInputError, match="sheared"):
        load(root)


@pytest.mark.parametrize("shape", [(10, 12, 1, 3), (10, 12, 2, 3), (1, 12, 8, 3)])
def test_thin_volumes_of_one_file(root, shape):
    for part, value in (("mag", 5.0), ("phase", 1.0)):
        values = value * np.random.default_rng(0).uniform(-1, 1, shape) + 6 * (part == "mag")
        place_image(
            root,
            f"part-{part}_T2starw",
            nib.Nifti1Image(values.astype(np.float32), AFFINE),
            {"EchoTime": list(TIMES), **SIDECAR} | ({"Units": "rad"} if part == "phase" else {}),
        )
    with pytest.raises(BIDSInputError, match="at least 4 voxels along each axis"):
        load(root)


def test_thin_volume(root):
    add_megre(root, shape=(10, 12, 2))
    with pytest.raises(BIDSInputError, match="at least 4 voxels along each axis"):
        load(root)


def test_all_zero(root):
    paths = add_megre(root)
    for echo in (1, 2, 3):
        write_image(paths["mag", echo], np.zeros(SHAPE))
    with pytest.raises(BIDSInputError, match="every voxel of the magnitude is zero"):
        load(root)
    write_image(paths["phase", 1], np.zeros(SHAPE))
    with pytest.raises(BIDSInputError, match="no voxel of the phase is finite and not empty"):
        load(root)


def test_units_that_differ_between_echoes(root):
    paths = add_megre(root)
    write_sidecar(paths["phase", 2], {"EchoTime": 0.008, "Units": "arbitrary", **SIDECAR})
    with pytest.raises(BIDSInputError, match="the echoes have different Units"):
        load(root)


def test_unsigned_real_part(root):
    paths = add_megre(root, parts=("real", "imag"))
    write_image(paths["real", 1], np.abs(nib.load(paths["real", 1]).get_fdata()))
    for echo in (2, 3):
        write_image(paths["real", echo], np.abs(nib.load(paths["real", echo]).get_fdata()))
    with pytest.raises(BIDSInputError, match=r"part-real.*has no negative value"):
        load(root)


def test_own_mask(root):
    add_megre(root)
    inside = magnitude() > 100
    path = write_image(root / "m/sub-01.nii.gz", inside, dtype=np.uint8)
    np.testing.assert_array_equal(load(root, mask_pattern="m/{prefix}.nii.gz").mask, inside)
    write_image(path, np.zeros(SHAPE), dtype=np.uint8)
    with pytest.raises(MaskError, match=r"is empty: no voxel is above 0\.5"):
        load(root, mask_pattern="m/{prefix}.nii.gz")
    write_image(path, np.ones((3, 3, 3)), dtype=np.uint8)
    with pytest.raises(MaskError, match=r"has shape \(3, 3, 3\), but \(10, 12, 8\)"):
        load(root, mask_pattern="m/{prefix}.nii.gz")


def test_own_reference_region(root):
    paths = add_megre(root)
    inside = magnitude() > 120
    write_image(root / "r/sub-01.nii.gz", inside, dtype=np.uint8)
    found = collect_runs(index(root), reference_pattern="r/{prefix}.nii.gz")
    (run,) = found.runs
    assert run.files[-1] == str(root / "r/sub-01.nii.gz")
    assert len(run.sources) == len(paths)
    np.testing.assert_array_equal(load_run(run).reference_region, inside)
    (skipped,) = collect_runs(index(root), reference_pattern="r/{sub}_no.nii.gz").skipped
    assert "the reference pattern finds no file" in skipped.reason


# --- real scans, where they are present ---------------------------------------------------------


def test_real_7t_crop_wraps_at_its_extremes(root, shared_data):
    for part, name in (("mag", "mag"), ("phase", "phase")):
        image = nib.load(shared_data / "gre_crop" / f"{name}.nii.gz")
        for echo, time in enumerate(TIMES, 1):
            sidecar = {"EchoTime": time, "MagneticFieldStrength": 7, "Units": "arbitrary"}
            place_image(
                root, f"echo-{echo}_part-{part}_MEGRE", image.slicer[..., echo - 1], sidecar
            )
    loaded = load(root)
    assert np.abs(loaded.phase_rad).max() == pytest.approx(np.pi, abs=1e-4)
    assert "taken as -pi..pi" in loaded.inferred["phase_scaling"]
    # true phase is smooth between neighbours once it is on the right scale
    step = np.angle(np.exp(1j * np.diff(loaded.phase_rad[0], axis=0)))
    assert np.median(np.abs(step)) < 0.35


@pytest.mark.parametrize(
    ("folder", "magnitude_name", "phase_name", "b0"),
    [
        ("prisma_fieldmap", "8_gre_field_mapping_e2", "9_gre_field_mapping_e2_ph", 2.895),
        ("vendor_fieldmaps", "Si_2_gre_field_magph_e2", "Si_3_gre_field_magph_e2_ph", 2.895),
    ],
)
def test_real_siemens_phase_difference(root, shared_data, folder, magnitude_name, phase_name, b0):
    for part, name in (("mag", magnitude_name), ("phase", phase_name)):
        sidecar = json.loads((shared_data / folder / f"{name}.json").read_text())
        units = {"Units": "arbitrary"} if part == "phase" else {}
        place_image(
            root, f"part-{part}_T2starw", shared_data / folder / f"{name}.nii.gz", sidecar | units
        )
    loaded = load(root)
    assert loaded.echo_times_s == pytest.approx((0.00246,))
    assert loaded.b0_tesla == pytest.approx(b0, abs=1e-3)
    assert np.abs(loaded.phase_rad).max() == pytest.approx(np.pi, abs=1e-2)
    assert "-4096..4094 of Siemens" in loaded.inferred["phase_scaling"]


def test_real_ge_field_map_is_refused(root, shared_data):
    start = shared_data / "vendor_fieldmaps" / "GE_6_CV_Neuro_HH_Adv"
    for part, end in (("mag", ""), ("phase", "_fieldmaphz")):
        sidecar = json.loads(start.with_name(start.name + end + ".json").read_text())
        image = start.with_name(start.name + end + ".nii.gz")
        place_image(root, f"part-{part}_T2starw", image, sidecar)
    (skipped,) = collect_runs(index(root)).skipped
    assert "this is a field map made by the scanner and not phase" in skipped.reason
