import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsm_pipeline.bids.naming import (
    ENTITY_ORDER,
    OUTPUTS,
    RUN_ENTITIES,
    build_name,
    output_path,
    parse_name,
)

LABELS = st.text("abcXYZ0189", min_size=1, max_size=6)
ENTITIES = st.dictionaries(st.sampled_from(ENTITY_ORDER), LABELS)
RUNS = st.dictionaries(st.sampled_from(RUN_ENTITIES[1:]), LABELS)


@given(ENTITIES, st.sampled_from(["MEGRE", "mask"]), st.sampled_from([".nii", ".nii.gz", ".json"]))
def test_parse_inverts_build(entities, suffix, extension):
    parsed = parse_name("sub-x/anat/" + build_name(entities, suffix, extension))
    assert (parsed.entities, parsed.suffix, parsed.extension) == (entities, suffix, extension)


@given(ENTITIES)
def test_entities_come_in_bids_order(entities):
    keys = list(parse_name(build_name(entities, "mask")).entities)
    assert keys == sorted(keys, key=ENTITY_ORDER.index)


@given(RUNS, LABELS)
def test_outputs_of_a_run_have_distinct_names(run, sub):
    paths = [output_path({"sub": sub, **run}, q) for q in OUTPUTS]
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.name.startswith(f"sub-{sub}_")
        assert path.parts[-2] in ("anat", "fmap")
        assert ("ses" in run) == (path.parts[1] == f"ses-{run.get('ses')}")


@given(RUNS, RUNS)
def test_maps_of_different_runs_never_share_a_name(one, other):
    names = [output_path({"sub": "1", **run}, "chi") for run in (one, other)]
    assert (names[0] == names[1]) == (one == other)


def test_names_as_documented():
    run = {"run": "2", "acq": "q", "ses": "a", "sub": "01", "rec": "b"}
    expected = {
        "chi": "anat/sub-01_ses-a_acq-q_rec-b_run-2_Chimap.nii.gz",
        "brain_mask": "anat/sub-01_ses-a_acq-q_rec-b_run-2_desc-brain_mask.nii.gz",
        "total_field": "fmap/sub-01_ses-a_acq-qRecBRun2_desc-total_fieldmap.nii.gz",
        "fieldmap_magnitude": "fmap/sub-01_ses-a_acq-qRecBRun2_magnitude.nii.gz",
        "r2star": "anat/sub-01_ses-a_acq-q_rec-b_run-2_R2starmap.nii.gz",
    }
    for quantity, path in expected.items():
        assert str(output_path(run, quantity)) == "sub-01/ses-a/" + path


def test_extra_desc_replaces_the_usual_one():
    path = output_path({"sub": "1"}, "chi", extra={"desc": "paramagnetic"}, extension=".json")
    assert path.name == "sub-1_desc-paramagnetic_Chimap.json"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_name("sub-1_sub-2_mask.nii"), "'sub' comes twice"),
        (lambda: parse_name("sub-1_oops_mask.nii"), "'oops' is not a BIDS entity"),
        (lambda: build_name({"coil": "1"}, "mask"), "Unknown BIDS entity 'coil'"),
        (lambda: build_name({"sub": "a-b"}, "mask"), "letters and digits, got 'a-b'"),
        (lambda: output_path({"sub": "1"}, "magic"), "Unknown output 'magic'"),
        (lambda: output_path({"acq": "1"}, "chi"), "must hold 'sub'"),
        (lambda: output_path({"sub": "1", "echo": "1"}, "chi"), "'echo' cannot stand"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
