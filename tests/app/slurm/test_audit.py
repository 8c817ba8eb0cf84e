"""What the audit makes of the files of an array, each state written by hand."""

import os

import pytest
from click.testing import CliRunner

from qsm_pipeline.app.slurm.audit import audit
from qsm_pipeline.cli.audit import main


class Array:
    """The files that the script and its tasks leave."""

    def __init__(self, out):
        self.out = out
        self.logs = out / "logs" / "slurm"
        self.logs.mkdir(parents=True)

    def participants(self, *labels):
        (self.logs / "participants.txt").write_text("".join(f"{x}\n" for x in labels))

    def submit(self, job, *labels):
        part = self.logs / f"{job}.list"
        part.write_text("".join(f"{x}\n" for x in labels))
        with (self.logs / "submitted.tsv").open("a") as file:
            file.write(f"{job}\t{part}\n")

    def event(self, label, job, what, value):
        with (self.logs / f"sub-{label}.tsv").open("a") as file:
            file.write(f"2030-01-01T00:00:00\t{job}\t{what}\t{value}\n")

    def log(self, job, text):
        (self.logs / f"{job}.out").write_text(text)

    def states(self, *lines):
        (self.logs / "states.txt").write_text("".join(f"{x}\n" for x in lines))

    def map(self, label):
        path = self.out / f"sub-{label}/ses-a/anat/sub-{label}_ses-a_Chimap.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()

    def verdicts(self):
        return {v.label: (v.state, v.reason) for v in audit(self.out, self.logs)}


@pytest.fixture
def array(tmp_path):
    made = Array(tmp_path / "out")
    made.participants("a", "b", "c")
    made.submit("7", "a", "b", "c")
    return made


def test_done_needs_a_good_end_and_a_map(array):
    for label in "ab":
        array.event(label, f"7_{'abc'.index(label) + 1}", "started", "node1")
        array.event(label, f"7_{'abc'.index(label) + 1}", "ended", "0")
    array.map("a")
    found = array.verdicts()
    assert found["a"] == ("done", "")
    assert found["b"] == ("failed", f"no map is left in {array.out}/sub-b")


def test_failed_says_what_the_command_said(array):
    array.event("b", "7_2", "started", "node1")
    array.event("b", "7_2", "ended", "1")
    array.log(
        "7_2", "note: x\nskipped sub-b_MEGRE: no echo\nFAILED sub-b in read: damaged\ndone\n"
    )
    assert array.verdicts()["b"] == ("failed", "sub-b_MEGRE: no echo; sub-b in read: damaged")


def test_failed_without_a_word(array):
    array.event("b", "7_2", "started", "node1")
    array.event("b", "7_2", "ended", "127")
    state, reason = array.verdicts()["b"]
    assert state == "failed"
    assert reason == f"exit status 127, see {array.logs}/7_2.out"


def test_a_node_that_the_kernel_killed_counts_as_killed(array):
    array.event("b", "7_2", "started", "node1")
    array.event("b", "7_2", "ended", "1")
    array.log("7_2", "FAILED sub-b in mask: the process of node mask was killed (SIGKILL), as\n")
    assert array.verdicts()["b"][0] == "killed"


@pytest.mark.parametrize("status", ["137", "143"])
def test_a_command_that_was_killed_while_its_shell_lived(array, status):
    """As the kernel does where Slurm limits memory by cgroups."""
    array.event("b", "7_2", "started", "node1")
    array.event("b", "7_2", "ended", status)
    assert array.verdicts()["b"] == ("killed", "its job ended on node1 without a word")
    said = (
        "Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been OOM Killed."
    )
    array.log("7_2", f"slurmstepd: error: {said}\n")
    array.states("7_2|OUT_OF_MEMORY")
    assert array.verdicts()["b"] == ("killed", f"Slurm says OUT_OF_MEMORY; {said}")


@pytest.mark.parametrize(
    ("log", "states", "reason"),
    [
        ("slurmstepd: error: Exceeded job memory limit\n", (), "Exceeded job memory limit"),
        (
            "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 1 DUE TO TIME LIMIT ***\n",
            ("7_2|TIMEOUT",),
            "Slurm says TIMEOUT; *** JOB 7 ON n1 CANCELLED AT 1 DUE TO TIME LIMIT ***",
        ),
        ("", ("7_2|NODE_FAIL",), "Slurm says NODE_FAIL; its job ended on node1 without a word"),
    ],
)
def test_killed_says_what_slurm_said(array, log, states, reason):
    array.event("b", "7_2", "started", "node1")
    array.log("7_2", log)
    array.states(*states)
    assert array.verdicts()["b"] == ("killed", reason)


