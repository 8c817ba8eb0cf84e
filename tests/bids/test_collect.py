import json
import shutil

import pytest
from bids_trees import (
    SIDECAR,
    add_megre,
    add_single_echo,
    magnitude,
    make_dataset,
    wrapped_phase,
    write_image,
    write_sidecar,
)

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.run import GreRun, doubts
from qsm_pipeline.exceptions import BIDSInputError, ConfigError


@pytest.fixture
def root(tmp_path):
    return make_dataset(tmp_path / "raw")


def collect(root, **options):
    return collect_runs(index(root), **options)


def only_reason(root, **options):
    found = collect(root, **options)
    assert found.runs == ()
    (skipped,) = found.skipped
    return skipped.reason


def edit(path, **changes):
    """Change keys of a sidecar; None removes one."""
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    data = json.loads(sidecar.read_text()) | changes
    write_sidecar(path, {k: v for k, v in data.items() if v is not None})


def test_nothing_is_paired_across_entities(root):
    for ses in ("a", "b"):
        for between in ("acq-q_run-1", "acq-q_run-2", "acq-q_rec-x_run-1", "run-1"):
            add_megre(root, ses=ses, between=between)
    add_megre(root, sub="02")
    found = collect(root)
    assert len(found.runs) == 9
    assert found.skipped == ()
    for run in found.runs:
        assert run.echo_times_s == (0.004, 0.008, 0.012)
        for part, label in (("phase", "phase"), ("magnitude", "mag")):
            names = [path.rsplit("/", 1)[1] for path in getattr(run, part)]
            assert names == [f"{run.prefix}_echo-{e}_part-{label}_MEGRE.nii.gz" for e in (1, 2, 3)]


def test_run_survives_json(root):
    add_megre(root, ses="a")
    (run,) = collect(root).runs
    assert GreRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert (run.subject, run.session, run.b0_tesla) == ("01", "a", 3)
    assert run.sources[0] == "sub-01/ses-a/anat/sub-01_ses-a_echo-1_part-phase_MEGRE.nii.gz"
    with pytest.raises(ValueError, match="Unknown key 'x' of a run"):
        GreRun.from_dict({"x": 1})


def test_real_and_imaginary(root):
    add_megre(root, parts=("real", "imag"))
    (run,) = collect(root).runs
    assert len(run.real) == len(run.imag) == len(run.metadata) == 3
    assert run.phase == run.magnitude == ()


def test_phase_is_preferred_to_real_and_imaginary(root):
    add_megre(root, parts=("mag", "phase", "real", "imag"))
    (run,) = collect(root).runs
    assert run.real == ()
    assert "real and imaginary parts left" in run.inferred["parts"]


def test_single_echo(root):
    add_single_echo(root)
    (run,) = collect(root).runs
    assert (run.suffix, run.echo_times_s, len(run.magnitude)) == ("T2starw", (0.02,), 1)


def test_single_echo_without_part_is_magnitude(root):
    paths = add_single_echo(root)
    for end in (".nii.gz", ".json"):
        old = paths["mag"].with_name(paths["mag"].name.replace(".nii.gz", end))
        old.rename(old.with_name(old.name.replace("_part-mag", "")))
    (run,) = collect(root).runs
    assert run.magnitude[0].endswith("sub-01_T2starw.nii.gz")
    assert "has no part entity" in run.inferred["magnitude"]


def test_echo_times_in_a_list_for_a_4d_file(root):
    for part in ("mag", "phase"):
        path = root / f"sub-01/anat/sub-01_part-{part}_T2starw.nii.gz"
        write_image(path, magnitude() if part == "mag" else wrapped_phase())
        write_sidecar(path, {"EchoTime": [0.004, 0.008], "Units": "rad", **SIDECAR})
    (run,) = collect(root).runs
    assert run.echo_times_s == (0.004, 0.008)
    assert "holds 2 echoes" in run.inferred["echo_times"]


def test_echoes_are_sorted_by_time(root):
    add_megre(root, echo_times_s=(0.012, 0.004, 0.008))
    (run,) = collect(root).runs
    assert run.echo_times_s == (0.004, 0.008, 0.012)
    assert [path.split("echo-")[1][0] for path in run.phase] == ["2", "3", "1"]
    assert [path.split("echo-")[1][0] for path in run.magnitude] == ["2", "3", "1"]
    assert "sorted by time" in run.inferred["echo_order"]


