"""Locks are held by children too, and end with the last process that has them."""

import multiprocessing
import os
import signal
import socket
import time

import pytest

from qsm_pipeline.exceptions import OutputError
from qsm_pipeline.io.locks import NameLocks, end_with, lock_all

CONTEXT = multiprocessing.get_context("forkserver")


def _hold(held, seconds):
    assert isinstance(held, int)
    time.sleep(seconds)


def _parent(path):
    """Lock, start a child that holds the lock too and outlives this process, and be killed."""
    locks = NameLocks(path)
    assert locks.acquire("01", 0) == ""
    child = CONTEXT.Process(target=_hold, args=(locks, 5.0))
    child.start()
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def _spin(lifeline):
    end_with(lifeline)
    while True:  # never lets another thread run
        pass


class _Clock:
    """Time that passes only in sleep."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_names_do_not_disturb_each_other(tmp_path, monkeypatch):
    clock = _Clock()
    monkeypatch.setattr("qsm_pipeline.io.locks.time", clock)
    one, two = NameLocks(tmp_path / "a" / "locks.txt"), NameLocks(tmp_path / "a" / "locks.txt")
    assert lock_all([one], ["01", "02"]) == {}
    held = lock_all([two], ["02", "03", "01"])
    assert 3 <= clock.now < 3.2  # it waits once, not for each name
    assert sorted(held) == ["01", "02"]
    assert held["01"].startswith(f"process {os.getpid()} on ")
    assert held["01"].endswith(f"({two.path})")
    one.close()
    assert lock_all([two], ["01"]) == {}


def test_a_child_holds_the_lock_after_its_parent_was_killed(tmp_path):
    path = tmp_path / "locks.txt"
    parent = CONTEXT.Process(target=_parent, args=(path,))
    parent.start()
    parent.join()
    locks = NameLocks(path)
    assert locks.acquire("01", 0).startswith(f"process {parent.pid} on ")
    assert locks.acquire("01", time.monotonic() + 60) == ""


def test_what_a_killed_command_left_is_waited_for(tmp_path):
    path = tmp_path / "locks.txt"
    parent = CONTEXT.Process(target=_parent, args=(path,))
    parent.start()
    parent.join()
    start = time.monotonic()
    assert lock_all([NameLocks(path)], ["01"]) == {}
    assert time.monotonic() - start > 3.2  # longer than for a command that lives


def test_a_process_ends_with_the_one_that_started_it():
    lifeline, alive = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_spin, args=(lifeline,), daemon=True)
    process.start()
    time.sleep(0.5)
    assert process.is_alive()
    alive.close()
    process.join(120)  # a busy machine takes long to start it
    assert process.exitcode == -signal.SIGKILL
    late = CONTEXT.Process(target=_spin, args=(lifeline,), daemon=True)
    late.start()
    late.join(120)
    assert late.exitcode == -signal.SIGKILL


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        NameLocks(tmp_path / "file" / "locks.txt")


def test_what_lies_below_a_name_is_held_beside_each_other_but_not_beside_it(tmp_path):
    first, second, third = (NameLocks(tmp_path / "locks.txt") for _ in range(3))
    assert first.acquire("01/a", 0) == ""
    assert second.acquire("01/b", 0) == ""
    assert third.acquire("01/a", 0) == third.acquire("01", 0) == f"{_me()}"
    assert third.holder("01") == _me()
    assert third.acquire("02", 0) == ""
    first.close()
    assert third.acquire("01", 0) == _me()  # the other one is still there
    second.close()
    assert third.acquire("01", 0) == ""
    fourth = NameLocks(tmp_path / "locks.txt")
    assert fourth.acquire("01/b", 0) == _me()
    for each in (third, fourth):
        each.close()


def _me():
    return f"process {os.getpid()} on {socket.gethostname()}"
