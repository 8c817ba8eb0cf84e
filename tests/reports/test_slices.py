"""Orientation and geometry of the slices that are shown."""

import nibabel as nib
import numpy as np
import pytest
from report_tree import SHAPE, oblique_affine

from qsm_pipeline.reports.slices import PER_ROW, View, Volume, load_volume, mosaic

AXIAL, CORONAL, SAGITTAL = range(3)


def _marked(tmp_path, mm):
    """Return a volume with one bright voxel, at a place in mm."""
    affine = oblique_affine()
    values = np.zeros(SHAPE, np.float32)
    index = np.round(np.linalg.inv(affine) @ [*mm, 1])[:3].astype(int)
    values[tuple(index)] = 1
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "marked.nii")
    return load_volume(tmp_path / "marked.nii")


@pytest.mark.parametrize(
    ("mm", "plane", "left", "top"),
    [
        ((-6.0, 6.0, 0.0), AXIAL, True, True),  # left anterior
        ((6.0, -6.0, 0.0), AXIAL, False, False),
        ((-6.0, 0.0, 8.0), CORONAL, True, True),  # left superior
        ((6.0, 0.0, -8.0), CORONAL, False, False),
        ((0.0, -9.5, 3.0), SAGITTAL, True, True),  # posterior superior
        ((0.0, 6.0, -8.0), SAGITTAL, False, False),
    ],
)
def test_left_is_left_and_up_is_up(tmp_path, mm, plane, left, top):
    volume = _marked(tmp_path, mm)
    voxel = np.argwhere(volume.data == 1)[0]
    rows = tuple((cut, (int(voxel[cut]),) * PER_ROW) for cut in (2, 1, 0))
    view = View((0, 0, 0), volume.data.shape, rows)
    tiles = mosaic(volume, view)
    first, last = tiles.rows[plane]
    tile = np.nan_to_num(tiles.pixels[first:last, : tiles.width])
    row, column = np.argwhere(tile == 1).mean(axis=0)
    assert (column < tiles.width / 2) == left
    assert (row < (last - first) / 2) == top


def test_pixels_are_square_whatever_the_voxels(tmp_path):
    volume = Volume(np.ones((20, 24, 10), np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    tiles = mosaic(volume, View.of(volume))
    heights = [last - first for first, last in tiles.rows]
    assert heights == [24, 30, 30]
    shown = np.isfinite(tiles.pixels[: heights[0], : tiles.width])
    assert shown[0].sum() == 20  # narrower tiles stand in the middle of wider ones


def test_a_view_covers_the_mask_and_little_else():
    data = np.zeros((60, 50, 40), np.float32)
    data[20:40, 10:35, 5:30] = 1
    view = View.of(Volume(data, np.diag([1.0, 1.0, 2.0, 1.0])))
    assert view.first == (15, 5, 3)
    assert view.last == (45, 40, 32)
    assert [cut for cut, _ in view.rows] == [2, 1, 0]
    for (_, positions), (low, high) in zip(view.rows, ((5, 30), (10, 35), (20, 40)), strict=True):
        assert len(set(positions)) == PER_ROW
        assert low <= min(positions) < max(positions) < high


def test_an_echo_of_a_4d_file_and_values_that_are_no_numbers(tmp_path):
    values = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "echoes.nii")
    last = load_volume(tmp_path / "echoes.nii", -1)
    expected = values[..., 1].copy()
    expected[0, 0, 0] = 0
    np.testing.assert_array_equal(last.data, expected)


def _ellipsoid(shape, voxel_mm, centre_mm, radii_mm):
    places = np.meshgrid(
        *[(np.arange(n) + 0.5) * v for n, v in zip(shape, voxel_mm, strict=True)], indexing="ij"
    )
    distance = sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre_mm, radii_mm, strict=True))
    return Volume((distance < 1).astype(np.float32), np.diag([*voxel_mm, 1.0]))


def test_the_nuclei_are_looked_for_at_their_depth_below_the_vertex():
    """In a brain as long as the MNI template their slices are where they are in the atlas."""
    voxel = (2.0, 2.0, 1.5)
    volume = _ellipsoid((90, 110, 120), voxel, (90, 110, 90), (68, 87.5, 72))
    view = View.of(volume).through_the_nuclei(volume)
    slices = [position for _, row in view.rows for position in row]
    depth_mm = [162 - (position + 0.5) * voxel[2] for position in slices]  # the vertex is at 162
    assert {cut for cut, _ in view.rows} == {2}
    assert len(slices) == 3 * PER_ROW
    assert depth_mm == sorted(depth_mm)
    steps = np.diff(depth_mm)
    assert (steps > 1).all()
    assert (steps < 4).all()
    for mni_z in (0, -10, -35):  # pallidum, substantia nigra, dentate; the vertex is at 78
        assert min(abs(d - (78 - mni_z)) for d in depth_mm) < 2


@pytest.mark.parametrize("thickness_mm", [2.0, 3.4, 8.0])
def test_no_slice_is_shown_twice(thickness_mm):
    depth = round(180 / thickness_mm)
    volume = _ellipsoid((90, 110, depth), (2.0, 2.0, thickness_mm), (90, 110, 90), (68, 87.5, 72))
    for view in (View.of(volume), View.of(volume).through_the_nuclei(volume)):
        shown = [(cut, position) for cut, row in view.rows for position in row]
        assert len(set(shown)) == len(shown)
        assert max(len(row) for _, row in view.rows) <= PER_ROW
        assert np.isfinite(mosaic(volume, view).pixels).any()


def test_of_a_slab_all_slices_are_shown():
    volume = _ellipsoid((90, 110, 30), (2.0, 2.0, 2.0), (90, 110, 30), (68, 87, 72))
    slices = [p for _, row in View.of(volume).through_the_nuclei(volume).rows for p in row]
    assert (slices[0], slices[-1]) == (29, 0)
    empty = Volume(np.zeros((9, 9, 9), np.float32), np.eye(4))
    assert View.of(empty).through_the_nuclei(empty) == View.of(empty)