def test_echo_missing_in_every_part_is_noted(root):
    paths = add_megre(root)
    for part in ("mag", "phase"):
        paths[part, 2].unlink()
    (run,) = collect(root).runs
    assert run.echo_times_s == (0.004, 0.012)
    assert run.inferred["missing_echoes"] == "Echo 2 is not there in any part"


def test_phase_difference_counts_as_one_echo(root):
    paths = add_single_echo(root)
    edit(paths["phase"], EchoTime=0.0125, EchoTime1=0.01, EchoTime2=0.0125)
    (run,) = collect(root).runs
    assert run.echo_times_s == pytest.approx((0.0025,))
    assert "taken as one echo of 0.0025 s" in run.inferred["phase_difference"]
    assert "If it is the phase of the echo at 0.0125 s" in run.inferred["phase_difference"]
    assert doubts(run.inferred) == [run.inferred["phase_difference"]]
    assert run.from_difference


def test_an_echo_time_of_its_own_wins_over_those_of_a_difference(root):
    paths = add_megre(root, echo_times_s=(0.005, 0.01, 0.015, 0.02))
    for echo in range(1, 5):
        edit(paths["phase", echo], EchoTime1=0.005, EchoTime2=0.01)
    (run,) = collect(root).runs
    assert run.echo_times_s == (0.005, 0.01, 0.015, 0.02)
    assert not run.from_difference
    for part in ("mag", "phase"):
        for echo in (1, 2, 4):
            paths[part, echo].unlink()
    (run,) = collect(root).runs
    assert run.echo_times_s == (0.015,)


def test_magnitude_and_phase_are_paired_by_echo_time(root):
    paths = add_megre(root)
    for echo, time in ((1, 0.012), (2, 0.004), (3, 0.008)):
        edit(paths["mag", echo], EchoTime=time)
    (run,) = collect(root).runs
    assert run.magnitude == tuple(str(paths["mag", echo]) for echo in (2, 3, 1))
    assert "paired by EchoTime" in run.inferred["magnitude_echoes"]
    edit(paths["mag", 2], EchoTime=0.02)
    assert "MEGRE.nii.gz is 0.012 s, but 0.004 s in sub-01_echo-1_part-phase" in only_reason(root)


def test_filtered_phase_is_said(root):
    paths = add_megre(root)
    edit(paths["phase", 1], SeriesDescription="SWI_Pha_HP_filtered")
    (run,) = collect(root).runs
    assert "SWI_Pha_HP_filtered" in run.inferred["filtered_phase"]


def test_magnitude_alone_beside_a_run_that_is_mapped_is_left_out(root):
    add_megre(root)
    paths = add_single_echo(root)
    paths["phase"].unlink()
    found = collect(root)
    assert [run.suffix for run in found.runs] == ["MEGRE"]
    assert found.skipped == ()
    assert [each.what for each in found.left_out] == ["sub-01_T2starw"]
    paths = add_single_echo(root, sub="02")
    paths["phase"].unlink()
    (skipped,) = collect(root).skipped
    assert skipped.what == "sub-02_T2starw"


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ("anat/sub-01_part-phase_T1w", "sub-01/anat/sub-01_part-phase_T2starw.nii.gz"),
        ("anat/sub-01_echo-4.00_part-phase_MEGRE", "echo-1, echo-2, ..."),
        (
            "swi/sub-01_acq-q_echo-2_part-phase_GRE",
            "sub-01/anat/sub-01_acq-q_echo-2_part-phase_MEG",
        ),
        ("anat/sub-01_gre_e2_ph", "sub-01/anat/sub-01_echo-2_part-phase_MEGRE.nii.gz"),
        ("anat/sub-01_inv-1_part-phase_MP2RAGE", "MP2RAGE is no gradient echo"),
    ],
)
def test_names_that_are_nearly_right_are_told_with_the_right_one(root, there, told):
    write_image(root / f"sub-01/{there}.nii.gz", magnitude())
    reason = only_reason(root)
    assert told in reason
    assert there.rsplit("/", 1)[1] in reason


