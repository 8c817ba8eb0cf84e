"""Patterns of .bidsignore, whose time has a bound whatever they are."""

import os

import pytest
from hostile.damages import DAMAGES

from qsm_pipeline.bids.ignored import BidsIgnore

_PATH = "sub-01/ses-a/anat/sub-01_ses-a_MEGRE.nii.gz"


@pytest.mark.parametrize(
    ("pattern", "ignored"),
    [
        ("sub-01", True),
        ("sub-01/", True),
        ("sub-0?", True),
        ("anat/", True),
        ("anat", True),
        ("/anat", False),
        ("sub-01/anat", False),
        ("sub-01/*/anat", True),
        ("sub-01/**/*_MEGRE.nii.gz", True),
        ("**/anat/*", True),
        ("sub-01/**", True),
        ("**", True),
        ("*.nii", False),
        ("*.nii.gz/", False),
        ("SUB-01", False),
        ("!sub-01", False),
        ("sub-01\n!*_MEGRE*", False),
        ("sub-0[1]", False),
        ("*" * 5000, True),
        ("*s" * 400 + "b", False),
        ("**/" * 5000 + "x", False),
        ("x/**", False),
        ("sub-01/ses-a/anat/sub-01_ses-a_MEGRE.nii.gz/**", False),
        ("[" * 100_000, False),
    ],
)
def test_patterns(tmp_path, pattern, ignored):
    (tmp_path / ".bidsignore").write_text(f"{pattern}\n")
    assert BidsIgnore(tmp_path).ignores(_PATH) == ignored
    assert BidsIgnore(tmp_path).skipped() == []


@pytest.mark.parametrize("damage", ["dangling", "annexLink", "pipe", "folder", "garbage", "huge"])
def test_one_that_cannot_be_read_is_told(tmp_path, damage):
    path = tmp_path / ".bidsignore"
    path.touch()
    DAMAGES[damage](path)
    ignore = BidsIgnore(tmp_path)
    assert not ignore.ignores(_PATH)
    (told,) = ignore.skipped()
    assert "nothing was ignored" in told.reason
    os.unlink(path) if not path.is_dir() else path.rmdir()
    assert BidsIgnore(tmp_path).skipped() == []
