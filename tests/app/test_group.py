"""The level group: tables, outliers, who is missing, and its cost."""

import csv
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bids_trees import add_megre
from click.testing import CliRunner
from simulated_cohort import NUCLEI, make_cohort, write_record, write_run

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.cli.main import main
from qsm_pipeline.io.locks import NameLocks


def _group(raw, out, *more):
    return CliRunner().invoke(main, [str(raw), str(out), "group", *more])


def _table(out, name):
    with open(out / f"group_{name}.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a cohort of eighteen with one of each kind of trouble, and what the command said."""
    raw, out, _ = make_cohort(tmp_path_factory.mktemp("cohort"), 18)
    numbers = itertools.count(7)
    write_run(out, {"sub": "0003"}, numbers, metrics={"rim_ratio": 2.5})
    write_run(out, {"sub": "0004"}, numbers, shift_ppm=0.1)
    write_run(out, {"sub": "0005"}, numbers, metrics={"snr_echo_10": None})
    shutil.rmtree(out / "sub-0006")
    write_record(out, "0006", {"sub-0006": ["sub-0006: the mask is <empty>"]})
    shutil.rmtree(out / "sub-0007")
    write_record(out, "0007", left_out=[("sub-0007_MEGRE", "EchoTime is missing")])
    shutil.rmtree(out / "sub-0008")
    (out / "logs" / "sub-0008.json").unlink()
    (out / "sub-0009/anat/sub-0009_desc-qc_Chimap.json").write_text("{broken")
    (raw / "sub-0010").rmdir()
    shutil.rmtree(out / "sub-0010")
    (raw / "sub-0099").mkdir()  # not in participants.tsv, but processed
    write_run(out, {"sub": "0099"}, numbers, regions=False)
    write_record(out, "0099", {"sub-0099": []})
    return raw, out, _group(raw, out)


def test_quality_has_a_row_for_each_run_with_its_participant(finished):
    _, out, result = finished
    assert result.exit_code == 1, result.output
    rows = _table(out, "quality")
    assert [row["participant_id"] for row in rows] == [
        f"sub-{n:04d}" for n in (1, 2, 3, 4, 5, 9, 11, 12, 13, 14, 15, 16, 17, 18, 99)
    ]
    with open(finished[0] / "participants.tsv") as file:
        people = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    for row in rows:
        known = people.get(row["participant_id"], {"age": "n/a", "sex": "n/a"})
        assert (row["participants_age"], row["participants_sex"]) == (known["age"], known["sex"])
    metrics = json.loads((out / "sub-0001/anat/sub-0001_desc-qc_Chimap.json").read_text())
    for name, metric in metrics["Metrics"].items():
        assert float(rows[0][name]) == pytest.approx(metric["Value"], rel=1e-5)
    header = list(rows[0])
    assert header.index("snr_echo_2") < header.index("snr_echo_10")
    assert rows[4]["snr_echo_10"] == "n/a"


def test_only_who_stands_apart_is_an_outlier(finished):
    rows = _table(finished[1], "quality")
    assert {r["participant_id"]: r["outliers"] for r in rows if r["outliers"] != "n/a"} == {
        "sub-0003": "rim_ratio"
    }
    assert {r["participant_id"]: r["warnings"] for r in rows if r["warnings"] != "n/a"} == {
        "sub-0003": "rim_ratio is 2.5, expected at most 2"
    }
    verdicts = {r["participant_id"]: (r["verdict"], r["reason"]) for r in rows}
    assert verdicts.pop("sub-0003") == ("look", "the map has a rim")
    assert set(verdicts.values()) - {("n/a", "n/a")} == {("good", "n/a")}
    regions = _table(finished[1], "regions")
    flagged = {r["participant_id"] for r in regions if "mean_ppm" in r["outliers"]}
    assert flagged == {"sub-0004"}


def test_regions_keep_the_sides_and_the_numbers_apart(finished):
    _, out, _ = finished
    rows = _table(out, "regions")
    assert len(rows) == 14 * len(NUCLEI)
    one = {r["index"]: r for r in rows if r["participant_id"] == "sub-0002"}
    with open(out / "sub-0002/anat/sub-0002_seg-aseg_desc-chi_dseg.tsv") as file:
        for source in csv.DictReader(file, delimiter="\t"):
            merged = one[source["index"]]
            assert {key: merged[key] for key in source} == source
    assert one["11"]["hemisphere"] == "left"
    assert one["50"]["hemisphere"] == "right"
    described = json.loads((out / "group_regions.json").read_text())
    assert described["mean_ppm"]["Units"] == "ppm"
    assert set(one["11"]) <= set(described)


def test_says_who_is_missing_and_why(finished):
    _, out, result = finished
    reasons = {row["participant_id"]: row["reason"] for row in _table(out, "missing")}
    assert set(reasons) == {f"sub-{n:04d}" for n in (6, 7, 8, 9, 10)}
    assert reasons["sub-0006"] == "in mask: sub-0006: the mask is <empty>"
    assert reasons["sub-0007"] == "sub-0007_MEGRE: EchoTime is missing"
    assert "no output and no record" in reasons["sub-0008"]
    assert "desc-qc_Chimap.json is not valid JSON" in reasons["sub-0009"]
    assert reasons["sub-0010"] == "is in participants.tsv, has no folder"
    for label, reason in reasons.items():
        assert f"missing {label}: {reason}" in result.output
    assert "exit status 1: something is missing of 5 participant(s)" in result.output


def test_a_failure_after_an_earlier_success_is_told(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 2)
    write_record(out, labels[0], {f"sub-{labels[0]}": ["the disk is full"]})
    assert _group(raw, out).exit_code == 1
    (row,) = _table(out, "missing")
    assert row["run"] == f"sub-{labels[0]}"
    assert row["reason"] == "in mask: the disk is full; its map is that of an earlier run"


def test_a_whole_cohort_with_sessions_is_no_failure_and_small_groups_have_no_outliers(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 3, session="a")
    write_run(
        out,
        {"sub": labels[0], "ses": "a", "run": "2"},
        itertools.count(7),
        metrics={"rim_ratio": 90.0},
    )
    result = _group(raw, out)
    assert result.exit_code == 0, result.output
    rows = _table(out, "quality")
    assert [row["session_id"] for row in rows] == ["ses-a"] * 4
    assert {row["outliers"] for row in rows} == {"n/a"}
    assert _table(out, "missing") == []


def test_runs_are_compared_with_their_own_acquisition(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 12)
    numbers = itertools.count(7)
    for label in labels:
        write_run(out, {"sub": label, "acq": "fast"}, numbers, metrics={"snr_echo_1": 12.0})
    assert _group(raw, out).exit_code == 0
    flagged = {row["run"]: row["outliers"] for row in _table(out, "quality")}
    assert not any("snr_echo_1" in text for text in flagged.values())


def test_participants_may_be_chosen(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 4)
    result = _group(raw, out, "--participant-label", labels[0], f"sub-{labels[2]}")
    assert result.exit_code == 0, result.output
    assert [r["run"] for r in _table(out, "quality")] == [f"sub-{labels[0]}", f"sub-{labels[2]}"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw, out: shutil.rmtree(out), "does not exist; start the participant level"),
        (lambda raw, out: [shutil.rmtree(p) for p in out.glob("sub-*")], "no susceptibility map"),
        (
            lambda raw, out: (raw / "participants.tsv").write_text("id\tage\nsub-0001\t3\n"),
            "participants.tsv has no column 'participant_id'; it has id, age",
        ),
        (
            lambda raw, out: (raw / "participants.tsv").write_text(
                "participant_id\nsub-0001\n0001\n"
            ),
            "sub-0001 twice",
        ),
        (
            lambda raw, out: (raw / "participants.tsv").write_text(
                "participant_id\tage\nsub-0001\n"
            ),
            "participants.tsv: line 2 has 1 cells, expected 2",
        ),
    ],
)
def test_what_cannot_be_merged_ends_in_a_sentence(tmp_path, change, words):
    raw, out, _ = make_cohort(tmp_path, 2)
    change(raw, out)
    result = _group(raw, out)
    assert result.exit_code == (65 if ".tsv" in words or "sub-0001" in words else 66)
    assert words in result.output
    assert "Traceback" not in result.output