def test_phase_difference_takes_the_magnitude_of_its_echo(root):
    paths = add_megre(root, echo_times_s=(0.01, 0.0125))
    paths["phase", 1].unlink()
    edit(paths["phase", 2], EchoTime1=0.01, EchoTime2=0.0125)
    (run,) = collect(root).runs
    assert run.magnitude == (str(paths["mag", 2]),)
    assert run.echo_times_s == pytest.approx((0.0025,))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p["phase", 2].unlink(), "Echo 2 has a magnitude image but no phase image"),
        (lambda p: p["mag", 3].unlink(), "Echo 3 has a phase image but no magnitude image"),
        (lambda p: edit(p["phase", 2], EchoTime=None), "echo-2_part-phase.*EchoTime is missing"),
        (lambda p: edit(p["phase", 2], EchoTime=8), "echo-2.*it looks like milliseconds"),
        (lambda p: edit(p["phase", 2], EchoTime=8000), "microseconds, so write 0.008 instead"),
        (lambda p: edit(p["phase", 2], EchoTime=0.004), "differ and to increase"),
        (
            lambda p: edit(p["phase", 1], MagneticFieldStrength=None),
            "MagneticFieldStrength is mis",
        ),
        (lambda p: edit(p["phase", 3], MagneticFieldStrength=7), "7 T, but 3 T in"),
        (lambda p: edit(p["phase", 1], Units="Hz"), "Units is Hz, so this is a field map"),
        (lambda p: edit(p["phase", 1], ImageType=["FIELDMAPHZ"]), "this is a field map made by"),
        (
            lambda p: edit(p["phase", 1], EchoTime=None, EchoTime1=0.001, EchoTime2=0.003),
            "cannot stand among",
        ),
        (lambda p: write_sidecar(p["phase", 3], "{"), "echo-3_part-phase.*not valid JSON"),
        (lambda p: write_sidecar(p["phase", 3], "[]"), "holds a JSON list"),
        (
            lambda p: shutil.copy(p["phase", 1], str(p["phase", 1]).replace("echo-1", "echo-01")),
            "are the same echo of the same part; remove one",
        ),
        (
            lambda p: p["phase", 1].rename(str(p["phase", 1]).replace("part-phase", "part-x")),
            "part-x is not known, expected mag, phase, real or imag",
        ),
    ],
)
def test_reasons_for_skipping_a_run(root, spoil, message):
    spoil(add_megre(root))
    add_megre(root, sub="02")  # one bad run does not stop the others
    found = collect(root)
    assert [run.prefix for run in found.runs] == ["sub-02"]
    (skipped,) = found.skipped
    assert (skipped.what, skipped.subject) == ("sub-01_MEGRE", "01")
    with pytest.raises(AssertionError, match=f"(?s).*{message}"):
        raise AssertionError(skipped.reason)


def test_parts_that_do_not_suffice(root):
    add_megre(root, parts=("phase",))
    assert "phase but no magnitude" in only_reason(root)
    shutil.rmtree(root / "sub-01")
    add_megre(root, parts=("mag",))
    assert "There is no phase" in only_reason(root)
    shutil.rmtree(root / "sub-01")
    add_megre(root, parts=("mag", "real"))
    assert "part-real images but no part-imag" in only_reason(root)


def test_phase_alone_suffices_with_a_mask(root):
    add_megre(root, parts=("phase",))
    write_image(root / "masks/sub-01.nii.gz", magnitude() > 0)
    (run,) = collect(root, mask_pattern="masks/{prefix}.nii.gz").runs
    assert run.mask == str(root / "masks/sub-01.nii.gz")
    assert run.magnitude == ()


def test_an_entity_that_is_none_of_gradient_echoes_is_refused(root):
    add_megre(root, sub="02", between="inv-1")
    (skipped,) = collect(root).skipped
    assert "BIDS has no entity 'inv'" in skipped.reason
    assert "rec-coil01" in skipped.reason


def test_runs_whose_outputs_would_clash(root):
    add_megre(root)
    add_single_echo(root)
    found = collect(root)
    assert [run.suffix for run in found.runs] == ["MEGRE"]
    assert "same names as those of sub-01_MEGRE" in found.skipped[0].reason
    assert collect(root, bids_filters={"megre": {"acq": "none"}}).runs[0].suffix == "T2starw"


