"""The dialect of a text file, found from its first lines."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from training.data.csv_records import CsvRecord, read_csv_records, split_cells
from training.data.dialect import DELIMITERS, Dialect
from training.data.text_files import Packing, open_lines
from training.errors import DataError

# How many records decide the dialect.
SAMPLE = 100
# The share of them that must agree.
MOST = 0.9
_HINT = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# A cell that holds a number, an amount, a date or a time of day: digits, and hardly any letters but a currency code.
_VALUE = re.compile(r"[^\w\[]*(?:[A-Z]{3})?[^\w\[]*\d[\d\s.,:/+\-TZe%]*\W*[A-Z]{0,3}\W*")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+")
_NOTHING = frozenset({"", "-", "--", "?", "n/a", "na", "nan", "none", "null", "(null)", "\\n", "nil", ".", "#n/a"})
_MIN_VALUES = 5


@dataclass(frozen=True)
class _Table:
    """The first records of a file, read with one delimiter."""

    delimiter: str
    is_padded: bool
    records: list[CsvRecord]
    cells: list[list[str]]
    """The cells of each record; an empty list if it cannot be read."""
    usual: int
    """How many cells most records have."""
    header: int
    """The position of the header among the records."""

    @property
    def rank(self) -> tuple[bool, bool, int, bool, int, int]:
        """Greater for a more likely delimiter: the header comes early, and most rows have equally many cells."""
        is_above = _is_above(self.cells[self.header], self.usual)
        n_fitting = sum(len(cells) == self.usual for cells in self.cells[self.header :])
        is_regular = n_fitting >= MOST * len(self.cells[self.header :])
        return self.usual > 1, not is_above, -self.header, is_regular, self.usual, n_fitting


def find_dialect(path: Path, packing: Packing, encoding: str) -> Dialect | None:
    """The dialect of a file; None if it is empty."""
    with open_lines(path, packing, encoding) as lines:
        # A record may span several lines.
        head = list(islice(lines, 3 * SAMPLE))
    hint = _HINT.fullmatch(head[0].decode(errors="replace").strip("\r\n ")) if head else None
    n_hints = 1 if hint else 0
    delimiters = [hint[1]] if hint and hint[1] in DELIMITERS else list(DELIMITERS)
    tables = [table for delimiter in delimiters if (table := _table(head[n_hints:], delimiter, n_hints))]
    if not tables:
        return None
    table = max(tables, key=lambda candidate: candidate.rank)
    return _dialect(table, path, packing, encoding)


def _table(head: list[bytes], delimiter: str, n_before: int) -> _Table | None:
    records = list(islice(read_csv_records(head, delimiter, None, n_before), SAMPLE + 1))
    if not records:
        return None
    is_padded = _is_padded(records, delimiter)
    cells = [_cells(record, delimiter, is_padded=is_padded) for record in records]
    # Of equally frequent widths, the first is taken, which is the header's.
    usual = Counter(map(len, cells)).most_common(1)[0][0]
    return _Table(delimiter, is_padded, records, cells, usual, _header(cells, usual))


def _cells(record: CsvRecord, delimiter: str, *, is_padded: bool) -> list[str]:
    try:
        return split_cells(record.content, delimiter, is_padded=is_padded)
    except ValueError:
        return []


def _is_padded(records: list[CsvRecord], delimiter: str) -> bool:
    """Whether nearly all cells are next to a blank, as in `1, 2, 3` or `| 1 | 2 |`."""
    mark, blank = delimiter.encode(), (delimiter + " ").encode()
    n_delimiters = sum(record.content.count(mark) for record in records)
    n_blanks = sum(record.content.count(blank) for record in records)
    return n_delimiters > 0 and n_blanks >= MOST * n_delimiters


def _header(cells: list[list[str]], usual: int) -> int:
    """The position of the header: the first record or, if titles and notes come first, the first record with names."""
    if not _is_above(cells[0], usual):
        return 0
    for place, names in enumerate(cells):
        if not _is_above(names, usual) and not any(_VALUE.fullmatch(name) for name in names):
            return place
    return 0


def _is_above(cells: list[str], usual: int) -> bool:
    """Whether a line is a title or a note above a table of `usual` columns."""
    return 2 * sum(1 for cell in cells if cell.strip()) <= usual


def _dialect(table: _Table, path: Path, packing: Packing, encoding: str) -> Dialect:
    header = table.cells[table.header]
    rows = [cells for cells in table.cells[table.header + 1 :] if any(cells)]
    _require_names(header, rows, path)
    n_names, n_cells = _widths(header, rows)
    names = _names(header[:n_names], path)
    row_records = table.records[table.header + 1 :]
    number = table.records[table.header].number
    n_lines = table.records[table.header].content.count(b"\n")
    sound = [cells for cells in rows if len(cells) == n_cells]
    is_units = bool(sound) and table.cells[table.header + 1] is sound[0] and _are_units(sound[0], sound[1:])
    return Dialect(
        names=names,
        header=tuple(header),
        n_cells=n_cells,
        delimiter=table.delimiter,
        decimal=_decimal(sound) if table.delimiter != "," else ".",
        is_padded=table.is_padded,
        n_before=number - 1 + max(n_lines, 1),
        n_above=number - 1,
        units_line=row_records[0].number if is_units else 0,
        encoding=encoding,
        packing=packing.kind,
        member=packing.member,
    )


def _require_names(header: list[str], rows: list[list[str]], path: Path) -> None:
    """Raise DataError if rows have one more value than the header has names, as with R's row names."""
    longer = [cells for cells in rows if len(cells) == len(header) + 1 and cells[0].strip() and cells[-1].strip()]
    if len(rows) >= _MIN_VALUES and len(longer) >= MOST * len(rows):
        raise DataError(
            f"{path}: the lines have one cell more than the header has names; add the missing name to the header: at "
            f"its beginning if {longer[0][0]!r} has no name (R does not name its row names), or at its end if "
            f"{longer[0][-1]!r} has none"
        )


