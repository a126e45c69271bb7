"""Sentences about the lines of a file that are not rows: how many there are, where the first is, and why."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from training.data.csv_records import BROKEN, EMPTY, NO_ROWS, REPEATED_HEADER, UNITS

_WORDS = {
    BROKEN: ("is broken", "are broken"),
    REPEATED_HEADER: ("repeats the header", "repeat the header"),
    UNITS: ("holds units instead of values", "hold units instead of values"),
    EMPTY: ("has no value", "have no value"),
}


class Line(NamedTuple):
    """A line that is not a row."""

    file: str
    number: int
    reason: str


class Lines(NamedTuple):
    """Lines of one kind."""

    n: int
    file: str
    """The file of the first line; `number` and `reason` are those of this line too."""
    number: int
    reason: str


LinesByKind = dict[str, Lines]


def kind_of(reason: str) -> str:
    """The kind of a line that is not a row: the reason itself if it is one of NO_ROWS, else BROKEN."""
    return reason if reason in NO_ROWS else BROKEN


def lines_by_kind(lines: Iterable[Line]) -> LinesByKind:
    """The lines that were set aside, counted by kind."""
    counted: LinesByKind = {}
    for line in lines:
        first = counted.get(kind_of(line.reason), Lines(0, *line))
        counted[kind_of(line.reason)] = first._replace(n=first.n + 1)
    return counted


def joined_lines(parts: Iterable[Mapping[str, Lines]]) -> LinesByKind:
    """The lines that several chunks have set aside, in order, counted by kind."""
    counted: LinesByKind = {}
    for part in parts:
        for kind, lines in part.items():
            counted[kind] = counted.get(kind, lines._replace(n=0))
            counted[kind] = counted[kind]._replace(n=counted[kind].n + lines.n)
    return counted


def set_aside_sentences(lines: Mapping[str, Lines], *, n_files: int = 1) -> list[str]:
    """One sentence for each kind of line that is set aside."""
    texts = []
    for kind, (n, file, number, reason) in lines.items():
        where = f"line {number:,}" + (f" of {file}" if n_files > 1 else "")
        why = f": {reason}" if kind == BROKEN else ""
        if n == 1:
            texts.append(f"{where} {_WORDS[kind][0]} and is set aside{why}")
        else:
            texts.append(f"{n:,} lines {_WORDS[kind][1]} and are set aside, the first is {where}{why}")
    return texts