def test_tasks_that_sacct_names_together(array):
    array.participants("a", "b", "c", "d", "e")
    array.submit("8", "a", "b", "c", "d", "e")
    array.states("8_1|RUNNING", "8_[2-3,5%10]|CANCELLED by 0", "8_4|PENDING")
    never = ("never started", "Slurm says CANCELLED")
    assert array.verdicts() == {
        "a": ("running", ""),
        "b": never,
        "c": never,
        "d": ("waiting", ""),
        "e": never,
    }


def test_queue(array):
    array.event("a", "7_1", "started", "node1")
    array.states("7_1|RUNNING", "7_2|PENDING")
    found = array.verdicts()
    assert [found[label][0] for label in "abc"] == ["running", "waiting", "never started"]
    assert found["c"][1] == "it is in no queue"


def test_who_waits_again(array):
    """In the queue, though the accounting remembers how the first attempt ended."""
    array.event("a", "7_1", "started", "node1")
    array.event("b", "7_2", "started", "node1")
    array.states("7_1|NODE_FAIL", "7_1|PENDING", "7_2|REQUEUE_HOLD")
    found = array.verdicts()
    assert [found[label][0] for label in "ab"] == ["waiting", "waiting"]


def test_a_queue_that_does_not_answer(array):
    """Who may still run is not called lost, or a resubmission would do the work twice."""
    array.event("a", "7_1", "started", "node1")
    array.event("b", "7_2", "ended", "1")
    array.states("queue|UNKNOWN")
    found = array.verdicts()
    unknown = ("unknown", "squeue gave no answer, so it may wait or run")
    assert found["a"] == found["c"] == unknown
    assert found["b"][0] == "failed"
    CliRunner().invoke(main, [str(array.out)])
    assert (array.logs / "unfinished.txt").read_text() == "b\n"


def test_an_array_whose_tasks_the_accounting_does_not_know_yet(array):
    array.event("a", "7_1", "started", "node1")
    array.states("7|CANCELLED by 0")
    found = array.verdicts()
    assert found["a"][1].startswith("Slurm says CANCELLED; ")
    assert found["b"] == ("never started", "Slurm says CANCELLED")


def test_cancelled_before_the_start(array):
    array.states("7_3|CANCELLED by 1000")
    assert array.verdicts()["c"] == ("never started", "Slurm says CANCELLED")


def test_the_latest_submission_counts(array):
    array.event("c", "7_3", "started", "node1")
    array.event("c", "7_3", "ended", "1")
    array.submit("9", "c")
    assert array.verdicts()["c"][0] == "never started"
    array.states("9_1|PENDING")
    assert array.verdicts()["c"][0] == "waiting"
    array.states()
    array.event("c", "9_1", "started", "node2")
    array.event("c", "9_1", "ended", "0")
    array.map("c")
    assert array.verdicts()["c"] == ("done", "")


def test_damaged_files_count_as_none(array, tmp_path):
    array.event("a", "7_1", "started", "node1")
    with (array.logs / "sub-a.tsv").open("a") as file:
        file.write("2030-01-01T00:00:00\t7_1")  # the disk was full
    (array.logs / "sub-b.tsv").mkdir()
    os.mkfifo(array.logs / "sub-c.tsv")
    with (array.logs / "submitted.tsv").open("a") as file:
        file.write("9")
    array.states("7_[1-99999999999999]|RUNNING", "|", "x")
    assert {label: state for label, (state, _) in array.verdicts().items()} == {
        "a": "running",
        "b": "running",
        "c": "running",
    }


def test_before_anything_was_submitted(tmp_path):
    array = Array(tmp_path)
    array.participants("a")
    assert array.verdicts() == {"a": ("never started", "it was not submitted")}


def test_command(array):
    array.event("a", "7_1", "ended", "0")
    array.map("a")
    array.states("7_2|PENDING")
    result = CliRunner().invoke(main, [str(array.out)])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "waiting sub-b (7_2)",
        "never started sub-c (7_3): it is in no queue",
        "3 participants: 1 done, 1 waiting, 1 never started",
    ]
    assert (array.logs / "unfinished.txt").read_text() == "c\n"
    assert (array.logs / "audit.tsv").read_text().splitlines()[1] == "sub-a\tdone\t7_1\tn/a"
    array.participants("a")
    result = CliRunner().invoke(main, [str(array.out)])
    assert result.output == "1 participant: 1 done\n"
    assert result.exit_code == 0
