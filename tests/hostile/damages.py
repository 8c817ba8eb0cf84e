"""What happens to files on shared disks: damages that fit any file, whatever it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

HUGE_BYTES = 2**35
"""A sparse file: its size costs nothing but the memory of whoever reads it."""


def _missing(path: Path) -> None:
    path.unlink()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _annex_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../.git/annex/objects/xW/9v/MD5E-s5--aa/MD5E-s5--aa")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _huge(path: Path) -> None:
    path.unlink()
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)


def _with(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()  # other participants may share it
        path.write_bytes(content)

    return damage


def _half(path: Path) -> None:
    content = path.read_bytes()
    _with(content[: len(content) // 2])(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": _missing,
    "dangling": _dangling,
    "annexLink": _annex_link,
    "annexPointer": _with(b"/annex/objects/MD5E-s5--aa.nii.gz\n"),
    "lfsPointer": _with(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "pipe": _pipe,
    "folder": _folder,
    "loop": _loop,
    "empty": _with(b""),
    "half": _half,
    "garbage": _with(bytes(range(256)) * 9),
    "listInstead": _with(b"[[1], {}]"),
    "textInstead": _with(b'"text"'),
    "nan": _with(
        b'{"EchoTime": NaN, "RepetitionTime": Infinity, "Metrics": {"a": {"Value": NaN}}}'
    ),
    "otherTypes": _with(
        b'{"runs": [1], "left_out": {"a": 1}, "Metrics": ["x"], "Warnings": 7, "Inferred": [2], '
        b'"Parameters": "x", "Software": null, "Written": [3], "Fingerprint": {}, "EchoTime": "x"}'
    ),
    "deep": _with(b"[" * 200_000),
    "deepObject": _with(b'{"a":' * 500 + b"1" + b"}" * 500),
    "utf16": _with('{"EchoTime": 0.004}'.encode("utf-16")),
    "latin1": _with(b'{"Manufacturer": "\xe9"}'),
    "controls": _with(b'{"Units": "[@someone2020]", "Manufacturer": "a\\u001b[31m\\nb\\ud800"}'),
    "huge": _huge,
}
"""What is done to a file, by a label that a participant can have."""
SOUND = "sound"
