"""Nothing in a folder runs code, leads elsewhere, or passes for finished when it is damaged."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import commands
import nibabel as nib
import numpy as np
import pytest
from bids_trees import add_megre, make_dataset
from hostile.damages import DAMAGES
from nipype import Function
from report_tree import make_record, make_run, write_maps
from safetensors.torch import load_file, save_file
from simulated_cohort import make_cohort

from qsm_pipeline.app import validation
from qsm_pipeline.app.ledger import Ledger
from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.derivatives import write_dataset_files, write_json
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.ownership import check_owner, leading_out
from qsm_pipeline.bids.segmentations import read_any
from qsm_pipeline.cycleqsm import checkpoint
from qsm_pipeline.engine.checked_node import CheckedNode
from qsm_pipeline.engine.work_folder import make_private, refuse_links
from qsm_pipeline.exceptions import BIDSInputError, ConfigError, OutputError
from qsm_pipeline.io.locks import NameLocks
from qsm_pipeline.reports.citations import write_citations
from qsm_pipeline.steps.settings import METHOD_DEFAULTS


def test_no_child_imports_from_the_current_folder(tmp_path):
    (tmp_path / "planted.py").write_text("open('pwned', 'w')\n")
    (tmp_path / "main").mkdir()
    (tmp_path / "main/start.py").write_text(
        "import multiprocessing\n"
        "from qsm_pipeline.engine.resources import trust_no_current_folder\n"
        "if __name__ == '__main__':\n"
        "    trust_no_current_folder()\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    context.set_forkserver_preload(['planted'])\n"
        "    process = context.Process(target=print, args=('ran',))\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "main/start.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(commands.ROOT)},
    )
    assert done.stdout == "ran\n"
    assert not (tmp_path / "pwned").exists()


def test_a_work_folder_of_others_is_refused(tmp_path):
    make_private(tmp_path / "work/own")
    assert (tmp_path / "work/own").stat().st_mode & 0o777 == 0o700
    make_private(tmp_path / "work/own")  # again
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(OutputError, match=r"open can be written by other users, .*--work-dir"):
        make_private(tmp_path / "open")
    (tmp_path / "link").symlink_to(tmp_path / "work")
    with pytest.raises(OutputError, match="link is a link"):
        make_private(tmp_path / "link")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_work_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 1234, 1234)
    with pytest.raises(OutputError, match="theirs belongs to another user"):
        make_private(tmp_path / "theirs")


def test_links_among_intermediate_files_are_refused(tmp_path):
    (tmp_path / "run/node").mkdir(parents=True)
    refuse_links(tmp_path / "run")
    refuse_links(tmp_path / "not there")
    for place in ("run/node/file.nii", "run/folder"):
        (tmp_path / place).symlink_to(tmp_path)
        with pytest.raises(OutputError, match=f"{place} is a link"):
            refuse_links(tmp_path / "run")
        (tmp_path / place).unlink()


def _write(value):
    from pathlib import Path

    Path("values.nii").write_bytes(bytes([value]) * 1000)
    with Path("../runs.txt").open("a") as file:
        file.write("x")
    return str(Path("values.nii").absolute())


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["values.nii", "result_make.pklz", "checksums.json"])
@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:-9]),
        Path.unlink,
    ],
)
def test_a_kept_file_that_was_damaged_is_made_again(tmp_path, name, damage):
    def run():
        node = CheckedNode(
            Function(input_names=["value"], output_names=["path"], function=_write),
            name="make",
            base_dir=str(tmp_path),
        )
        node.inputs.value = 7
        return Path(node.run().outputs.path).read_bytes()

    whole = bytes([7]) * 1000
    assert (run(), run()) == (whole, whole)
    assert (tmp_path / "runs.txt").read_text() == "x"
    damage(tmp_path / "make" / name)
    assert (run(), run()) == (whole, whole)
    assert (tmp_path / "runs.txt").read_text() == "xx"


@pytest.fixture
def finished_run(tmp_path):
    """Return the ledger and the run of a finished map."""
    run = make_run(tmp_path)
    write_maps(run, tmp_path / "out")
    ledger = Ledger(tmp_path / "out", METHOD_DEFAULTS)
    maps = [str(p) for p in (tmp_path / "out/sub-01").rglob("*") if p.is_file()]
    ledger.close_run(run, maps, 1.0)
    return ledger, run, tmp_path / "out"


def test_a_flipped_byte_in_a_map_is_noticed_and_a_copy_is_not_made_again(finished_run):
    ledger, run, out = finished_run
    chi = out / output_path(run.entities, "chi")
    os.utime(chi)
    assert not ledger.open_run(run)
    _flip(chi)
    assert ledger.open_run(run)


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"Fingerprint": "x"}', '{"Written": {}}', "[" * 200_000]
)
def test_a_damaged_record_of_a_finished_run_is_none(finished_run, text):
    ledger, run, out = finished_run
    (out / "logs/done/sub-01.json").write_text(text)
    assert ledger.open_run(run)


def test_what_other_methods_wrote_is_removed_when_a_run_is_done_again(finished_run):
    ledger, run, out = finished_run
    other = make_run(out)
    for quantity in ("uncertainty", "swi"):
        for extension in (".nii.gz", ".json"):
            (out / output_path(run.entities, quantity, extension=extension)).touch()
            later = {"sub": "01", "run": "2"}
            (out / output_path(later, quantity, extension=extension)).touch()
    seg = {"seg": "aseg"}
    (out / output_path(run.entities, "regions", extra=seg, extension=".tsv")).touch()
    kept = [str(out / output_path(run.entities, "chi"))]
    ledger.close_run(replace(run, phase=other.phase), kept, 1.0)
    left = {p.name for p in (out / "sub-01").rglob("*") if p.is_file()}
    assert left == {
        "sub-01_Chimap.nii.gz",
        *(
            f"sub-01_run-2_{name}.{end}"
            for end in ("nii.gz", "json")
            for name in ("desc-uncertainty_Chimap", "desc-swi_T2starw")
        ),
    }


def test_an_output_folder_has_one_product_and_one_data_set(tmp_path):
    raw, out = make_dataset(tmp_path / "raw"), tmp_path / "out"
    check_owner(out, raw)
    write_dataset_files(out, raw)
    check_owner(out, raw)
    with pytest.raises(ConfigError, match=r"holds results of file:.*/raw, not of file:.*/other"):
        check_owner(out, make_dataset(tmp_path / "other"))
    description = out / "dataset_description.json"
    for content, words in {
        '{"GeneratedBy": [{"Name": "fMRIPrep"}]}': "is a data set of fMRIPrep",
        '{"GeneratedBy": 7}': "is a data set of somebody else",
        "[": "cannot be told",
    }.items():
        description.write_text(content)
        with pytest.raises(ConfigError, match=words):
            check_owner(out, raw)
    description.unlink()
    (out / "README.md").write_text("# Of the laboratory\n")
    (out / ".bidsignore").write_text("mine\n")
    write_dataset_files(out, raw)
    assert (out / "README.md").read_text() == "# Of the laboratory\n"
    assert (out / ".bidsignore").read_text() == "mine\n"


def test_the_command_does_not_write_into_the_folder_of_another_product(tmp_path):
    raw, out = make_dataset(tmp_path / "raw"), tmp_path / "out"
    add_megre(raw)
    write_json(out / "dataset_description.json", {"GeneratedBy": [{"Name": "fMRIPrep"}]})
    for more in ((), ("--dry-run",)):
        result = commands.run(raw, out, *more)
        assert result.exit_code not in (0, 1)
        assert "fMRIPrep" in result.output
    assert [p.name for p in out.iterdir()] == ["dataset_description.json"]


@pytest.mark.parametrize("below", ["sub-01", "sub-01/anat", "sub-01/figures", "sub-01/fmap"])
def test_no_output_folder_leads_elsewhere(tmp_path, below):
    raw, out = make_dataset(tmp_path / "raw"), tmp_path / "out"
    add_megre(raw)
    runs = collect_runs(index(raw)).runs
    assert leading_out(out, runs) == []
    (out / below).parent.mkdir(parents=True)
    (out / below).symlink_to(raw / "sub-01", target_is_directory=True)
    (skipped,) = leading_out(out, runs)
    assert "outside the output folder" in skipped.reason
    (out / "logs").symlink_to(raw)
    with pytest.raises(ConfigError, match="logs is a link to"):
        leading_out(out, runs)


@pytest.mark.parametrize("below", ["logs", "logs/done", "sub-01", "sub-01/anat", "sub-01/figures"])
@pytest.mark.parametrize("damage", ["pipe", "dangling", "empty"])
def test_a_file_in_the_place_of_an_output_folder_is_foreseen(tmp_path, below, damage):
    raw, out = make_dataset(tmp_path / "raw"), tmp_path / "out"
    add_megre(raw)
    add_megre(raw, sub="02")
    (out / below).parent.mkdir(parents=True)
    (out / below).touch()
    DAMAGES[damage](out / below)
    planned = commands.run(raw, out, "--dry-run")
    assert f"{out / below} is no folder" in planned.output, planned.output
    assert ("would run sub-02" in planned.output) == (not below.startswith("logs"))


@pytest.mark.parametrize("more", [("participant", "--slurm-array", "array.sh"), ("group",)])
def test_nothing_is_written_through_a_link_in_the_place_of_the_logs(tmp_path, more):
    raw, out, _ = make_cohort(tmp_path, 1)
    add_megre(raw, sub="0001")
    shutil.rmtree(out / "logs")
    (out / "logs").symlink_to(raw)
    before = sorted(raw.rglob("*"))
    words = [tmp_path / word if word.endswith(".sh") else word for word in more]
    result = commands.call(raw, out, *words)
    assert "logs is a link to" in result.output, result.output
    assert result.exit_code == 64
    assert sorted(raw.rglob("*")) == before


def test_the_report_of_the_validator_replaces_a_link(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out/logs").mkdir(parents=True)
    (tmp_path / "out/logs/bids_validation.json").symlink_to("../../mine.txt")
    assert "bids_validation.json" in validation._keep(b"{}", tmp_path / "out")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "out/logs/bids_validation.json").read_text() == "{}"


def test_a_lock_file_that_is_a_link_is_replaced_and_its_target_left(tmp_path):
    (tmp_path / "mine.txt").write_text("mine\n")
    (tmp_path / "locks.txt").symlink_to("mine.txt")
    locks = NameLocks(tmp_path / "locks.txt")
    assert locks.acquire("01", 0) == ""
    locks.close()
    assert (tmp_path / "mine.txt").read_text() == "mine\n"
    assert not (tmp_path / "locks.txt").is_symlink()
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(OutputError, match="no file but a pipe"):
        NameLocks(tmp_path / "pipe.txt")


def test_who_holds_a_lock_is_told_without_taking_it(tmp_path):
    first, second = (NameLocks(tmp_path / "locks.txt") for _ in range(2))
    assert second.holder("01") == ""
    first.acquire("01", 0)
    assert f"process {os.getpid()}" in second.holder("01")
    assert second.holder("02") == ""
    before = (tmp_path / "locks.txt").read_text()
    second.close()
    first.close()
    assert (tmp_path / "locks.txt").read_text() == before


def test_text_of_the_data_is_no_citation(tmp_path):
    run = make_run(tmp_path)
    write_maps(run, tmp_path / "out")
    odd = "Units is [@someone2020], <img src=x> ![y](http://z)"
    told = make_record(run, left_out=[{"what": "sub-02", "reason": odd}])
    write_json(tmp_path / "out/logs/sub-01.json", told)
    write_citations(tmp_path / "out")
    for end in ("md", "html"):
        text = (tmp_path / f"out/logs/CITATION.{end}").read_text()
        assert "[@someone2020]" in text
        markup = r"<img" if end == "html" else r"(?<!\\)<img|(?<!\\)!\[|\]\(http"
        assert not re.search(markup, text)


def test_a_generator_that_declares_more_than_it_holds(tmp_path):
    shipped = checkpoint.shipped_path()
    with open(shipped, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        declared = json.loads(json.loads(file.read(length))["__metadata__"]["generator"])
    tensors = load_file(shipped)
    for change in ({"widths": [16000, 32000, 64000]}, {"stages": 10**9}, {"widths": [8] * 10**5}):
        path = tmp_path / "generator.safetensors"
        save_file(tensors, path, {"generator": json.dumps(declared | change)})
        with pytest.raises(ValueError, match=r"declare"):
            checkpoint.load_generator(path)


def test_a_small_file_that_unpacks_to_a_large_segmentation(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((800, 800, 800))
    header.set_data_dtype(np.uint8)
    plain = bytearray(header.binaryblock) + bytes(4)
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(gzip.compress(bytes(plain) + bytes(10_000)))
    with pytest.raises(BIDSInputError, match="has 800 x 800 x 800 voxels, expected at most"):
        read_any(path)
    header.set_data_shape((600, 600, 600))
    path.write_bytes(gzip.compress(bytes(header.binaryblock) + bytes(10_000)))
    with pytest.raises(BIDSInputError, match="its header declares"):
        read_any(path)


@pytest.mark.parametrize(
    ("redirection", "encoding"), [("2>&-", ""), (">&-", ""), ("<&- >&- 2>&-", ""), ("", "ascii")]
)
def test_closed_streams_and_terminals_without_unicode(tmp_path, redirection, encoding):
    raw = make_dataset(tmp_path / "r\N{LATIN SMALL LETTER E WITH ACUTE}w\x1b[31m")
    add_megre(raw)
    (raw / "sub-\N{PILE OF POO}").mkdir()
    done = subprocess.run(
        [
            "/bin/bash",
            "-c",
            f'{sys.executable} -m qsm_pipeline "$1" "$2" participant --dry-run {redirection}',
            "x",
            str(raw),
            str(tmp_path / "out"),
        ],
        capture_output=True,
        check=False,
        cwd="/",
        env=commands.environment() | {"PYTHONIOENCODING": encoding},
    )
    said = done.stdout + done.stderr
    assert b"Traceback" not in said
    assert b"\x1b" not in said
    assert done.returncode == 0, said
    if ">&-" not in redirection.replace("2>&-", ""):
        assert b"would run sub-01" in said
