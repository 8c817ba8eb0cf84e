import json

import pytest

from qsm_pipeline.bids.tables import Column, number, read_table, write_table
from qsm_pipeline.exceptions import BIDSInputError

COLUMNS = {"a": Column("First.", "ppm"), "b": Column("Second.")}


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "t.tsv"
    rows = [{"a": 0.123456789, "b": 'x\t"y"\nz'}, {"b": ["p", "q"]}, {"a": float("nan"), "b": []}]
    write_table(path, COLUMNS, rows, {"Description": "D"})
    assert read_table(path, ("a", "b")) == [
        {"a": "0.123457", "b": 'x "y" z'},
        {"a": "n/a", "b": "p; q"},
        {"a": "n/a", "b": "n/a"},
    ]
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "Description": "D",
        "a": {"Description": "First.", "Units": "ppm"},
        "b": {"Description": "Second."},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'a'"),
        (b"a\tb\ta\n1\t2\t3\n", "has the column 'a' twice"),
        (b"b\tc\n1\t2\n", "has no column 'a'; it has b, c"),
        (b"a\tb\n1\n", "line 2 has 1 cells, expected 2"),
        (b"a\n\xff\xfe\n", "cannot be read as a table"),
        (b"a\tb\n1\t2\n\n3\t4\t5\n", "line 4 has 3 cells"),
    ],
)
def test_broken_tables_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(BIDSInputError, match=message) as error:
        read_table(path, ("a",))
    assert "t.tsv" in str(error.value)


def test_absent_tables_are_refused_by_name(tmp_path):
    with pytest.raises(BIDSInputError, match=r"t\.tsv does not exist"):
        read_table(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("cell", "value"), [("1.5", 1.5), ("n/a", None), ("", None), (None, None), ("inf", None)]
)
def test_cells_become_numbers_or_nothing(cell, value):
    assert number(cell) == value
