import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from bids_trees import add_megre, make_dataset, write_image, write_sidecar

from qsm_pipeline.bids.coils import load_combined
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.steps.coils import combine_coils

SHAPE, TIMES = (40, 44, 36), (0.004, 0.009)
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])


def axes():
    return [
        np.linspace(-1, 1, n).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, n in enumerate(SHAPE)
    ]


def truth():
    """A head with a field that wraps, as complex echoes."""
    x, y, z = axes()
    inside = (x**2 + y**2 + z**2 < 0.6).astype(float)
    field_hz = 60 * np.exp(-8 * ((x - 0.2) ** 2 + y**2 + z**2)) + 40 * z
    return np.stack([inside * np.exp(2j * np.pi * field_hz * t - t / 0.03) for t in TIMES]), inside


def sensitivity(coil, coils):
    x, y, z = axes()
    turn = 2 * math.pi * coil / coils
    distance = (x - 1.3 * math.cos(turn)) ** 2 + (y - 1.3 * math.sin(turn)) ** 2 + z**2
    slope = 1.5 * (math.sin(turn) * x + math.cos(turn) * y)
    return np.exp(1j * (slope + 5 * turn)) / (0.3 + distance)


def add_coils(root, between="coil-{:02d}", coils=6, noise=0.01, suffix="MEGRE"):
    echoes, inside = truth()
    rng = np.random.default_rng(0)
    for coil in range(coils):
        for echo, time in enumerate(TIMES, 1):
            image = echoes[echo - 1] * sensitivity(coil, coils)
            image = image + noise * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
            for part, values in (("mag", np.abs(image)), ("phase", np.angle(image))):
                name = f"sub-01_{between.format(coil + 1)}_echo-{echo}_part-{part}_{suffix}.nii.gz"
                path = write_image(root / "sub-01" / "anat" / name, values, AFFINE)
                write_sidecar(
                    path,
                    {"EchoTime": time, "MagneticFieldStrength": 3, "Manufacturer": "Siemens"}
                    | ({"Units": "rad"} if part == "phase" else {}),
                )
    return echoes, inside > 0


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "raw")


def only_run(root):
    found = collect_runs(index(root))
    assert not found.skipped, found.skipped[0].reason
    (run,) = found.runs
    return run


@pytest.mark.parametrize("between", ["coil-{:02d}", "rec-coil{:02d}", "rec-ch{:d}"])
def test_coils_become_one_run_whose_echoes_differ_as_the_field_says(root, between):
    echoes, inside = add_coils(root, between)
    run = only_run(root)
    assert run.prefix == "sub-01"
    assert len(run.each_coil) == 6
    assert len(run.files) == len(run.sources) == 6 * 4
    kept = GreRun.from_dict(json.loads(json.dumps(run.to_dict())))
    loaded = load_combined(kept, combine_coils)
    assert "6 single coils (1 to 6)" in loaded.inferred["coils"]
    evolved = np.angle(np.exp(1j * (loaded.phase_rad[1] - loaded.phase_rad[0])))
    error = np.angle(np.exp(1j * evolved) * np.conj(echoes[1] * np.conj(echoes[0])))[inside]
    assert np.abs(error).std() < 0.02
    decay = loaded.magnitude[1][inside] / loaded.magnitude[0][inside]
    assert decay.mean() == pytest.approx(math.exp(-0.005 / 0.03), rel=0.01)


def test_what_is_left_of_the_coils_is_a_smooth_offset_and_nothing_cancels(root):
    echoes, inside = add_coils(root, noise=0.0)
    loaded = load_combined(only_run(root), combine_coils)
    left = np.exp(1j * loaded.phase_rad[0]) * np.conj(echoes[0])
    for axis in range(3):
        n = SHAPE[axis] - 1
        one, other = (np.take(left, range(s, s + n), axis) for s in (0, 1))
        both = np.take(inside, range(n), axis) & np.take(inside, range(1, n + 1), axis)
        assert np.abs(np.angle(one * np.conj(other)))[both].max() < 0.2


def test_a_dead_and_a_noisy_coil_do_little(root):
    echoes, inside = add_coils(root)
    rng = np.random.default_rng(1)
    for echo in (1, 2):
        start = root / "sub-01" / "anat" / f"sub-01_coil-07_echo-{echo}_part"
        model = json.loads(
            (
                root / "sub-01" / "anat" / f"sub-01_coil-01_echo-{echo}_part-phase_MEGRE.json"
            ).read_text()
        )
        for part, values in (
            ("mag", rng.rayleigh(0.01, SHAPE)),
            ("phase", rng.uniform(-np.pi, np.pi, SHAPE)),
        ):
            write_image(root / f"{start}-{part}_MEGRE.nii.gz", values, AFFINE)
            write_sidecar(root / f"{start}-{part}_MEGRE.nii.gz", model)
    loaded = load_combined(only_run(root), combine_coils)
    evolved = np.angle(np.exp(1j * (loaded.phase_rad[1] - loaded.phase_rad[0])))
    error = np.angle(np.exp(1j * evolved) * np.conj(echoes[1] * np.conj(echoes[0])))[inside]
    assert np.abs(error).std() < 0.02


def test_combined_images_win_over_single_coils(root):
    add_coils(root, "rec-coil{:02d}", coils=2)
    add_megre(root, echo_times_s=TIMES)
    found = collect_runs(index(root))
    (run,) = found.runs
    assert not run.coils
    assert [each.reason for each in found.left_out] == [
        "a single coil, of which the combined images are there"
    ] * 2


def test_two_runs_of_coils_stay_two(root):
    add_coils(root, "run-1_coil-{:02d}", coils=2)
    add_coils(root, "run-2_coil-{:02d}", coils=3)
    runs = collect_runs(index(root)).runs
    assert [(run.prefix, len(run.each_coil)) for run in runs] == [
        ("sub-01_run-1", 2),
        ("sub-01_run-2", 3),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"EchoTime": 0.011}, "echo times in s of coil 2"),
        ({"MagneticFieldStrength": 7}, "field strength"),
    ],
)
def test_coils_that_do_not_agree_are_refused(root, change, said):
    add_coils(root, coils=2)
    for part in ("mag", "phase"):
        path = root / "sub-01" / "anat" / f"sub-01_coil-02_echo-2_part-{part}_MEGRE.json"
        write_sidecar(path, json.loads(path.read_text()) | change)
    (skipped,) = collect_runs(index(root)).skipped
    assert said in skipped.reason


def test_phase_of_coils_without_magnitude_says_what_is_missing(root):
    add_coils(root, coils=2)
    for path in (root / "sub-01" / "anat").glob("*part-mag*"):
        path.unlink()
    (skipped,) = collect_runs(index(root)).skipped
    assert "magnitude" in skipped.reason


def test_a_coil_elsewhere_is_named(root):
    from qsm_pipeline.exceptions import BIDSInputError

    add_coils(root, coils=2)
    for path in (root / "sub-01" / "anat").glob("*coil-02*.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(image.get_fdata(), AFFINE @ np.diag([1.2, 1, 1, 1])), path)
    with pytest.raises(BIDSInputError, match="coil-02"):
        load_combined(only_run(root), combine_coils)


def test_sensitivities_need_the_shape_of_the_grid():
    from qsm_pipeline.numerics.core.grid import Grid
    from qsm_pipeline.numerics.phase.coils import CoilPhases

    phases = CoilPhases(Grid((8, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)))
    with pytest.raises(ValueError, match="shape"):
        phases.add(torch.zeros(8, 8, 9, dtype=torch.complex64))
    with pytest.raises(ValueError, match="at least one"):
        phases.sensitivities()
