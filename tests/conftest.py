"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the developers' real scans, which do not ship with the product."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real test data not present: {SHARED_DATA}")
    return SHARED_DATA
