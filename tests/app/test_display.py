"""What is seen while something runs, on a terminal of the test's own."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from contextvars import Context

import commands
import pytest

from qsm_pipeline.app.display import Display, command_began, command_begins

SCRIPT = """
import sys, time
from qsm_pipeline.app.display import Display
with Display(print) as display:
    display.stage("reading the data set")
    time.sleep(0.6)
    display.echo("skipped sub-02: [red]no echo[/red] " + "x" * 90)
    display.echo("verdict on sub-01: " + "word " * 12 + "check Manufacturer in the sidecars")
    lines = ["1 of 2 run(s) ended, about 3 min left", "  sub-01, field fit (3 of 9), 4 s"]
    display.follow(lambda: lines)
    time.sleep(0.6)
print("done sub-01")
"""


def _on_a_terminal(code, **environment):
    """Run Python with its output on a terminal 80 columns wide; return what it wrote."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=child,
        stderr=child,
        stdin=child,
        env={**commands.environment(), "TERM": "xterm", "COLUMNS": "80", **environment},
    )
    os.close(child)
    written, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([parent], [], [], 0.2)[0]:
            try:
                written += os.read(parent, 1 << 16)
            except OSError:  # the other end is closed
                break
    process.wait(10)
    os.close(parent)
    return written.decode()


def _plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_what_is_done_and_keeps_what_was_printed():
    written = _on_a_terminal(SCRIPT)
    plain = _plain(written)
    assert "reading the data set ... 0 s" in plain
    assert "skipped sub-02: [red]no echo[/red] " + "x" * 90 in plain.replace("\r\n", "")
    assert "word\r\n  check Manufacturer in the sidecars\r\n" in plain  # between words
    assert "  sub-01, field fit (3 of 9), 4 s" in plain
    assert "since the start" in plain
    assert "progress:" not in plain
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # cursor off and on
    assert plain.rstrip().endswith("done sub-01")


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    written = _on_a_terminal(SCRIPT, TERM="dumb")
    assert "progress: reading the data set\r\n" in written
    assert "\x1b" not in written


@pytest.mark.parametrize(("quiet", "lines"), [(False, ["progress: a", "b"]), (True, ["b"])])
def test_elsewhere_a_stage_is_a_line(quiet, lines):
    printed = []
    with Display(printed.append, quiet=quiet) as display:
        display.stage("a")
        display.echo("b")
    assert printed == lines


def test_the_display_is_taken_away_when_something_fails(capsys):
    display = Display(print)

    def stopped():
        with display:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not display.live


def test_time_counts_from_the_begin_of_the_command():
    def later():
        command_begins()
        began = command_began()
        time.sleep(0.01)
        return command_began() == began

    assert Context().run(later)
    before = time.monotonic()
    assert Context().run(command_began) >= before  # of a call without a command
