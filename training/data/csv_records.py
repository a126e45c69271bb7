"""The records of a CSV file, each with its line number; broken ones are reported, never lost.

pandas pads short lines, and a stray quote makes it swallow all lines that follow. Here a record must have as many
cells as the header, and reading continues after a broken line.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from training.data.dialect import Dialect

# A quoted cell with this many line breaks is taken for a quote that was never closed.
MAX_LINES = 1000
# In a table with fewer columns, any line of a text may look like a row.
MIN_COLUMNS = 4
# A backslash before a quote or a backslash, as MySQL, Hive and Spark write a quote in a quoted cell.
_ESCAPED = re.compile(r'\\(["\\])')

BROKEN = "the line is broken"
REPEATED_HEADER = "the line repeats the header"
UNITS = "the line holds units, not values"
EMPTY = "the line has no value"
# These lines hold no row, so nothing is lost by skipping them.
NO_ROWS = (REPEATED_HEADER, UNITS, EMPTY)


class CsvRecord(NamedTuple):
    """One record of a CSV file, unparsed."""

    number: int
    """The number of its first line, counted from 1 and including the header."""
    content: bytes

    @property
    def text(self) -> str:
        """The record as text, without its line break; bytes that are not UTF-8 are escaped."""
        return self.content.decode(errors="backslashreplace").rstrip("\r\n")


class BrokenRecord(NamedTuple):
    """A record that is not a row, and the reason."""

    place: int
    """Its position among the records that it was parsed with."""
    reason: str


def read_csv_records(
    lines: Iterable[bytes], delimiter: str = ",", width: int | None = None, n_before: int = 0
) -> Iterator[CsvRecord]:
    """The records in lines of UTF-8; blank lines are skipped.

    `n_before` is how many lines came before these. A record spans several lines only if it then has `width` cells;
    None accepts any number.
    """
    source, ahead, number = iter(lines), deque[bytes](), n_before
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        number += 1
        if not line.strip():
            continue
        first = number
        if b'"' in line and _is_open(line, delimiter) and not _is_whole(line, delimiter, width):
            rest = _rest(source, ahead, delimiter)
            if _are_one([line, *rest], delimiter, width):
                line, number = b"".join((line, *rest)), number + len(rest)
            else:
                ahead.extendleft(reversed(rest))
        yield CsvRecord(first, line)


def _rest(source: Iterator[bytes], ahead: deque[bytes], delimiter: str) -> list[bytes]:
    """The following lines, up to the one in which an open cell is closed."""
    rest: list[bytes] = []
    while len(rest) < MAX_LINES and (line := ahead.popleft() if ahead else next(source, None)) is not None:
        rest.append(line)
        # A line that begins inside a quoted cell is read as if the opening quote stood right before it.
        if b'"' in line and not _is_open(b'"' + line, delimiter):
            break
    return rest


def _is_whole(line: bytes, delimiter: str, width: int | None) -> bool:
    """Whether a line whose last cell seems to be open is a record by itself, because backslashes escape its quotes."""
    return b'\\"' in line and width is not None and len(_unescaped(_text(line), delimiter)) == width


def _are_one(lines: list[bytes], delimiter: str, width: int | None) -> bool:
    """Whether lines are one record, read strictly, because a stray quote would end at the next cell's opening quote."""
    n_cells = len(_strictly(_text(b"".join(lines)), delimiter))
    if not n_cells or n_cells != (width or n_cells):
        return False
    # Two stray quotes may enclose whole rows. With enough columns, rows can be told from the lines of a text.
    if n_cells < MIN_COLUMNS:
        return True
    inner = [line for line in lines[1:-1] if line.strip()]
    if any(len(_strictly(_text(line), delimiter)) == n_cells for line in inner):
        return False
    return not all(line.count(delimiter.encode()) == n_cells - 1 for line in (lines[0], *inner, lines[-1]))


@cache
def _open_pattern(delimiter: str) -> re.Pattern[bytes]:
    """Matches content that ends inside a quoted cell.

    Only a quote at the start of a cell opens it; inside a quoted cell, two quotes stand for one.
    """
    pattern = rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"(?:[^"D][^D]*+)?|[^"D][^D]*+|)D)*+"[^"]*+(?:""[^"]*+)*+'
    return re.compile(pattern.replace(b"D", re.escape(delimiter).encode()))


