"""The record of a participant, from one command to the next."""

from report_tree import make_run

from qsm_pipeline.app.record import (
    Problem,
    RunState,
    merge_record,
    record_path,
    write_record,
)
from qsm_pipeline.app.units import Unit, units_of
from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.records import Records
from qsm_pipeline.bids.run import Collection, Skipped


def _run(folder, session):
    run = make_run(folder)
    return type(run).from_dict({**run.to_dict(), "entities": {"sub": "01", "ses": session}})


def _update(out, states, left_out=()):
    record = merge_record(Records(out), "01", states, left_out)
    write_json(record_path(out, "01"), record)
    return record


def test_runs_that_were_not_looked_at_stay(tmp_path):
    first, second = _run(tmp_path, "a"), _run(tmp_path, "b")
    _update(tmp_path, [RunState(first, [], {"read": 1.234}, True)])
    failed = Problem("is cut off", "read", "/logs/crash.txt")
    left_out = [Skipped("sub-01_ses-c", "No phase", "01")]
    record = _update(tmp_path, [RunState(second, [failed], {}, True)], left_out)
    assert (tmp_path / "logs/sub-01.json").is_file()
    assert list(record["runs"]) == ["sub-01_ses-a", "sub-01_ses-b"]
    assert record["runs"]["sub-01_ses-a"]["node_seconds"] == {"read": 1.23}
    assert record["runs"]["sub-01_ses-b"]["problems"][0]["message"] == "is cut off"
    assert record["left_out"] == [{"what": "sub-01_ses-c", "reason": "No phase"}]


def test_what_is_only_shown_again_keeps_its_past(tmp_path):
    run = _run(tmp_path, "a")
    _update(tmp_path, [RunState(run, [Problem("is cut off", "read")], {}, True)])
    missing = RunState(run, [Problem("has no map")], {}, False)
    for _ in range(2):
        record = _update(tmp_path, [missing])
        problems = [p["message"] for p in record["runs"]["sub-01_ses-a"]["problems"]]
        assert problems == ["is cut off", "has no map"]
    record = _update(tmp_path, [RunState(run, [], {"write": 2.0}, True)])
    assert record["runs"]["sub-01_ses-a"]["problems"] == []


def test_a_broken_record_is_replaced(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/sub-01.json").write_text("[")
    run = _run(tmp_path, "a")
    record = _update(tmp_path, [RunState(run, [], {}, True)])
    assert list(record["runs"]) == ["sub-01_ses-a"]


def test_sessions_have_records_of_their_own_until_the_whole_participant_is_mapped(tmp_path):
    first, second = _run(tmp_path, "a"), _run(tmp_path, "b")
    old = [RunState(run, [Problem("is old")], {}, True) for run in (first, second)]
    left_out = [Skipped("sub-01_ses-a_run-1_MEGRE", "No phase", "01")]
    _update(tmp_path, old, left_out)
    for run in (first, second):
        label = f"01_ses-{run.session}"
        record = merge_record(Records(tmp_path), label, [RunState(run, [], {}, True)], [])
        assert list(record["runs"]) == [run.prefix]
        write_record(tmp_path, Records(tmp_path), Unit.of(label), record)
        (tmp_path / f"sub-{label}.html").touch()
    found = Records(tmp_path).read("01")
    assert [run["problems"] for run in found["runs"].values()] == [[], []]
    assert found["left_out"] == []  # what was left out of a session is as its own job says
    assert Records(tmp_path).participants() == ["01"]
    write_record(
        tmp_path, Records(tmp_path), Unit("01"), merge_record(Records(tmp_path), "01", [], [])
    )
    assert [path.name for path in tmp_path.glob("logs/*")] == ["sub-01.json"]
    assert not list(tmp_path.glob("*.html"))
    assert list(Records(tmp_path).read("01")["runs"]) == [first.prefix, second.prefix]


def test_units_are_participants_or_the_sessions_asked_for(tmp_path):
    runs = (_run(tmp_path, "a"), _run(tmp_path, "b"))
    skipped = (Skipped("sub-02_ses-b_MEGRE", "", "02"), Skipped("sub-03", "", "03"))
    found = Collection(runs, (*skipped, Skipped("sub-x y", "", "x y")))
    assert [unit.label for unit in units_of(found, ())] == ["01", "02", "03"]
    labels = [unit.label for unit in units_of(found, ("ses-a", "b"))]
    assert labels == ["01_ses-a", "01_ses-b", "02_ses-b", "03_ses-a", "03_ses-b"]
