"""The declared data of a scorer (a .csv or .parquet file, or a folder of them), checked a chunk at a time."""

from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from handler.scoring.fields import NUMERIC_TYPES, STRING_TYPES
from training.data.column_checks import REPEATED, as_text
from training.data.input_files import InputFile, are_whole, read_input_files, require_columns
from training.data.row_checks import (
    REJECTED_COLUMNS,
    check_each_row,
    declared_columns,
    require_few_bad_rows,
    sampled_rows,
)
from training.data.row_reader import (
    Chunk,
    ChunkRows,
    chunks_of,
    frame_of,
    lines_of,
    n_chunks,
    read_chunk,
    with_decimal_points,
)
from training.data.set_aside import LinesByKind, joined_lines, kind_of, lines_by_kind, set_aside_sentences
from training.data.times import time_is_number
from training.data.written_keys import decimal_keys, with_numbers
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.run.processes import Task, Workers
from training.run.progress import say


class RereadRows(NamedTuple):
    """Rows that were read a second time, unchecked."""

    rows: pd.DataFrame
    """Indexed by their position among all rows."""
    part: int
    first: int
    """The position among all rows of the first row of their file."""


@dataclass(frozen=True)
class CheckedChunk:
    """The rows of a chunk, checked."""

    n_rows: int
    """How many rows it had, including those that were not sampled and the broken ones."""
    n_drawn: int
    clean: pd.DataFrame
    """The sound rows, typed, indexed by their position among all rows."""
    ids: pd.Series | None
    """The ids of all rows, sound or not."""
    quarantined: pd.DataFrame
    """The other rows, unchanged, with their reasons."""
    counts: Counter[str]
    part: int = 0
    first: int = 0
    """The position among all rows of the first row of its file."""
    lines: LinesByKind = field(default_factory=dict)
    """The lines that are not rows, sampled or not."""

    def __len__(self) -> int:
        """How many rows the chunk had."""
        return self.n_rows


@dataclass(frozen=True)
class Source:
    """The files, and what depends on all of their rows."""

    parts: Sequence[InputFile]
    scorer: ScorerDeclaration
    is_number: bool
    """Whether times are seconds, not dates, as decided by the first rows."""
    fractions: frozenset[str]
    """The columns of identifying numbers that are not all whole."""
    decimals: frozenset[str] = frozenset()
    """The key columns in which a text file writes whole numbers with decimals, such as 17.0."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in order."""
        return chunks_of(self.parts, self.scorer.compute.chunk_rows, declared_columns(self.scorer))

    def rows(self, chunk: Chunk) -> ChunkRows:
        """The rows of a chunk that can be read, and those that cannot."""
        part = self.parts[chunk.part]
        rows = read_chunk(chunk.content, part)
        numbers = [name for name, declared in self.scorer.fields.items() if declared.type in NUMERIC_TYPES]
        return replace(rows, table=with_decimal_points(rows.table, part, {*numbers, *self.decimals}))

    def frame(self, rows: ChunkRows) -> pd.DataFrame:
        """The declared columns of rows, indexed by their position in their chunk."""
        frame = with_numbers(frame_of(rows.table.select(declared_columns(self.scorer)), self.fractions), self.decimals)
        return frame.set_axis(pd.Index(rows.places), axis="index")

    def rows_at(self, places: npt.NDArray[np.int64]) -> Iterator[RereadRows]:
        """The unchecked rows at `places`, ascending positions among all rows; the rows of one chunk together."""
        offset = 0
        for chunk in self.chunks() if len(places) else ():
            end = offset + len(chunk.content)
            wanted = places[np.searchsorted(places, offset) : np.searchsorted(places, end)]
            if len(wanted):
                rows = _with_lines(self.frame(self.rows(chunk)).loc[wanted - offset], chunk)
                yield RereadRows(rows.set_axis(pd.Index(wanted), axis="index"), chunk.part, offset - chunk.first + 1)
            offset = end


def open_source(scorer: ScorerDeclaration) -> Source:
    """The declared data of a scorer.

    Raises DataError if a file cannot be read, lacks a column, or has other columns than the first file.
    """
    path = Path(scorer.data)
    parts, columns = read_input_files(path), declared_columns(scorer)
    require_columns(parts[0], columns)
    if clashing := set(columns) & set(REJECTED_COLUMNS):
        raise DataError(
            f"column {', '.join(clashing)} of {path} clashes with a column of quarantine.csv; rename it in the data "
            "and in params.yaml"
        )
    texts = [name for name, declared in scorer.fields.items() if declared.type in STRING_TYPES]
    texts += filter(None, (scorer.id, scorer.entity))
    # Keys are excepted, because they are read cell by cell.
    texts = [name for name in texts if name not in scorer.contract.keys]
    numbers = [name for name in texts if pa.types.is_floating(parts[0].schema.field(name).type)]
    fractions = frozenset(name for name in numbers if not are_whole(parts, name))
    chunks = chunks_of(parts, scorer.compute.chunk_rows, columns)
    decimals = decimal_keys(parts, scorer.contract.keys, scorer.compute.chunk_rows)
    return Source(parts, scorer, _is_number(chunks, parts, scorer), fractions, decimals)