def _is_open(content: bytes, delimiter: str) -> bool:
    return _open_pattern(delimiter).fullmatch(content) is not None


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _strictly(text: str, delimiter: str) -> list[str]:
    """The cells of a record; an empty list if a closing quote is not followed by a delimiter."""
    try:
        (cells,) = csv.reader((text,), delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return []
    return cells


def _unescaped(text: str, delimiter: str) -> list[str]:
    """The cells of a record with backslashes before quotes; an empty list if it cannot be read that way."""
    return _strictly(_ESCAPED.sub(lambda match: '""' if match[1] == '"' else "\\", text), delimiter)


def split_cells(
    content: bytes, delimiter: str = ",", width: int | None = None, *, is_padded: bool = False
) -> list[str]:
    """The cells of a record; raises ValueError with the reason if it cannot be read.

    Backslashes before quotes are read as escapes if the record then has `width` cells.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not valid UTF-8 at byte {error.start + 1}") from error
    if (
        '\\"' in text
        and len(_strictly(text, delimiter)) != width
        and len(cells := _unescaped(text, delimiter)) == width
    ):
        return cells
    if '"' in text and _is_open(content, delimiter):
        raise ValueError("opens a quote that is never closed")
    try:
        (cells,) = csv.reader((text,), delimiter=delimiter, skipinitialspace=is_padded)
    except csv.Error as error:
        raise ValueError(f"cannot be read: {error}") from error
    return [cell.strip() for cell in cells] if is_padded else cells


def parse_records(records: list[CsvRecord], dialect: Dialect) -> tuple[list[list[str]], list[BrokenRecord]]:
    """The cells of each row, one per name, and the records that are not rows."""
    sound: list[list[str]] = []
    broken: list[BrokenRecord] = []
    n_names, last = len(dialect.names), dialect.header[-1]
    is_plain = dialect.n_cells == n_names and not dialect.units_line
    for place, (record, cells) in enumerate(zip(records, _split_all(records, dialect), strict=True)):
        if isinstance(cells, str):
            broken.append(BrokenRecord(place, cells))
        # The most common case is tested first.
        elif is_plain and len(cells) == n_names and cells[0] and cells[-1] != last:
            sound.append(cells)
        elif reason := _no_row(cells, record.number, dialect):
            broken.append(BrokenRecord(place, reason))
        else:
            sound.append(cells[:n_names])
    return sound, broken


def _split_all(records: list[CsvRecord], dialect: Dialect) -> Iterator[list[str] | str]:
    """The cells of each record, or the reason why it cannot be read."""
    are_simple = [not dialect.is_padded and _is_simple(record.content, dialect.delimiter) for record in records]
    simple = [record.content for record, is_simple in zip(records, are_simple, strict=True) if is_simple]
    try:
        # One parser for all simple records takes half the time.
        rows = list(csv.reader(map(bytes.decode, simple), delimiter=dialect.delimiter))
    except (csv.Error, UnicodeDecodeError):
        rows = []
    ready = iter(rows) if len(rows) == len(simple) else None
    for record, is_simple in zip(records, are_simple, strict=True):
        yield next(ready) if is_simple and ready else _cells_or_reason(record, dialect)


def _is_simple(content: bytes, delimiter: str) -> bool:
    """Whether every quote is closed, and none is escaped by a backslash."""
    return b'"' not in content or (b'\\"' not in content and not _is_open(content, delimiter))


def _cells_or_reason(record: CsvRecord, dialect: Dialect) -> list[str] | str:
    try:
        return split_cells(record.content, dialect.delimiter, dialect.n_cells, is_padded=dialect.is_padded)
    except ValueError as error:
        if isinstance(error.__cause__, UnicodeDecodeError) and dialect.encoding != "utf-8":
            return f"the line is not {dialect.encoding.upper()}"
        return f"the line {error}"


def _no_row(cells: list[str], number: int, dialect: Dialect) -> str:
    """Why cells are not a row, "" if they are."""
    if cells[-1] == dialect.header[-1] and is_header(cells, dialect):
        return REPEATED_HEADER
    if number == dialect.units_line:
        return UNITS
    if not any(cells):
        return EMPTY
    n_cells, n_names = dialect.n_cells, len(dialect.names)
    if len(cells) == n_cells:
        return "" if n_cells == n_names or not any(cells[n_names:]) else "the line has a value after its last column"
    count = f"the line has {len(cells):,} {'cell' if len(cells) == 1 else 'cells'}"
    if n_cells != n_names:
        return f"{count}; the other lines have {n_cells:,}"
    reason = f"{count}; the header has {n_names:,} {'name' if n_names == 1 else 'names'}"
    is_glued = len(cells) > n_names and tuple(cells[1 - n_names :]) == dialect.header[1:]
    return f"{reason}: the header of another file is joined to its end" if is_glued and n_names > 1 else reason


def is_header(cells: list[str], dialect: Dialect) -> bool:
    """Whether cells repeat the header, even after the byte order mark of a file that was joined to another."""
    return (cells[0].removeprefix("\ufeff"), *cells[1:]) == dialect.header
