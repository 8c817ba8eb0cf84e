import multiprocessing
import os
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest
from bids_trees import add_megre, make_dataset
from hostile.damages import DAMAGES

from qsm_pipeline.bids import layout as layout_module
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index, participants
from qsm_pipeline.exceptions import BIDSInputError, OutputError


@pytest.fixture
def root(tmp_path):
    root = make_dataset(tmp_path / "raw")
    for sub in ("01", "02", "011"):
        add_megre(root, sub=sub)
    return root


def _images(found):
    return {path.name.split("_")[0] for path in found.images}


def test_only_the_participants_asked_for_are_visited(root):
    assert participants(root) == ("01", "011", "02")
    assert _images(index(root, ["01"])) == {"sub-01"}
    assert _images(index(root)) == {"sub-01", "sub-02", "sub-011"}


@pytest.mark.parametrize("database", [None, "db"])
def test_links_to_whole_file_systems_are_not_walked_through(root, tmp_path, database):
    """No more than the place of images is looked at behind a link, however much lies there."""
    deep = tmp_path / "elsewhere"
    for number in range(3):
        (deep / f"a/b{number}/c/anat").mkdir(parents=True)
        (deep / f"a/b{number}/c/anat/sub-01_MEGRE.nii.gz").touch()
    shutil.rmtree(root / "sub-02/anat")
    (root / "sub-02/anat").symlink_to(deep)
    (root / "sub-02/ses-x").symlink_to(deep / "a")
    (root / "sub-03").symlink_to(deep)
    (root / "sub-01/anat/loop").symlink_to("..")
    moved = tmp_path / "other disk"
    (root / "sub-011/anat").rename(moved)
    (root / "sub-011/anat").symlink_to(moved)
    found = index(root, None, database and tmp_path / database)
    assert {path.relative_to(root).parts[0] for path in found.images} == {"sub-01", "sub-011"}


@pytest.mark.parametrize("damage", ["pipe", "folder"])
def test_a_database_that_is_no_file_is_told(root, tmp_path, damage):
    path = tmp_path / "db/layout_index.sqlite"
    path.parent.mkdir()
    path.touch()
    DAMAGES[damage](path)
    with pytest.raises(BIDSInputError, match=r"layout_index\.sqlite is no file but"):
        index(root, None, path.parent)


def test_other_folders_are_not_indexed(root):
    add_megre(root / "derivatives" / "x", sub="03")
    add_megre(root / "sourcedata", sub="04")
    assert _images(index(root)) == {"sub-01", "sub-02", "sub-011"}


def test_a_database_lists_what_the_folders_hold(root, tmp_path):
    """pybids and the walk through the folders agree, whatever lies about."""
    anat = root / "sub-01" / "anat"
    for name in (
        "sub-01_acq-a_MEGRE.nii",
        "sub-01_T2starw.nii.gz",
        "sub-01_acq-A_T2starw.nii.gz",
        "sub-02_MEGRE.nii.gz",
        "sub-01_MEGRE.NII.GZ",
        "sub-01_megre.nii.gz",
        ".sub-01_MEGRE.nii",
        "sub-01_MEGRE.json",
        "sub-01_MEGRE.nii.gz.part",
        "sub-01_MEGRE.x.nii.gz",
        "MEGRE.nii.gz",
        "sub-01_notMEGRE.nii.gz",
        "sub-01_acq-MEGRE.nii.gz",
        "sub-01_T1w.nii.gz",
        "sub-01_echo-1_part-phase_x_MEGRE.nii.gz",
    ):
        (anat / name).write_bytes(b"")
    add_megre(root, sub="01", ses="a")
    for folder in ("func", ".hidden", "extra/anat"):
        (root / "sub-01" / folder).mkdir(parents=True)
        (root / "sub-01" / folder / "sub-01_acq-b_MEGRE.nii.gz").write_bytes(b"")
    (root / "sub-01_MEGRE.nii.gz").write_bytes(b"")
    os.mkfifo(anat / "sub-01_acq-pipe_MEGRE.nii.gz")
    (anat / "sub-01_acq-lost_MEGRE.nii.gz").symlink_to("nowhere")
    walked = index(root).images
    listed = index(root, None, tmp_path / "db").images
    assert set(listed) - set(walked) == {root / "sub-01_MEGRE.nii.gz"}  # of no participant
    assert set(walked) <= set(listed)
    names = {path.name for path in walked}
    assert {"sub-01_acq-b_MEGRE.nii.gz", "sub-01_acq-pipe_MEGRE.nii.gz"} <= names
    assert not names & {"sub-01_megre.nii.gz", "sub-01_notMEGRE.nii.gz", ".sub-01_MEGRE.nii"}


