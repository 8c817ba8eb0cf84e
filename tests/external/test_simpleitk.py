"""Labels brought to another grid, by a given transform and by registration."""

import nibabel as nib
import numpy as np
import pytest
import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.exceptions import BIDSInputError, ConfigError
from qsm_pipeline.external.simpleitk import itk
from qsm_pipeline.external.simpleitk.sides import split_sides
from qsm_pipeline.numerics.simulate import LABELS, simulate_head

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")

from qsm_pipeline.external.simpleitk.align import align  # noqa: E402

SHAPE, VOXEL = (62, 74, 44), (3.0, 3.0, 4.0)
NUCLEI = [LABELS[name] for name in ("caudate", "putamen", "thalamus", "pallidum")]


def _moved(affine, degrees, shift_mm):
    """Return an affine turned about the scanner's z axis and shifted, and that motion."""
    angle = np.radians(degrees)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, 3] = shift_mm
    return motion @ affine, motion


def _as_itk(motion):
    """Return a motion of RAS points as a transform of ITK."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ motion @ flip
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def test_voxels_keep_their_place():
    affine = tilted_affine((5, 6, 7), (1.0, 2.0, 3.0), 30)
    affine[:3, 3] += [4, -5, 6]
    array = np.arange(210, dtype=np.float32).reshape(5, 6, 7)
    image = itk.to_itk(array, affine)
    assert image.GetSize() == (5, 6, 7)
    assert image.GetPixel(3, 1, 5) == array[3, 1, 5]
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((3, 1, 5)),
        np.array([-1, -1, 1]) * nib.affines.apply_affine(affine, (3, 1, 5)),
        atol=1e-4,
    )


@pytest.mark.parametrize("invert", [False, True])
def test_a_transform_of_a_file_brings_every_label_to_its_place(tmp_path, invert):
    rng = np.random.default_rng(0)
    target_affine = tilted_affine((20, 24, 18), (1.0, 1.2, 1.5), 20)
    labels = rng.integers(0, 5, (12, 13, 11)).astype(np.int32)
    affine = tilted_affine(labels.shape, (2.0, 2.0, 2.2), 0)
    _, motion = _moved(np.eye(4), 10, [2, -3, 1])  # points of the run to points of the labels
    written = np.linalg.inv(motion) if invert else motion
    path = tmp_path / "sub-01_from-T1w_to-MEGRE_mode-image_xfm.txt"
    sitk.WriteTransform(_as_itk(written), str(path))
    transform = itk.read_transform(path, invert=invert)
    found = itk.resample_labels(labels, affine, (20, 24, 18), target_affine, transform)
    points = np.moveaxis(np.indices((20, 24, 18)), 0, -1).reshape(-1, 3)
    index = nib.affines.apply_affine(np.linalg.inv(affine) @ motion @ target_affine, points)
    nearest = np.round(index).astype(int)
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(1)
    expected = np.where(inside, labels[tuple(nearest.clip(0, 10).T)], 0).reshape(20, 24, 18)
    clear = (np.abs(index - nearest).max(1) < 0.49) & ((nearest > 0) & (nearest < 10)).all(1)
    assert clear.sum() > 1000
    np.testing.assert_array_equal(found.ravel()[clear], expected.ravel()[clear])


def test_what_is_no_transform_or_has_no_inverse_is_refused(tmp_path):
    path = tmp_path / "x_xfm.txt"
    path.write_text("nonsense")
    with pytest.raises(BIDSInputError, match=r"x_xfm\.txt is no transform"):
        itk.read_transform(path)
    field = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3))
    sitk.WriteTransform(field, str(tmp_path / "y_xfm.h5"))
    assert itk.read_transform(tmp_path / "y_xfm.h5")
    with pytest.raises(BIDSInputError, match="has no inverse"):
        itk.read_transform(tmp_path / "y_xfm.h5", invert=True)


def test_without_simpleitk_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'qsm-pipeline\[regions\]'"):
        itk.require_simpleitk()


def _t1_weighted(head):
    return (head.m0 * (1 - 2 * torch.exp(-0.9 * head.r1_per_s)).abs()).numpy()


def _magnitude(head):
    return (head.m0 * torch.exp(-0.015 * head.r2star_per_s)).numpy()


def _dice(one, other):
    return np.array(
        [
            2 * ((one == n) & (other == n)).sum() / ((one == n).sum() + (other == n).sum())
            for n in NUCLEI
        ]
    )


@pytest.fixture(scope="module")
def run():
    affine = tilted_affine(SHAPE, VOXEL, 15)
    head = simulate_head(SHAPE, affine, 0)
    return affine, head, _magnitude(head), head.brain.numpy(), head.labels.numpy()


def test_the_same_person_is_found_after_a_movement(run):
    affine, _, magnitude, brain, labels = run
    shape = (80, 86, 70)
    upright = tilted_affine(shape, (2.5, 2.5, 2.5), 0)
    other = simulate_head(shape, upright, 0)
    moved, motion = _moved(upright, 6, [5, -4, 3])
    found = align(magnitude, affine, brain, _t1_weighted(other), moved, same_person=True)
    centre = np.array([3.0, -10.0, 8.0])
    expected = nib.affines.apply_affine(motion, centre)
    there = np.array(found.transform.TransformPoint((centre * [-1, -1, 1]).tolist()))
    np.testing.assert_allclose(there * [-1, -1, 1], expected, atol=1.0)

    def overlap(transform):
        source = other.labels.numpy().astype(np.int32)
        return _dice(itk.resample_labels(source, moved, SHAPE, affine, transform), labels)

    assert overlap(found.transform).min() > 0.6
    assert overlap(found.transform).min() > 1.2 * overlap(sitk.Transform()).max()
    again = align(magnitude, affine, brain, _t1_weighted(other), moved, same_person=True)
    assert again.mutual_information == pytest.approx(found.mutual_information, rel=1e-3)


def test_the_template_of_an_atlas_is_fitted_to_another_person(run):
    affine, _, magnitude, brain, labels = run
    shape = (70, 84, 66)
    upright = tilted_affine(shape, (2.5, 2.5, 2.5), 0)
    other = simulate_head(shape, upright, 7)
    moved, _ = _moved(upright, 8, [12, -15, 20])
    template = np.where(other.brain.numpy(), _t1_weighted(other), 0)
    found = align(magnitude, affine, brain, template, moved, same_person=False)

    def overlap(transform):
        source = other.labels.numpy().astype(np.int32)
        return _dice(itk.resample_labels(source, moved, SHAPE, affine, transform), labels)

    assert overlap(found.transform).mean() > 0.6
    assert overlap(sitk.Transform()).mean() < 0.2


def test_regions_on_both_sides_are_divided_at_the_midline():
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    affine[0, 3] = 9  # x from 9 to -9: voxels 0 to 4 are right
    labels = np.zeros((10, 3, 3), np.int32)
    labels[1:9, 1], labels[6:9, 2], labels[2:6, 0] = 5, 7, 9
    labels[5:9, 0, 0] = 9
    split, names = split_sides(labels, affine, {5: "Caudate", 7: "Hand", 9: "Vermis"})
    assert (split[1:5, 1] == 14).all()
    assert (split[5:9, 1] == 5).all()
    assert (split[labels == 7] == 7).all()
    assert names[5] == "Caudate-left"
    assert names[14] == "Caudate-right"
    assert names[7] == "Hand"
    assert (labels[1:9, 1] == 5).all()  # the input stays as it was
