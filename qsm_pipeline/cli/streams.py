"""What is printed reaches whatever reads it: a terminal of any kind, a pipe, nothing at all."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

from qsm_pipeline.exceptions import printable

_ENDING = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""Signals of terminals, users and schedulers that end a process without a word."""


def prepare() -> None:
    """Open what was closed, let no character stop a line, and end in order when asked to.

    A standard stream that is closed lends its number to the next file that is opened, and what
    is printed would land there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # of nohup
            signal.signal(number, _stop)


def tell(text: str) -> None:
    """Print lines; that their reader has gone, or its disk is full, does not end days of work."""
    try:
        for line in text.splitlines():
            click.echo(printable(line))
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def tell_error(text: str) -> None:
    """Print a sentence that says why nothing goes on."""
    with suppress(OSError):
        click.echo(f"Error: {printable(text)}", err=True)


def _stop(number: int, _: FrameType | None) -> None:
    """End as with Ctrl-C, so that no process is left behind."""
    raise KeyboardInterrupt(number)
