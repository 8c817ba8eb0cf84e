"""Tables: TSV files with a JSON file that describes their columns."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsm_pipeline.bids.derivatives import write_atomic, write_json
from qsm_pipeline.bids.files import file_size
from qsm_pipeline.exceptions import BIDSInputError

MISSING = "n/a"
_MAX_BYTES = 2**26


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    description : str
        One sentence; empty for a column that BIDS itself describes.
    units : str
        BIDS units, empty for none.
    """

    description: str
    units: str = ""

    def described(self) -> dict[str, str]:
        """Return it as a sidecar has it."""
        return {"Description": self.description} | ({"Units": self.units} if self.units else {})


def write_table(
    path: Path,
    columns: Mapping[str, Column],
    rows: Iterable[Mapping[str, Any]],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a table and its sidecar, each whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.tsv``; the sidecar has the same stem.
    columns : mapping of str to Column
        In their order.
    rows : iterable of mapping
        Values, lists joined by semicolons; what is None, not finite, empty or not there is written
        as ``n/a``.
    extra : mapping, optional
        Further keys of the sidecar.
    """
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        escapechar=None,
        quotechar=None,
    )
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_plain(row.get(name)) for name in columns])
    sidecar = {name: column.described() for name, column in columns.items() if column.description}
    write_json(path.with_suffix(".json"), {**(extra or {}), **sidecar})
    write_atomic(path, text.getvalue().encode())


def read_table(path: Path, required: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table.

    Parameters
    ----------
    path : pathlib.Path
        TSV file with a header.
    required : sequence of str
        Columns that must be there.

    Returns
    -------
    list of dict of str to str
        One for each row; ``n/a`` stays as it is.

    Raises
    ------
    BIDSInputError
        If it cannot be read, lacks a column or has one twice, or a row has more or fewer cells
        than the header.
    """
    try:
        if file_size(path) > _MAX_BYTES:
            raise BIDSInputError(f"{path} is larger than 64 MiB, which no table is; replace it")
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BIDSInputError(
            f"{path} cannot be read as a table: {error}; save it as UTF-8 text with tabs"
        ) from None
    header, *body = rows or [[]]
    for name in required:
        if name not in header:
            there = ", ".join(header)[:200] or "none"
            raise BIDSInputError(f"{path} has no column {name!r}; it has {there}")
    twice = next((name for name, number in Counter(header).items() if number > 1), None)
    if twice is not None:
        raise BIDSInputError(f"{path} has the column {twice!r} twice; rename or remove one")
    for number, row in enumerate(body, 2):
        if row and len(row) != len(header):
            raise BIDSInputError(
                f"{path}: line {number} has {len(row)} cells, expected {len(header)}"
            )
    return [dict(zip(header, row, strict=True)) for row in body if row]


def number(cell: str | None) -> float | None:
    """Return a cell as a number, None where it is ``n/a`` or no finite number."""
    try:
        value = float(cell or MISSING)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    return " ".join(str(value).split()) or MISSING
