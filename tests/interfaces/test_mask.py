"""The node that makes the mask: what it keeps, what it says, what it refuses."""

from functools import partial

import nibabel as nib
import numpy as np
import pytest
from bids_trees import write_image
from nipype.pipeline.engine import Node
from scipy.ndimage import distance_transform_edt

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.exceptions import MaskError
from qsm_pipeline.interfaces.mask import MaskBrain
from qsm_pipeline.numerics.params.masking import FieldRegionParams
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps import masking

SHAPE, VOXEL = (56, 66, 34), (3.2, 3.2, 4.5)
TIMES = ScanParams().echo_times_s


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    affine = tilted_affine(SHAPE, VOXEL, 20)
    scan = simulate_scan(SHAPE, affine)
    arrays = {
        "phase": np.moveaxis(scan.phase_rad.numpy(), 0, -1),
        "magnitude": np.moveaxis(scan.magnitude.numpy(), 0, -1),
        "valid": np.ones(SHAPE),
    }
    paths = {n: str(write_image(folder / f"{n}.nii", a, affine)) for n, a in arrays.items()}
    own = write_image(folder / "own.nii", scan.brain.numpy(), affine, np.uint8)
    return paths, str(own), scan.brain.numpy()


def _mask(tmp_path, files, **inputs):
    node = Node(
        MaskBrain(**files[0], echo_times_s=list(TIMES), b0_tesla=3.0, label="sub-01", **inputs),
        name="mask",
        base_dir=str(tmp_path),
    )
    return node.run().outputs


def _load(path):
    return np.asarray(nib.load(path).dataobj) > 0


def test_refinement_keeps_the_brain_and_drops_what_has_no_signal(tmp_path, files):
    brain = files[2]
    plain = _mask(tmp_path / "a", files, method="robust", refinement="none")
    refined = _mask(tmp_path / "b", files, method="robust", refinement="phase-quality")
    before, after = _load(plain.mask), _load(refined.mask)
    assert (after & brain).sum() > 0.97 * (before & brain).sum()
    assert (after & ~brain).sum() < 0.8 * (before & ~brain).sum()
    assert plain.provenance["facts"]["MaskRefinement"] == "none"
    np.testing.assert_array_equal(_load(plain.measured), before)
    assert refined.provenance["facts"]["MaskRefinement"] == "phase-quality"
    voxel_ml = np.prod(VOXEL) / 1000
    assert refined.provenance["facts"]["BrainVolumeMl"] == pytest.approx(
        after.sum() * voxel_ml, abs=0.1
    )


def test_a_mask_of_the_user_is_not_changed(tmp_path, files, monkeypatch):
    wide = partial(FieldRegionParams, margin_mm=5.0)  # its voxels are thicker than 3 mm
    monkeypatch.setattr(masking, "FieldRegionParams", wide)
    out = _mask(tmp_path, files, user_mask=files[1], two_pass=True)
    np.testing.assert_array_equal(_load(out.mask), files[2])
    assert out.provenance["facts"]["BrainMask"] == "the user's own"
    assert out.provenance["facts"]["MaskRefinement"] == "none"
    measured = _load(out.measured)
    distance = distance_transform_edt(~files[2], VOXEL)
    assert measured[files[2]].all()
    assert measured.sum() / files[2].sum() > 1.01
    assert distance[measured].max() <= 5.0
    reliable = _load(out.reliable)
    assert not (reliable & ~files[2]).any()
    assert 0.5 < reliable.sum() / files[2].sum() < 1
    assert out.provenance["facts"]["ReliableVolumeMl"] < out.provenance["facts"]["BrainVolumeMl"]


@pytest.mark.parametrize(
    ("radius", "message"), [(0, "the mask is empty"), (25, r"holds \d+ ml, expected at least 200")]
)
def test_a_lost_brain_names_the_run_and_what_to_do(tmp_path, files, radius, message):
    image = nib.load(files[1])
    distance = np.linalg.norm(
        (np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2) * VOXEL, axis=-1
    )
    own = write_image(tmp_path / "small.nii", distance < radius, image.affine, np.uint8)
    interface = MaskBrain(
        **files[0], echo_times_s=list(TIMES), b0_tesla=3.0, label="sub-01", user_mask=str(own)
    )
    with pytest.raises(MaskError, match=rf"^sub-01: .*{message}.*--mask-pattern"):
        interface.run(cwd=str(tmp_path))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("gap", [slice(16, 19), slice(4, 6)])
def test_empty_slices_that_cut_the_brain_in_two_are_refused(tmp_path, files, own, gap):
    paths, mask, brain = files
    image = nib.load(mask)
    valid = np.ones(SHAPE)
    valid[..., gap] = 0
    broken = str(write_image(tmp_path / "valid.nii", valid, image.affine))
    interface = MaskBrain(
        **paths | {"valid": broken},
        echo_times_s=list(TIMES),
        b0_tesla=3.0,
        label="sub-01",
        user_mask=mask if own else "",
        method="robust",
    )
    if gap.start == 16:
        with pytest.raises(
            MaskError, match=r"^sub-01: the mask falls into parts .* \d+ %.*slices"
        ):
            interface.run(cwd=str(tmp_path))
    else:  # only little lies below the gap
        kept = _load(interface.run(cwd=str(tmp_path)).outputs.mask)
        assert (kept & brain).sum() > 0.8 * (brain & (valid > 0)).sum()