def test_outputs_are_valid_bids(finished):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    ignored = (finished[1] / ".bidsignore").read_text().splitlines()
    assert {"group_*", "*.html", "*_desc-qc_Chimap.json"} <= set(ignored)


_MEASURE = """
import sys, time
from pathlib import Path
from qsm_pipeline.app.group import run_group

def peak_mib():  # of this process alone: ru_maxrss begins with what its parent held
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10

before = peak_mib()
start = time.process_time()
run_group(bids_dir=Path(sys.argv[1]), out_dir=Path(sys.argv[2]), echo=lambda line: None)
print(time.process_time() - start, before, peak_mib())
"""


def _cost(folder, n):
    """Return CPU seconds and MiB beyond the imports of a process that merges n participants."""
    raw, out, _ = make_cohort(folder, n)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(raw), str(out)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert len(_table(out, "quality")) == n
    assert len(_table(out, "regions")) == n * len(NUCLEI)
    cpu_s, before_mib, peak_mib = map(float, done.stdout.split())
    return cpu_s, peak_mib - before_mib


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory in /proc")
@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_cost_of_a_cohort_grows_no_faster_than_the_cohort(tmp_path, n):
    """Seconds and GiB are measured by benchmarks/group.py."""
    few_s, few_mib = _cost(tmp_path / "few", n // 4)
    many_s, many_mib = _cost(tmp_path / "many", n)
    assert many_s < 1.5 * 4 * few_s
    assert many_mib < 1.5 * 4 * max(few_mib, 4)


def test_what_the_raw_data_set_has_is_counted(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 3, session="a")
    for label in labels[:2]:
        add_megre(raw, sub=label, ses="a")
    add_megre(raw, sub=labels[0], ses="b")  # never processed
    (raw / f"sub-{labels[0]}/sub-{labels[0]}_sessions.tsv").write_text(
        "session_id\tscanner\nses-a\tnew\n"
    )
    locks = NameLocks(out / "logs/locks.txt")
    shutil.rmtree(out / f"sub-{labels[1]}")
    locks.acquire(labels[1], 0)
    result = _group(raw, out)
    locks.close()
    assert result.exit_code == 1
    missing = {
        (row["participant_id"], row["run"]): row["reason"] for row in _table(out, "missing")
    }
    assert missing.pop((f"sub-{labels[0]}", f"sub-{labels[0]}_ses-b")).startswith("was never")
    assert missing.pop((f"sub-{labels[1]}", "n/a")).startswith("in progress: processed by process")
    assert not missing
    rows = {row["run"]: row for row in _table(out, "quality")}
    assert {run: row["in_raw"] for run, row in rows.items()} == {
        f"sub-{labels[0]}_ses-a": "yes",
        f"sub-{labels[2]}_ses-a": "no",
    }
    assert rows[f"sub-{labels[0]}_ses-a"]["sessions_scanner"] == "new"
    assert f"1 run(s) are no longer in the raw data set: sub-{labels[2]}_ses-a" in result.output


def test_sessions_and_filters_apply(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 2, session="a")
    numbers = itertools.count(7)
    for label in labels:
        add_megre(raw, sub=label, ses="a")
        add_megre(raw, sub=label, ses="b", between="acq-q")
        write_run(out, {"sub": label, "ses": "b", "acq": "q"}, numbers)
    assert _group(raw, out, "--session-label", "ses-b").exit_code == 0
    assert {row["session_id"] for row in _table(out, "quality")} == {"ses-b"}
    (tmp_path / "filter.json").write_text('{"gre": {"acquisition": null}}')
    assert _group(raw, out, "--bids-filter-file", str(tmp_path / "filter.json")).exit_code == 0
    assert {row["session_id"] for row in _table(out, "quality")} == {"ses-a"}


def test_maps_of_other_methods_are_not_compared(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 14)
    for n, label in enumerate(labels):
        write_json(
            out / f"sub-{label}/anat/sub-{label}_Chimap.json",
            {
                "Software": {"qsm-pipeline": "1.0"},
                "Parameters": {"Inversion": "tv" if n else "tkd"},
            },
        )
    write_run(out, {"sub": labels[0]}, itertools.count(7), metrics={"snr_echo_1": 9.0})
    assert _group(raw, out).exit_code == 0
    rows = _table(out, "quality")
    assert [row["methods"] for row in rows] == ["tkd"] + ["tv"] * 13
    assert {row["version"] for row in rows} == {"1.0"}
    assert rows[0]["outliers"] == "n/a"


def test_a_damaged_map_is_missing(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 2)
    (out / f"sub-{labels[0]}/anat/sub-{labels[0]}_Chimap.nii.gz").write_bytes(b"")
    assert _group(raw, out).exit_code == 1
    assert "its map is damaged" in next(iter(_table(out, "missing")))["reason"]
    assert [row["participant_id"] for row in _table(out, "quality")] == [f"sub-{labels[1]}"]


def test_damaged_notes_beside_a_map_are_told_and_odd_numbers_cost_nobody_anything(tmp_path):
    raw, out, labels = make_cohort(tmp_path, 5, session="a")
    anat = out / "sub-{0}/ses-a/anat/sub-{0}_ses-a"
    quality = Path(str(anat).format(labels[0]) + "_desc-qc_Chimap.json")
    data = json.loads(quality.read_text())
    odd = {"Value": [1], "Minimum": "x", "Maximum": {}, "Warning": 7, "Units": [], "Reference": 1}
    data["Metrics"] |= {"odd": odd, "rim_ratio": odd, 'a"b': {"Value": True}}
    quality.write_text(json.dumps(data))
    large = Path(str(anat).format(labels[1]) + "_desc-qc_Chimap.json")
    large.write_text('{"Metrics": {"rim_ratio": {"Value": ' + "9" * 350 + "}}}")
    Path(str(anat).format(labels[2]) + "_Chimap.json").write_text("[")
    (out / f"logs/sub-{labels[3]}.json").write_text("[")
    table = raw / f"sub-{labels[4]}/sub-{labels[4]}_sessions.tsv"
    table.write_text("session_id\tx\nses-a\t1\na\t2\n")
    result = _group(raw, out)
    assert result.exit_code == 1, result.output
    told = {row["participant_id"]: row["reason"] for row in _table(out, "missing")}
    assert set(told) == {f"sub-{label}" for label in labels[1:4]}
    assert "not finite" in told[f"sub-{labels[1]}"]
    assert "how its map was made is not known" in told[f"sub-{labels[2]}"]
    assert "whether its last run failed is not known" in told[f"sub-{labels[3]}"]
    assert f"note on sub-{labels[4]}" in result.output
    assert "has ses-a twice" in result.output
    assert len(_table(out, "quality")) == 5
    page = (out / "group.html").read_text()
    plots = json.loads(re.search('id="data">(.*?)</script>', page)[1])["quality"]
    assert {type(plot[key]) for plot in plots for key in ("minimum", "maximum")} <= {
        type(None),
        float,
        int,
    }
