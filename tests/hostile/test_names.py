"""Names of participants, folders and files are shown and used as text, and as nothing else."""

import json
import os

import commands
import pytest
from bids_trees import add_megre, make_dataset
from hostile.corpus import CASES

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.exceptions import BIDSInputError

LONG = "b" * 240  # is a label, as long as it is
LABELS = (
    "a b",
    "it's",
    'say"x"',
    "<script>alert(1)</script>".replace("/", ""),
    "<img src=x onerror=x>",
    "$(touch pwned)",
    "`touch pwned`",
    ";touch pwned",
    "|touch pwned",
    "&",
    "a\nb",
    "a\x1b[31mb",
    "..",
    "-rf",
    "*",
    "?",
    "[a",
    "(a",
    "a\\",
    "{prefix}",
    "%s",
    LONG,
    "é",
    "\N{PILE OF POO}",
    "a_b",
    "a-b",
    "",
    os.fsdecode(b"a\xffb"),
)
MARKUP = ("timeAsMarkup", "labelWithMarkup")
"""Sound names, with markup in a sidecar and in an entity."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    raw = make_dataset(tmp_path_factory.mktemp("names") / "raw")
    add_megre(raw, sub="sound")
    for label in LABELS:
        folder = raw / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        for path in (raw / "sub-sound" / "anat").iterdir():
            name = path.name.replace("sub-sound", f"sub-{label}" if len(label) < 200 else "sub-b")
            os.link(path, folder / name)
    return raw


def test_each_label_is_left_out_in_one_printable_line(raw):
    found = collect_runs(index(raw))
    assert [run.subject for run in found.runs] == ["sound"]
    assert {skipped.subject for skipped in found.skipped} == set(LABELS)
    for skipped in found.skipped:
        line = f"{skipped.what}: {skipped.reason}"
        assert line.isprintable()
        line.encode()  # no half characters
        assert "sub-" in line


@pytest.mark.parametrize("label", ["../raw/sub-sound", "/etc", "..", "sub-..", ".", "", "*", "%"])
def test_labels_that_are_asked_for_must_be_there(tmp_path, label):
    root = make_dataset(tmp_path / "raw")
    add_megre(root)
    with pytest.raises(BIDSInputError, match=r"is not in .*; it has: 01"):
        collect_runs(index(root), participant_labels=[label])


@pytest.mark.command
def test_the_command_under_odd_names(tmp_path, monkeypatch):
    """Folders with blanks, quotes, markup and shell in their names, beside all odd labels."""
    odd = tmp_path / 'it\'s <b>bold<%b> & "$(touch pwned)"; `touch pwned` {x} %s #'
    odd.mkdir()
    raw = commands.make_dataset(odd, (commands.SOUND, *MARKUP))
    for label in MARKUP:
        CASES[label].spoil(raw / f"sub-{label}" / "anat")
    for label in LABELS:
        (raw / f"sub-{label}" / "anat").mkdir(parents=True)
    (tmp_path / "started here").mkdir()
    monkeypatch.chdir(tmp_path / "started here")
    before = {path for path in tmp_path.rglob("*") if odd / "out" not in path.parents}
    result = commands.run(raw, odd / "out", "-w", odd / "work dir")
    assert "Traceback" not in result.output
    assert f"done sub-{commands.SOUND}" in result.lines, result.output
    assert result.exit_code == 1
    assert result.lines[-1].startswith(f"exit status 1: {len(LABELS) + len(MARKUP)} left out")
    assert sum(line.startswith("skipped sub-") for line in result.lines) == len(LABELS) + 2
    after = {path for path in tmp_path.rglob("*") if odd / "out" not in path.parents}
    assert {path for path in after - before if odd / "work dir" not in path.parents} == {
        odd / "out",
        odd / "work dir",
    }
    assert not list(tmp_path.rglob("pwned"))
    pages = sorted((odd / "out").glob("sub-*.html"))
    shown = sorted((commands.SOUND, *MARKUP, LONG))
    assert [page.stem for page in pages] == [f"sub-{label}" for label in shown]
    assert "&lt;script&gt;alert(1)" in (odd / "out/sub-timeAsMarkup.html").read_text()
    for page in pages:
        text = page.read_text()
        assert "<script>alert" not in text
        assert "<b>bold" not in text
    sidecar = odd / f"out/sub-{commands.SOUND}/anat/sub-{commands.SOUND}_Chimap.json"
    assert json.loads(sidecar.read_text())["Units"] == "ppm"
