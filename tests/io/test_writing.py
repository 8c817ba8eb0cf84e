"""A sentence that names the folder and what is needed, whatever the file system lacks."""

import errno
import os

import pytest

from qsm_pipeline.bids import derivatives
from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.engine import work_folder
from qsm_pipeline.engine.failures import failure_of
from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.exit_codes import ExitCode
from qsm_pipeline.io import locks
from qsm_pipeline.io.locks import NameLocks


def _failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (errno.ENOSPC, "No space left on device; {folder} has ", ExitCode.IO),
        (errno.EDQUOT, "{folder} has ", ExitCode.IO),
        (errno.EIO, "Input/output error", ExitCode.IO),
        (errno.EROFS, "choose a folder that you may write to", ExitCode.NO_OUTPUT),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, monkeypatch, number, words, code):
    monkeypatch.setattr(derivatives.os, "fsync", _failing(number))
    with pytest.raises(OutputError) as found:
        write_atomic(tmp_path / "map.nii.gz", bytes(2_500_000))
    sentence = str(found.value)
    assert sentence.startswith(f"{tmp_path}/map.nii.gz cannot be written: ")
    assert words.format(folder=tmp_path) in sentence
    assert ("2.5 MB are needed" in sentence) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert found.value.exit_code == code
    assert not list(tmp_path.iterdir())


def test_a_full_work_folder_is_named_with_its_room(tmp_path):
    said = "OSError: [Errno 28] No space left on device"
    message = failure_of("qsm.sub_01_wf.fit", said, tmp_path).message
    assert message.startswith(f"the work folder {tmp_path} cannot be written: No space left")
    assert " MB left" in message
    assert "make room" in message


def test_a_file_system_without_modes_does_not_stop_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(derivatives.os, "chmod", _failing(errno.EPERM))
    write_atomic(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_work_folder_where_anybody_may_write_is_refused_for_what_it_is(tmp_path, monkeypatch):
    real = os.lstat

    def open_to_all(path, **more):
        status = real(path, **more)
        return os.stat_result((status.st_mode | 0o777, *tuple(status)[1:]))

    monkeypatch.setattr(work_folder.os, "lstat", open_to_all)
    with pytest.raises(OutputError, match=r"keeps no permissions .* choose another --work-dir"):
        work_folder.make_private(tmp_path / "work")


def test_without_locks_every_name_is_free_and_it_is_known(tmp_path, monkeypatch):
    found = NameLocks(tmp_path / "locks.txt")
    assert found.lacking == ""
    monkeypatch.setattr(locks.fcntl, "fcntl", _failing(errno.ENOLCK))
    assert found.acquire("01/a", 0) == ""
    assert found.lacking == os.strerror(errno.ENOLCK)
    found.close()
