"""What a command shows on a terminal of 80 columns, as a picture."""

from __future__ import annotations

import html
import os
import pty
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from browser import open_page

COLUMNS = 80
_STEP = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[\?\d+[hl]|(.)", re.DOTALL)
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #14171c; }} pre {{ margin: 0; padding: 14px 18px; color: #e4e7ec;
width: 80ch; font: 14px/1.35 "DejaVu Sans Mono", monospace; border-bottom: 1px solid #343a44; }}
</style><pre>{}</pre>"""


def on_a_terminal(command: Sequence[str]) -> bytes:
    """Run a command with a terminal as its output; return what it wrote."""
    os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    written = bytearray()

    def read(file: int) -> bytes:
        data = os.read(file, 1 << 16)
        written.extend(data)
        return data

    pty.spawn(list(command), read)
    return bytes(written)


def screen(written: str) -> list[str]:
    """Return the lines that a terminal shows after all that was written."""
    lines, row, column = [""], 0, 0
    for number, letter, character in _STEP.findall(written):
        if letter == "A":
            row = max(0, row - int(number or 1))
        elif letter == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        elif character == "\r":
            column = 0
        elif character and (character == "\n" or column == COLUMNS):
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        if character and character not in "\r\n":
            line = lines[row].ljust(column)
            lines[row] = line[:column] + character + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def photograph(written: str, picture: Path) -> None:
    """Save what was seen in the middle of a command and at its end."""
    middle = written[: written.rindex("\r\x1b[2K", 0, len(written) * 2 // 5)]
    states = ["\n".join(screen(part)).rstrip() for part in (middle, written)]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "terminal.html"
        page.write_text(_PAGE.format("</pre><pre>".join(map(html.escape, states))))
        with open_page(page, width=720, height=300) as shown:
            box = "document.querySelector('pre').getBoundingClientRect().width"
            size = (shown.evaluate(box), shown.evaluate("document.documentElement.scrollHeight"))
            shown.screenshot(picture, clip=(0, 0, *size), whole=True)
