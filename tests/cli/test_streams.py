"""Signals of terminals and schedulers end a command in order, with their number."""

import os
import signal

import bids_trees
import commands
import pytest

from qsm_pipeline.app import participant


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_a_signal_is_named_and_is_the_exit_status(tmp_path, monkeypatch, name):
    number = getattr(signal, name)

    def stopped(**_):
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 5)  # until it has come

    before = {each: signal.getsignal(each) for each in signal.valid_signals()}
    # what started the tests may ignore it, as nohup does
    default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    signal.signal(number, default)
    monkeypatch.setattr(participant, "run_participants", stopped)
    raw = bids_trees.make_dataset(tmp_path / "raw")
    try:
        result = commands.call(raw, tmp_path / "out", "participant")
    finally:
        for each, handler in before.items():
            if handler is not None and signal.getsignal(each) != handler:
                signal.signal(each, handler)
    assert result.exit_code == 128 + number
    assert f"stopped by {name}; what was finished stays" in result.output