def test_links_that_loop_do_not_hang(root):
    for n in range(4):
        (root / "sub-01" / f"ses-loop{n}").symlink_to(root, target_is_directory=True)
        (root / "sub-02" / f"ses-x{n}").symlink_to(root / "sub-011", target_is_directory=True)
        (root / "sub-011" / f"ses-x{n}").symlink_to(root / "sub-02", target_is_directory=True)
    found = collect_runs(index(root))
    assert [run.prefix for run in found.runs] == ["sub-01", "sub-011", "sub-02"]


def test_database_is_used_again(root, tmp_path):
    database = tmp_path / "db"
    first = collect_runs(index(root, ["01"], database))
    add_megre(root, sub="09")
    again = collect_runs(index(root, None, database))
    assert [r.prefix for r in first.runs] == ["sub-01", "sub-011", "sub-02"]
    assert [r.prefix for r in again.runs] == ["sub-01", "sub-011", "sub-02", "sub-09"]
    root.rename(tmp_path / "moved")
    with pytest.raises(BIDSInputError, match=r"is the index of .*raw, expected one of .*moved"):
        index(tmp_path / "moved", None, database)


def test_half_a_database_is_never_used(root, tmp_path):
    """A process that is killed while it indexes leaves nothing under the final name."""
    database = tmp_path / "db"
    process = multiprocessing.get_context("forkserver").Process(
        target=_index_and_die, args=(root, database)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (database / "layout_index.sqlite").exists()
    assert len(collect_runs(index(root, None, database)).runs) == 3
    assert sorted(p.name for p in database.iterdir()) == ["layout_index.sqlite", "locks.txt"]
    (database / "locks.txt").unlink()
    index(root, None, database)  # is there, so nothing is written: it may lie on a read-only disk
    assert [p.name for p in database.iterdir()] == ["layout_index.sqlite"]


def _index_and_die(root, database):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    os.replace = die
    index(root, None, database)


def test_only_one_of_several_processes_indexes(root, tmp_path):
    context = multiprocessing.get_context("forkserver")
    with context.Pool(3) as pool:
        found = pool.starmap(_count_indexed, [(root, tmp_path / "db")] * 3)
    assert [runs for runs, _ in found] == [3, 3, 3]
    assert sum(made for _, made in found) == 1


def _count_indexed(root, database):
    made = []
    before = layout_module.tempfile.mkdtemp
    layout_module.tempfile.mkdtemp = lambda **options: made.append(1) or before(**options)
    runs = len(collect_runs(index(root, None, database)).runs)
    layout_module.tempfile.mkdtemp = before  # a process may index more than once
    return runs, len(made)


@pytest.mark.parametrize("spoil", [b"", b"no database", None])
def test_broken_database(root, tmp_path, spoil):
    database = tmp_path / "db" / "layout_index.sqlite"
    index(root, None, database.parent)
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2] if spoil is None else spoil)
    with pytest.raises(BIDSInputError, match="is not a whole database of pybids; delete it"):
        index(root, None, database.parent)


def test_database_with_an_endless_view(root, tmp_path):
    """It would be read for ever."""
    index(root, None, tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db" / "layout_index.sqlite")) as database:
        database.execute("ALTER TABLE tags RENAME TO once")
        database.execute(
            "CREATE VIEW tags AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) "
            "SELECT once.* FROM n, once"
        )
    with pytest.raises(BIDSInputError, match="is not a whole database of pybids; delete it"):
        index(root, None, tmp_path / "db")


def test_database_of_another_data_set(root, tmp_path):
    other = make_dataset(tmp_path / "other")
    add_megre(other, sub="07")
    index(other, None, tmp_path / "db")
    with pytest.raises(BIDSInputError, match=r"is the index of .*other, expected one of .*raw"):
        index(root, None, tmp_path / "db")


def test_refusals(tmp_path, root):
    with pytest.raises(BIDSInputError, match="is not a folder; expected a BIDS data set"):
        index(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BIDSInputError, match="holds no participant folder"):
        index(tmp_path / "empty")
    with pytest.raises(OutputError, match="cannot be written"):
        index(root, database_dir=root / "dataset_description.json" / "db")
    (root / "dataset_description.json").write_text("[]")
    with pytest.raises(BIDSInputError, match=r"dataset_description\.json holds a JSON list"):
        index(root)
    (root / "dataset_description.json").unlink()
    assert len(collect_runs(index(root)).runs) == 3