def _widths(header: list[str], rows: list[list[str]]) -> tuple[int, int]:
    """How many names there are, and how many cells a row has; either may end in extra delimiters."""
    n_all = len(header)
    n_named = max((place + 1 for place, name in enumerate(header) if name.strip()), default=0)
    n_usual = Counter(map(len, rows)).most_common(1)[0][0] if rows else n_named
    usual = [cells for cells in rows if len(cells) == n_usual]
    n_values = [sum(bool(cells[place].strip()) for cells in usual) for place in range(n_usual)]
    n_names = max([n_named, *(place + 1 for place, n in enumerate(n_values) if n > (1 - MOST) * len(usual))])
    return (n_names, n_usual) if n_names <= min(n_all, n_usual) else (n_all, n_all)


def _names(header: list[str], path: Path) -> tuple[str, ...]:
    """The names of the columns; raises DataError if one is used twice."""
    names = [name.strip() for name in header]
    if names.count("") > 1:
        names = [name or f"column {number}" for number, name in enumerate(names, 1)]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} has more than one column named {', '.join(repeated)}; column names must be unique")
    return tuple(names)


def _decimal(rows: list[list[str]]) -> str:
    """The sign that separates the decimals of numbers: a comma or a point."""
    counts = [0, 0]
    for cell in _flat(rows):
        counts[0] += _DECIMAL_COMMA.fullmatch(cell) is not None
        counts[1] += _DECIMAL_POINT.fullmatch(cell) is not None
    return "," if counts[0] > counts[1] else "."


def _flat(rows: Iterable[list[str]]) -> Iterable[str]:
    return (cell.strip() for cells in rows for cell in cells)


def _are_units(first: list[str], others: list[list[str]]) -> bool:
    """Whether the first row holds units or types: texts in columns in which all other rows hold values."""
    if len(others) < _MIN_VALUES:
        return False
    valued = [place for place in range(len(first)) if _are_values([cells[place] for cells in others])]
    if any(_VALUE.fullmatch(first[place].strip()) for place in valued):
        return False
    n_texts = sum(first[place].strip().lower() not in _NOTHING for place in valued)
    at_least = 2
    return n_texts >= min(at_least, len(valued)) and n_texts > 0


def _are_values(cells: list[str]) -> bool:
    present = [cell.strip() for cell in cells if cell.strip().lower() not in _NOTHING]
    return len(present) >= _MIN_VALUES and all(_VALUE.fullmatch(cell) for cell in present)
