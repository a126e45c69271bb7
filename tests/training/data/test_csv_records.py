"""Records of a CSV and their line numbers: broken lines are set apart, and nothing after them is lost."""

import csv
import io
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.csv_records import MAX_LINES, CsvRecord, parse_records, read_csv_records, split_cells
from training.data.dialect import Dialect


def lines(text: str | bytes, width: int | None = None) -> list[CsvRecord]:
    """The records of a file with this content."""
    return list(read_csv_records(io.BytesIO(text if isinstance(text, bytes) else text.encode()), width=width))


def dialect(n_names: int) -> Dialect:
    """Commas, and columns a, b, c, ..."""
    names = tuple("abcdefgh"[:n_names])
    return Dialect(names=names, header=names, n_cells=n_names)


def test_a_record_has_the_number_of_its_first_line() -> None:
    """Blank lines are not records but count as lines, and a quoted cell may span several lines."""
    records = lines('a,b\n\n1,"x\ny"\n  \n2,z')
    assert records == [CsvRecord(1, b"a,b\n"), CsvRecord(3, b'1,"x\ny"\n'), CsvRecord(6, b"2,z")]


def test_only_the_quote_that_opens_a_cell_quotes() -> None:
    """An inch sign within a cell does not open a quoted cell."""
    assert split_cells(b'5" pipe,"a ""b"" c"d,\r\n') == ['5" pipe', 'a "b" cd', ""]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"1\n", "has 1 cell; the header has 2"),
        (b"1,2,3\n", "has 3 cells; the header has 2"),
        (b'1,"never closed\n', "opens a quote that is never closed"),
        (b'"1,2\n', "opens a quote that is never closed"),
        (b"1,\xff\n", "is not valid UTF-8 at byte 3"),
        (b"1,2\r3,4\n", "new-line character"),
        (b"1," + b"x" * 200_000 + b"\n", "field larger"),
    ],
)
def test_reading_goes_on_after_a_broken_line(broken: bytes, why: str) -> None:
    """A broken line is set apart, even one with a quote that nothing closes or that the next cell seems to close."""
    _, *records = lines(b'a,b\nx,"y"\n' + broken + b'p,"q"\n' + b"r,s\n" * 3, 2)
    sound, wrong = parse_records(records, dialect(2))
    assert sound == [["x", "y"], ["p", "q"], *[["r", "s"]] * 3]
    assert [(records[line.place].number, records[line.place].content) for line in wrong] == [(3, broken)]
    assert why in wrong[0].reason


def test_a_quote_that_swallows_too_much_is_a_broken_line() -> None:
    """A quoted cell that spans too many lines is broken, even if the number of cells would be right."""
    text = 'a,b\n1,"x\n' + "2,y\n" * MAX_LINES + '3,z"\n'
    sound, wrong = parse_records(lines(text, 2)[1:], dialect(2))
    assert len(sound) == MAX_LINES + 1
    assert len(wrong) == 1


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8) | st.sampled_from(
    ['"', ",", "\n", '""', '",\n"', "'", " "]
)


@given(st.lists(st.tuples(st.just("x"), CELL, CELL), max_size=8), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_is_written_is_read(rows: list[tuple[str, str, str]], quoting: int) -> None:
    """Cells of any content are read back as Python's own CSV writer wrote them."""
    written = io.StringIO()
    csv.writer(written, quoting=quoting, lineterminator="\n").writerows(chain([("a", "b", "c")], rows))
    records, broken = parse_records(lines(written.getvalue(), 3)[1:], dialect(3))
    assert broken == []
    assert [tuple(row) for row in records] == rows
