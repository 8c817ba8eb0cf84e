"""Robust distances from the median of a group."""

import pytest
import torch

from qsm_pipeline.numerics.quality.outliers import FEWEST, MAX_ROBUST_Z, robust_z


def test_of_normal_values_it_is_the_usual_distance():
    values = 5 + 0.3 * torch.randn(20000, 2, dtype=torch.float64)
    z = robust_z(values)
    torch.testing.assert_close(z, (values - 5) / 0.3, atol=0.15, rtol=0.03)
    assert float((z.abs() > MAX_ROBUST_Z).double().mean()) < 0.002


def test_one_far_value_neither_hides_itself_nor_moves_the_others():
    values = torch.tensor([0.8, 0.85, 0.9, 0.95, 1.0, 1.0, 1.05, 1.1, 1.15, 1.2, 1.0, 100.0])[
        :, None
    ]
    z = robust_z(values)[:, 0]
    assert (z.abs() > MAX_ROBUST_Z).tolist() == [False] * 11 + [True]
    assert float(robust_z(values[:-1])[0, 0]) == pytest.approx(float(z[0]), abs=0.5)


def test_scale_and_shift_do_not_matter():
    values = torch.rand(30, 3, dtype=torch.float64)
    torch.testing.assert_close(robust_z(-7 * values + 3), -robust_z(values))


def test_missing_values_stay_missing_and_do_not_count():
    values = torch.rand(14, 1)
    padded = torch.cat([values, torch.full((4, 1), torch.nan)])
    z = robust_z(padded)
    torch.testing.assert_close(z[:14], robust_z(values))
    assert z[14:].isnan().all()


def test_few_values_have_no_outliers():
    assert robust_z(torch.rand(FEWEST - 1, 1)).isnan().all()
    assert not robust_z(torch.rand(FEWEST, 1)).isnan().any()


def test_where_most_are_the_same_the_other_still_counts():
    values = torch.zeros(40, 1)
    assert (robust_z(values) == 0).all()
    values[7] = 1.0
    z = robust_z(values)[:, 0]
    assert (z > MAX_ROBUST_Z).nonzero().tolist() == [[7]]