def test_field_map_names_that_would_clash(root):
    add_megre(root, between="acq-aRecB")
    add_megre(root, between="acq-a_rec-b")
    found = collect(root)
    assert (len(found.runs), len(found.skipped)) == (1, 1)


def test_subject_with_nothing_is_named(root):
    add_megre(root)
    write_image(root / "sub-02/anat/sub-02_T1w.nii.gz", magnitude())
    (skipped,) = collect(root).skipped
    assert skipped.what == "sub-02"
    assert "No gradient-echo image (MEGRE or T2starw)" in skipped.reason


def test_misplaced_file(root):
    paths = add_megre(root)
    paths["mag", 1].rename(paths["mag", 1].with_name("sub-02_echo-1_part-mag_MEGRE.nii.gz"))
    found = collect(root)
    assert "The name says sub-02, the folder sub-01" in found.skipped[0].reason


def test_labels(root):
    for sub in ("01", "02"):
        for ses in ("a", "b"):
            add_megre(root, sub=sub, ses=ses)
    found = collect(root, participant_labels=["sub-01", "02"], session_labels=["ses-b"])
    assert [run.prefix for run in found.runs] == ["sub-01_ses-b", "sub-02_ses-b"]
    with pytest.raises(BIDSInputError, match=r"sub-3 is not in .*it has: 01, 02"):
        collect(root, participant_labels=["3"])
    with pytest.raises(BIDSInputError, match=r"ses-c is not in .*it has: a, b"):
        collect(root, session_labels=["c"])


def test_filters(root):
    add_megre(root, between="acq-q_run-01")
    add_megre(root, between="acq-q_run-02")
    add_megre(root, between="run-01")

    def prefixes(query):
        return [run.prefix for run in collect(root, bids_filters=query).runs]

    assert prefixes({"gre": {"run": 1}}) == ["sub-01_acq-q_run-01", "sub-01_run-01"]
    assert prefixes({"MEGRE": {"acquisition": "q", "run": [2, "3"]}}) == ["sub-01_acq-q_run-02"]
    assert prefixes({"gre": {"acquisition": None}}) == ["sub-01_run-01"]
    assert len(prefixes({"t2starw": {"run": 7}})) == 3
    reason = only_reason(root, bids_filters={"gre": {"run": 7}})
    assert "with the filters given" in reason
    for bad, message in (
        ({"bolt": {}}, "expected one of gre, megre, t2starw"),
        ({"gre": []}, "with an object of entities"),
        ({"gre": {"colour": 1}}, "unknown entity 'colour'"),
        ({"gre": {"run": {}}}, "expected a label, a list of labels, or null"),
    ):
        with pytest.raises(ConfigError, match=message):
            prefixes(bad)


def test_what_nobody_asked_for_is_listed_with_its_option(root):
    for sub in ("01", "02"):
        add_megre(root, sub=sub, ses="a", between="acq-q")
    add_megre(root, sub="01", ses="a", between="acq-r")
    add_megre(root, sub="01", ses="b", between="acq-q")
    found = collect(
        root,
        participant_labels=["01"],
        session_labels=["a"],
        bids_filters={"gre": {"acquisition": "q", "echo": [1, 2]}},
    )
    assert [run.prefix for run in found.runs] == ["sub-01_ses-a_acq-q"]
    assert len(found.runs[0].echo_times_s) == 2
    assert found.skipped == ()
    listed = [f"{item.what}: {item.reason}" for item in found.left_out]
    assert listed == [
        "sub-02: not named by --participant-label",
        "sub-01_ses-b_acq-q_MEGRE: not in a session named by --session-label",
        "sub-01_ses-a_acq-q_MEGRE: 2 file(s): the BIDS filter wants echo 1 or 2, not 3",
        "sub-01_ses-a_acq-r_MEGRE: 6 file(s): the BIDS filter wants acq q, not r",
    ]
    assert collect(root).left_out == ()


def test_bipolar_hint_is_passed_on(root):
    add_megre(root, sidecar={**SIDECAR, "ProtocolName": "gre_bipolar"})
    assert collect(root).runs[0].readout == "bipolar"
