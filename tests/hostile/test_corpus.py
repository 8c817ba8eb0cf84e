"""Each broken participant ends in one sentence, the odd but sound ones in the right arrays."""

import contextlib
import os
import re
import signal

import commands
import numpy as np
import pytest
from bids_trees import SHAPE, add_megre, make_dataset, wrapped_phase
from hostile.corpus import CASES

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import LoadedRun, load_run
from qsm_pipeline.exceptions import QSMPipelineError

SOUND = "sound"


@contextlib.contextmanager
def at_most(seconds):
    """Fail what hangs."""

    def fail(*_):
        raise AssertionError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _files(folder):
    return {p: (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def _make_corpus(folder, cases=CASES):
    raw = make_dataset(folder / "raw")
    for label in (*cases, SOUND):
        add_megre(raw, sub=label)
    for label, case in cases.items():
        case.spoil(raw / f"sub-{label}" / "anat")
    return raw


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return everybody of one data set: label to the run, or to the sentences about it."""
    folder = tmp_path_factory.mktemp("hostile")
    raw = _make_corpus(folder)
    before = _files(folder)
    with at_most(120):
        collection = collect_runs(index(raw))
    results = {run.subject: run for run in collection.runs}
    for skipped in collection.skipped:
        results.setdefault(skipped.subject, []).append(f"{skipped.what}: {skipped.reason}")
    yield results
    assert _files(folder) == before  # nothing was written, here or beside


def _read(run) -> LoadedRun | list[str]:
    if isinstance(run, list):
        return run
    with at_most(60):
        try:
            return load_run(run)
        except QSMPipelineError as error:
            return [f"{run.prefix}: {error}"]


def _check_sentences(sentences, label, words):
    assert sentences
    for sentence in sentences:
        assert f"sub-{label}" in sentence
        assert re.search(words, sentence), sentence
        assert len(sentence) < 700, sentence
        assert "Traceback" not in sentence


@pytest.mark.parametrize("label", CASES)
def test_case(found, label):
    case = CASES[label]
    result = _read(found[label])
    if case.words:
        assert isinstance(result, list), "it was read"
        _check_sentences(result, label, case.words)
        return
    assert isinstance(result, LoadedRun), result
    assert any(case.note in note for note in result.inferred.values()), result.inferred
    for phase, time in zip(result.phase_rad, result.echo_times_s, strict=True):
        difference = phase - wrapped_phase(echo_time_s=time)
        inside = result.valid_mask
        assert np.abs(np.angle(np.exp(1j * difference)))[inside].max() < 2e-3
    assert result.magnitude.min() >= 0
    assert inside.mean() > 0.5


def test_the_sound_one_is_not_disturbed(found):
    loaded = _read(found[SOUND])
    assert loaded.phase_rad.shape == (3, *SHAPE)


@pytest.mark.command
@pytest.mark.parametrize("refused", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_command_maps_who_can_be_read_and_says_the_same_of_the_others(tmp_path, refused):
    cases = {label: case for label, case in CASES.items() if bool(case.words) is refused}
    cases.pop(
        "echoGap", None
    )  # at 4.5 mm its phase turns too fast between the echoes that are left
    raw, out = _make_corpus(tmp_path, cases), tmp_path / "out"
    before = _files(raw)
    options = ("--background", "pdf", "--mask-refinement", "none")
    result = commands.run(raw, out, *options)
    assert result.exit_code == int(refused)
    assert "Traceback" not in result.output
    assert f"done sub-{SOUND}" in result.lines
    told = [line for line in result.lines if line.startswith(("done ", "skipped ", "FAILED "))]
    for label, case in cases.items():
        about = [line for line in told if re.match(rf"\w+ sub-{label}(?![a-zA-Z0-9])", line)]
        assert about, label
        maps = list(out.glob(f"sub-{label}/anat/*_Chimap.nii.gz"))
        if case.words:
            assert not maps
            assert not any(line.startswith("done ") for line in about), about
            assert any(re.search(case.words, line) for line in about), about
        else:
            assert maps, about
    assert not list(out.glob("sub-*/**/.*.tmp"))
    for page in out.glob("*.html"):
        assert "<script>alert" not in page.read_text()
    assert _files(raw) == before


def test_there_are_enough():
    assert len(CASES) >= 60


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    raw = make_dataset(tmp_path / "raw")
    paths = add_megre(raw)
    paths["phase", 1].chmod(0)
    (run,) = collect_runs(index(raw)).runs
    _check_sentences(_read(run), "01", "cannot be read")
