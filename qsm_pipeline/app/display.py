"""What is seen while something runs: a live display on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from qsm_pipeline.app.command_log import CommandLog

Echo = Callable[[str], None]
_BEGAN: ContextVar[float] = ContextVar("began")


def command_begins() -> None:
    """Note that the command begins now, before it imports what computes."""
    _BEGAN.set(time.monotonic())


def command_began() -> float:
    """Return when the command began, of `time.monotonic`; now if there is none."""
    return _BEGAN.get(time.monotonic())


class Display:
    """Says at any moment what is being done and for how long.

    On a terminal the last lines of the screen show it and are renewed four times a second, and
    what is printed appears above them. Elsewhere, and where a log goes to the same terminal, each
    stage is a line that begins with ``progress:``.

    Parameters
    ----------
    echo : callable
        Prints one line.
    quiet : bool
        Whether nothing but what is printed by `echo` is shown.
    log : CommandLog, optional
        Takes every line too, and the stages that a terminal shows in passing.
    """

    def __init__(self, echo: Echo, *, quiet: bool = False, log: CommandLog | None = None) -> None:
        self._echo = echo
        self._quiet = quiet
        self._log = log
        self._what, self._since = "", time.monotonic()
        self._began = command_began()
        self._more: Callable[[], Sequence[str]] | None = None
        self._live: Any = None

    @property
    def live(self) -> bool:
        """Whether the stages are shown on a terminal and need not be printed."""
        return self._live is not None

    def __enter__(self) -> Self:
        """Begin to show."""
        if not self._quiet and _is_terminal():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._drawn,
                console=Console(highlight=False),
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the display away; what was printed stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def echo(self, line: str) -> None:
        """Print one line, above the display if there is one."""
        if self._log is not None:
            self._log.add(line)
        if self._live is None:
            self._echo(line)
        else:
            console = self._live.console
            console.print(_wrapped(line, console.width), markup=False, soft_wrap=True)

    def stage(self, what: str) -> None:
        """Say what is done from now on."""
        self._what, self._since, self._more = what, time.monotonic(), None
        if self._log is not None:
            self._log.add(f"progress: {what}")
        if self._live is None and not self._quiet:
            self._echo(f"progress: {what}")

    def follow(self, lines: Callable[[], Sequence[str]]) -> None:
        """Show lines that say themselves what is done, until the next stage."""
        self._more = lines

    def _drawn(self) -> Any:
        from rich.text import Text

        now = time.monotonic()
        if self._more is None:
            lines = [f"{self._what} ... {duration(now - self._since)}"] if self._what else []
        else:
            lines = [*self._more(), f"{duration(now - self._began)} since the start"]
        return Text("\n".join(lines), style="cyan", no_wrap=True, overflow="ellipsis")


def _wrapped(line: str, width: int) -> str:
    """Break a line between words; one with a word that fills a line, such as a path, stays."""
    if len(line) <= width or max(map(len, line.split()), default=0) > width - 2:
        return line
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def duration(seconds: float) -> str:
    """Return a duration as people say it, such as ``1 h 20 min``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _is_terminal() -> bool:
    """Return whether lines can be drawn over, and nothing else is written between them."""
    quiet = logging.getLogger().getEffectiveLevel() >= logging.WARNING
    return quiet and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