def _is_number(chunks: Iterator[Chunk], parts: Sequence[InputFile], scorer: ScorerDeclaration) -> bool:
    """Whether times are seconds, as decided by the first chunk with a readable time.

    Raises DataError if no time can be read, or there are no rows.
    """
    unreadable, broken = None, ""
    for chunk in chunks:
        rows = read_chunk(chunk.content, parts[chunk.part])
        broken = broken or next(iter(rows.broken.values()), "")
        times = frame_of(rows.table.select([scorer.time]))[scorer.time]
        if len(times):
            try:
                return time_is_number(times)
            except DataError as error:
                unreadable = unreadable or error
    reason = f"holds no row that can be read; for example, {broken}" if broken else "holds no rows"
    raise unreadable or DataError(f"{scorer.data} {reason}")


def read_checked(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The sound rows of a scorer's data in memory, those that `prepare` keeps, indexed by their position in the data.

    Raises DataError if a file cannot be read, a label is wrong, or too many rows are bad.
    """
    source = open_source(scorer)
    chunks = list(check_source(source, Workers(scorer.compute, 1)))
    for text in set_aside_sentences(joined_lines(chunk.lines for chunk in chunks), n_files=len(source.parts)):
        say(f"{scorer.data}: {text}")
    clean = pd.concat([chunk.clean for chunk in chunks])
    counts = sum((chunk.counts for chunk in chunks), Counter[str]())
    if scorer.id:
        ids = pd.concat([chunk.ids for chunk in chunks])
        is_repeated = (ids.notna() & ids.duplicated()).loc[clean.index]
        counts += Counter({f"{scorer.id}: {REPEATED}": int(is_repeated.sum())})
        clean = clean[~is_repeated]
    n_rows = sum(chunk.n_drawn for chunk in chunks)
    require_few_bad_rows(n_rows, n_rows - len(clean), counts, scorer)
    return clean


def check_source(source: Source, workers: Workers) -> Iterator[CheckedChunk]:
    """The chunks of a source, checked, in order; raises DataError if a label is wrong or a file is damaged."""
    parts: deque[int] = deque()

    def tasks() -> Iterator[Task]:
        offset = 0
        for chunk in source.chunks():
            parts.append(chunk.part)
            # A task needs only one of perhaps thousands of files.
            single = replace(source, parts=(source.parts[chunk.part],))
            yield check_chunk, single, replace(chunk, part=0), offset
            offset += len(chunk.content)

    n_rows = sum(part.n_rows for part in source.parts)
    n_tasks = n_chunks(source.parts, source.scorer.compute.chunk_rows)
    for checked in workers.spread(tasks(), "rows checked", n_tasks=n_tasks, n_rows=n_rows):
        yield replace(checked, part=parts.popleft())


def check_chunk(source: Source, chunk: Chunk, offset: int) -> CheckedChunk:
    """One chunk of a source, its rows checked; `offset` is how many rows came before it."""
    scorer, n_rows = source.scorer, len(chunk.content)
    chunk_rows = scorer.compute.chunk_rows
    read = source.rows(chunk)
    # The sample depends only on the positions of rows, among which broken lines count too.
    drawn = sampled_rows(pd.DataFrame(index=range(n_rows)), scorer, offset).index
    rows = source.frame(read)
    rows = rows[rows.index.isin(drawn)]
    try:
        checked = checked_chunk(rows, scorer, source.is_number)
    except DataError as error:
        where = f", rows {chunk.first:,} to {chunk.first + n_rows - 1:,}" if offset or n_rows == chunk_rows else ""
        raise DataError(f"{source.parts[chunk.part].path}{where}: {error}") from error
    broken = {place: reason for place, reason in read.broken.items() if place in drawn}
    if broken:
        unread = pd.DataFrame({"rejected_because": broken}, columns=checked.quarantined.columns, dtype=object)
        quarantined = pd.concat([checked.quarantined.astype(object), unread]).sort_index()
        counts = checked.counts + Counter(map(kind_of, broken.values()))
        checked = replace(checked, quarantined=quarantined, counts=counts)
    checked = replace(checked, quarantined=_with_lines(checked.quarantined, chunk, broken))
    for part in (checked.clean, checked.ids, checked.quarantined):
        if part is not None:
            part.index += offset
    lines = lines_by_kind(lines_of(chunk, read, source.parts[chunk.part]))
    return replace(checked, n_rows=n_rows, n_drawn=len(drawn), first=offset - chunk.first + 1, lines=lines)


def _with_lines(rows: pd.DataFrame, chunk: Chunk, broken: Container[int] = ()) -> pd.DataFrame:
    """Rows by their position in a chunk; those of a CSV get their line number and, if broken, the line itself."""
    if isinstance(chunk.content, pa.Table):
        return rows
    records = [(place, chunk.content[place]) for place in rows.index]
    numbers = [str(record.number) for _, record in records]
    texts = [record.text if place in broken else "" for place, record in records]
    return rows.assign(rejected_line=numbers, rejected_text=texts)


def checked_chunk(rows: pd.DataFrame, scorer: ScorerDeclaration, is_number: bool) -> CheckedChunk:  # noqa: FBT001 - as `check_each_row`
    """Rows in memory as a checked chunk."""
    checked = check_each_row(rows, scorer, is_number)
    ids = as_text(rows[scorer.id]) if scorer.id else None
    return CheckedChunk(len(rows), len(rows), checked.clean, ids, checked.quarantined, Counter(checked.counts))
