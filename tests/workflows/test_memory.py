"""A run is refused only if its images alone cannot fit."""

import nibabel as nib
import numpy as np
import pytest

from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.workflows.memory import run_memory_gb, too_large


def _run(folder, shape, echoes):
    """Write the header of a run; its zeros take no room on the disk."""
    path = folder / "sub-01_echo-1_part-phase_MEGRE.nii"
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with path.open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 2 * int(np.prod(shape)))
    times = tuple(0.004 * (n + 1) for n in range(echoes))
    return GreRun(str(folder), "MEGRE", {"sub": "01"}, times, 3.0, phase=(str(path),) * echoes)


def test_images_that_fit_are_not_refused(tmp_path):
    """256 x 256 x 160 voxels with five echoes were measured to need 2.1 GiB."""
    run = _run(tmp_path, (256, 256, 160), 5)
    assert too_large([run], 0.8) == []
    assert run_memory_gb(run) > 2.1


def test_images_that_cannot_fit(tmp_path):
    run = _run(tmp_path, (1000, 1000, 1000), 5)
    assert too_large([run], 75.0) == []
    (skipped,) = too_large([run], 74.0)
    assert skipped.what == "sub-01_MEGRE"
    assert skipped.subject == "01"
    assert skipped.reason == (
        f"{run.phase[0]} has 1000 x 1000 x 1000 voxels, which with 5 echo(es) need at least 74.5 "
        "GiB of memory, more than the 74.0 GiB that may be used here; give a larger --mem-gb if "
        "there is more, or another machine"
    )


@pytest.mark.parametrize("spoil", [b"", b"no image"])
def test_what_cannot_be_read_is_left_to_the_node_that_reads(tmp_path, spoil):
    run = _run(tmp_path, (10, 10, 10), 60)
    (tmp_path / "sub-01_echo-1_part-phase_MEGRE.nii").write_bytes(spoil)
    assert too_large([run], 0.1) == []
