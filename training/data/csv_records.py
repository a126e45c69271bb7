"""The records of a CSV file, each with its line number; broken ones are reported, never lost.

pandas pads short lines, and a stray quote makes it swallow all lines that follow. Here a record must have as many
cells as the header, and reading continues after a broken line.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# A quoted cell with as many line breaks is a quote that was never closed.
MAX_LINES = 1000
# Matches content that ends inside a quoted cell. Only a quote at the start of a cell opens it; two quotes are one.
_OPEN = re.compile(rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"(?:[^",][^,]*+)?|[^",][^,]*+|),)*+"[^"]*+(?:""[^"]*+)*+')


class CsvRecord(NamedTuple):
    """One record of a CSV file, unparsed."""

    number: int
    """Its first line, counted from 1 with the header."""
    content: bytes

    @property
    def text(self) -> str:
        """The record as text, without its line break; bytes that are not UTF-8 are escaped."""
        return self.content.decode(errors="backslashreplace").rstrip("\r\n")


class BrokenRecord(NamedTuple):
    """A record that cannot be read, and the reason."""

    place: int
    """Its position among the records that it was parsed with."""
    reason: str


def read_records(file: Iterable[bytes]) -> Iterator[CsvRecord]:
    """The records of a file, the header first; blank lines are skipped."""
    source, ahead, number, width = iter(file), deque[bytes](), 0, 0
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        number += 1
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not line.strip():
            continue
        first = number
        if b'"' in line and _is_open(line):
            rest = _rest(source, ahead)
            joined = b"".join((line, *rest))
            # Strictly, because a forgotten quote ends at the next cell's opening quote, followed by that cell's text.
            if (joined_width := _width(joined, is_strict=True)) and joined_width == (width or joined_width):
                line, number = joined, number + len(rest)
            else:
                ahead.extendleft(reversed(rest))
        width = width or _width(line, is_strict=False)
        yield CsvRecord(first, line)


def _rest(source: Iterator[bytes], ahead: deque[bytes]) -> list[bytes]:
    """The following lines, up to the one in which an open cell is closed."""
    rest: list[bytes] = []
    while len(rest) < MAX_LINES and (line := ahead.popleft() if ahead else next(source, None)) is not None:
        rest.append(line)
        # A line that begins inside a quoted cell is read as if the quote stood right before it.
        if b'"' in line and not _is_open(b'"' + line):
            break
    return rest


def _is_open(content: bytes) -> bool:
    return _OPEN.fullmatch(content) is not None


def _width(line: bytes, *, is_strict: bool) -> int:
    """How many cells a record has; 0 where it cannot be read."""
    try:
        return len(split_cells(line, is_strict=is_strict))
    except ValueError:
        return 0


def split_cells(content: bytes, *, is_strict: bool = False) -> list[str]:
    """The cells of a record; raises ValueError with the reason where it cannot be read.

    With `is_strict` a closing quote must be followed by a comma.
    """
    if b'"' in content and _is_open(content):
        raise ValueError("opens a quote that is never closed")
    try:
        (cells,) = csv.reader((content.decode(),), strict=is_strict)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at its byte {error.start + 1}") from error
    except csv.Error as error:
        raise ValueError(f"cannot be read: {error}") from error
    return cells


def parse_records(lines: list[CsvRecord], width: int) -> tuple[list[list[str]], list[BrokenRecord]]:
    """The cells of each sound record, which has as many as the header, and the broken records."""
    sound: list[list[str]] = []
    broken: list[BrokenRecord] = []
    for place, line in enumerate(lines):
        try:
            cells = split_cells(line.content)
        except ValueError as error:
            broken.append(BrokenRecord(place, f"the line {error}"))
            continue
        if len(cells) == width:
            sound.append(cells)
        else:
            broken.append(BrokenRecord(place, f"the line has {len(cells):,} cells; the header has {width:,} names"))
    return sound, broken
