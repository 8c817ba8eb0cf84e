"""Laws of the dipole operator, the gradient and the grid."""

import nibabel as nib
import numpy as np
import pytest
import torch
from grids import GRIDS

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import fast_size, irfft3, rfft3
from qsm_pipeline.numerics.core.gradients import gradient, gradient_adjoint
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel, laplacian_kernel, smv_kernel
from qsm_pipeline.numerics.core.solvers import conjugate_gradient

grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


@grids
@pytest.mark.parametrize("pad_mm", [None, 0.0, 7.0])
def test_dipole_is_symmetric_and_linear(grid, pad_mm):
    operator = DipoleOperator(grid, margin_mm=pad_mm, dtype=torch.float64)
    x, y = torch.randn(2, *grid.shape, dtype=torch.float64)
    assert torch.allclose((operator(x) * y).sum(), (x * operator.adjoint(y)).sum(), atol=1e-9)
    assert torch.allclose(operator(2 * x - y), 2 * operator(x) - operator(y), atol=1e-10)


@grids
def test_batched_dipole_is_per_volume(grid):
    operator = DipoleOperator(grid)
    x = torch.randn(2, 3, *grid.shape)
    torch.testing.assert_close(operator(x)[1, 2], operator(x[1, 2]))


@grids
def test_dipole_kernel_range_and_symmetry(grid):
    kernel = dipole_kernel(grid, dtype=torch.float64)
    assert kernel.min() >= -2 / 3 - 1e-9
    assert kernel.max() <= 1 / 3 + 1e-9
    assert kernel[0, 0, 0] == 0
    # a real, even kernel survives the round trip through a real image unchanged
    torch.testing.assert_close(rfft3(irfft3(kernel + 0j, grid.shape)), kernel + 0j)


@pytest.mark.parametrize("b0_dir", [(0, 0, 1), (0.3, -0.2, 0.93), (1, 0, 0)])
@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (1.0, 1.0, 1.5)])
def test_field_outside_a_round_source_is_that_of_a_point_dipole(b0_dir, voxel):
    """DB = V chi / (4 pi r^3) (3 cos^2 - 1) outside, 0 at the centre (Lorentz-corrected)."""
    grid = Grid((64, 60, 50), voxel, b0_dir)
    centre = [n // 2 for n in grid.shape]
    axes = [(torch.arange(n) - c) * v for n, c, v in zip(grid.shape, centre, voxel, strict=True)]
    r = torch.stack(torch.meshgrid(*axes, indexing="ij")).double()
    radius = r.norm(dim=0)
    chi = torch.exp(-((radius / 3.5) ** 2))  # smooth, so that the grid resolves it
    volume = chi.sum() * grid.voxel_volume_mm3
    cosine = (r * torch.tensor(grid.b0_dir)[:, None, None, None]).sum(0) / radius.clamp(min=1)
    expected = volume / (4 * np.pi) * (3 * cosine**2 - 1) / radius.clamp(min=1) ** 3
    field = DipoleOperator(grid, dtype=torch.float64)(chi)
    outside = (radius > 12) & (radius < 20)
    assert (field - expected)[outside].abs().max() < 0.02 * expected[outside].abs().max()
    assert field[radius == 0].abs() < 0.01


@grids
def test_gradient_adjoint(grid):
    x = torch.randn(grid.shape, dtype=torch.float64)
    g = torch.randn(3, *grid.shape, dtype=torch.float64)
    forward = (gradient(x, grid.voxel_size_mm) * g).sum()
    assert torch.allclose(forward, (x * gradient_adjoint(g, grid.voxel_size_mm)).sum())


def test_gradient_of_a_ramp():
    x = torch.arange(12.0)[:, None, None].expand(12, 5, 6) * 3
    g = gradient(x, (1.5, 1.0, 1.0))
    assert (g[0, :-1] == 2).all()
    assert (g[1:] == 0).all()


def test_laplacian_and_smv_of_constants():
    grid = GRIDS["oblique"]
    assert laplacian_kernel(grid)[0, 0, 0] == 0
    assert smv_kernel(grid, 3.0)[0, 0, 0] == pytest.approx(1)
    assert smv_kernel(grid, 0.1).allclose(torch.ones(1))


@grids
@pytest.mark.parametrize("radius_mm", [2.5, 4.0])
def test_smv_keeps_harmonic_fields(grid, radius_mm):
    ball = irfft3(smv_kernel(grid, radius_mm, dtype=torch.float64), grid.shape)
    x, y, z = torch.meshgrid(
        *(
            torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) * v
            for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)
        ),
        indexing="ij",
    )
    for harmonic in (x, y * z, x * x - z * z, x * x + y * y - 2 * z * z):
        assert (ball * harmonic).sum().abs() < 1e-9
    assert (ball * x * x).sum() > 0.1 * radius_mm**2


def test_conjugate_gradient_solves():
    a = torch.randn(20, 20, dtype=torch.float64)
    a = a @ a.T + torch.eye(20, dtype=torch.float64)
    b = torch.randn(20, dtype=torch.float64)
    x = conjugate_gradient(lambda v: a @ v, b, tolerance=1e-10, max_iterations=200)
    torch.testing.assert_close(x, torch.linalg.solve(a, b))


@pytest.mark.parametrize(("n", "expected"), [(1, 2), (11, 12), (13, 14), (121, 126), (160, 160)])
def test_fast_size(n, expected):
    assert fast_size(n) == expected


def test_b0_direction_ignores_anisotropic_voxels():
    angle = np.deg2rad(20)
    rotation = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine = nib.affines.from_matvec(rotation @ np.diag([1.0, 1.0, 3.0]))
    grid = Grid.from_affine((8, 9, 10), affine)
    assert grid.voxel_size_mm == pytest.approx((1, 1, 3))
    assert np.rad2deg(np.arccos(grid.b0_dir[2])) == pytest.approx(20)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_unusable_affine_is_refused(bad):
    with pytest.raises(ValueError, match="affine"):
        Grid.from_affine((4, 4, 4), bad)


def test_sheared_affine_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(ValueError, match="sheared"):
        Grid.from_affine((4, 4, 4), affine)
