"""CSV lines: the records of a CSV file, each with the number of its line; a broken one is told apart, never lost.

pandas fills a short line up, and one stray quote makes it swallow all that follows. Here a record is what the header
says it is, and after a broken line reading goes on with the next one.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# A record with so many line breaks inside its quotes is a quote that was never closed.
MAX_LINES = 1000
# Matches where a quoted cell is still open at the end. A quote opens a cell at its start alone, and two are one.
_OPEN = re.compile(rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"(?:[^",][^,]*+)?|[^",][^,]*+|),)*+"[^"]*+(?:""[^"]*+)*+')


class CsvRecord(NamedTuple):
    """One record of a CSV file, as it stands there."""

    number: int
    """Its first line, counted from 1 with the header."""
    content: bytes

    @property
    def text(self) -> str:
        """What stands there, without the line's end; what is no UTF-8 is escaped."""
        return self.content.decode(errors="backslashreplace").rstrip("\r\n")


class BrokenRecord(NamedTuple):
    """A record that cannot be read, and why."""

    place: int
    """Its place among the records it was read with."""
    reason: str


def read_records(file: Iterable[bytes]) -> Iterator[CsvRecord]:
    """The records of a file, the header's first; blank lines are none."""
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
            # Strictly, because a quote that was forgotten ends at the next cell's, with that cell's text behind it.
            if (found := _width(joined, is_strict=True)) and found == (width or found):
                line, number = joined, number + len(rest)
            else:
                ahead.extendleft(reversed(rest))
        width = width or _width(line, is_strict=False)
        yield CsvRecord(first, line)


def _rest(source: Iterator[bytes], ahead: deque[bytes]) -> list[bytes]:
    """The lines that follow, up to the one in which an open cell is closed."""
    rest: list[bytes] = []
    while len(rest) < MAX_LINES and (line := ahead.popleft() if ahead else next(source, None)) is not None:
        rest.append(line)
        # Where a line begins inside a quoted cell, all is as if the quote stood right before it.
        if b'"' in line and not _is_open(b'"' + line):
            break
    return rest


def _is_open(content: bytes) -> bool:
    return _OPEN.fullmatch(content) is not None


def _width(line: bytes, *, is_strict: bool) -> int:
    """How many cells a record has; 0 where it is none."""
    try:
        return len(split_cells(line, is_strict=is_strict))
    except ValueError:
        return 0


def split_cells(content: bytes, *, is_strict: bool = False) -> list[str]:
    """The cells of a record; raises ValueError, saying what is wrong, where it is none.

    Strictly, nothing but a comma may follow on a closing quote.
    """
    if b'"' in content and _is_open(content):
        raise ValueError("opens a quote that is never closed")
    try:
        (found,) = csv.reader((content.decode(),), strict=is_strict)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at its byte {error.start + 1}") from error
    except csv.Error as error:
        raise ValueError(f"cannot be read: {error}") from error
    return found


def parse_records(lines: list[CsvRecord], width: int) -> tuple[list[list[str]], list[BrokenRecord]]:
    """The cells of each sound record, which has as many as the header, and the broken records."""
    sound: list[list[str]] = []
    broken: list[BrokenRecord] = []
    for place, line in enumerate(lines):
        try:
            found = split_cells(line.content)
        except ValueError as error:
            broken.append(BrokenRecord(place, f"the line {error}"))
            continue
        if len(found) == width:
            sound.append(found)
        else:
            broken.append(BrokenRecord(place, f"the line has {len(found):,} cells; the header has {width:,} names"))
    return sound, broken
