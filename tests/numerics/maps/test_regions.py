"""Statistics of labelled regions, and regional values recovered from a simulated field."""

import numpy as np
import pytest
import torch
from grids import GRIDS

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.maps.regions import measure_regions
from qsm_pipeline.numerics.simulate import LABELS, simulate_head
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = {n: m for n, m in methods_of("inversion").items() if n != "cycleqsm"}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_agrees_with_numpy_region_by_region(grid):
    labels = torch.randint(0, 6, grid.shape, dtype=torch.int32) * 1000
    chi, valid = torch.randn(grid.shape), torch.rand(grid.shape) > 0.2
    found = measure_regions(chi, labels, valid, grid)
    assert [region.index for region in found] == [1000, 2000, 3000, 4000, 5000]
    for region in found:
        whole = labels.numpy() == region.index
        values = chi.numpy()[whole & valid.numpy()].astype(float)
        assert region.n_voxels == values.size
        assert region.volume_ml == pytest.approx(whole.sum() * grid.voxel_volume_mm3 / 1000)
        assert region.mean_ppm == pytest.approx(values.mean(), rel=1e-6)
        assert region.median_ppm == pytest.approx(np.median(values), rel=1e-6)
        assert region.sd_ppm == pytest.approx(values.std(ddof=1), rel=1e-6)


def test_regions_without_a_valid_voxel_have_a_volume_but_no_value():
    grid = Grid((4, 5, 6), (1.0, 2.0, 3.0))
    labels = torch.zeros(grid.shape, dtype=torch.int32)
    labels[0, 0, 0], labels[1], labels[2, 2, 2:4] = 7, 8, 9
    valid = torch.zeros(grid.shape, dtype=torch.bool)
    valid[0, 0, 0] = valid[2, 2, 2] = True
    one, two, three = measure_regions(torch.ones(grid.shape), labels, valid, grid)
    assert (one.n_voxels, one.mean_ppm, one.sd_ppm) == (1, 1.0, None)
    assert (two.n_voxels, two.mean_ppm, two.median_ppm, two.sd_ppm) == (0, None, None, None)
    assert two.volume_ml == pytest.approx(30 * 6 / 1000)
    assert (three.n_voxels, three.volume_ml) == (1, pytest.approx(0.012))
    assert measure_regions(torch.ones(grid.shape), 0 * labels, valid, grid) == []


@pytest.mark.parametrize("tilt", [0, 25])
def test_values_of_a_phantom_agree_within_the_error_of_the_inversion(tilt):
    shape, voxel = (74, 90, 56), (2.5, 2.5, 3.0)
    affine = tilted_affine(shape, voxel, tilt)
    head = simulate_head(shape, affine)
    grid = Grid.from_affine(shape, affine)
    chi = torch.where(head.brain, head.chi_ppm, 0.0)
    noise = 0.001 * torch.randn(shape)
    field = torch.where(head.brain, DipoleOperator(grid)(chi) + noise, 0.0)
    tv = METHODS["tv"]
    result = tv.function(InversionProblem(field, head.brain, grid, noise_ppm=0.001), tv.params())
    nuclei = {label: name for name, label in LABELS.items() if label <= 7}
    labels = torch.where(head.labels <= 7, head.labels, 0).int()
    true = {r.index: r for r in measure_regions(chi, labels, head.brain, grid)}
    mean = (result - chi)[head.brain].mean()  # the field does not know the constant
    found = {r.index: r for r in measure_regions(result - mean, labels, head.brain, grid)}
    assert set(found) == set(true) == set(nuclei)
    voxel_error = float((result - mean - chi)[head.brain].std())
    for index in nuclei:
        error = found[index].mean_ppm - true[index].mean_ppm
        assert abs(error) < max(voxel_error, 0.15 * true[index].mean_ppm)
    order = sorted(nuclei, key=lambda index: true[index].mean_ppm)
    assert found[order[-1]].mean_ppm > 3 * found[order[0]].mean_ppm
