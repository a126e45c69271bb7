"""Source: the declared data, a .csv or .parquet file or a folder of them, checked a chunk at a time."""

from collections import Counter, deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from handler.scoring.contract import STRING_TYPES
from training.data.chunks import Chunk, ChunkRows, chunks_of, n_chunks, read_chunk
from training.data.column_checks import as_text, require_columns
from training.data.frames import frame_of
from training.data.input_files import InputError, InputFile, are_whole, read_input_files
from training.data.row_checks import REJECTED_COLUMNS, check_columns, columns_of, sample_of
from training.data.times import time_is_number
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.run.processes import Task, Workers


class RereadRows(NamedTuple):
    """Rows that were read once more, as they came."""

    rows: pd.DataFrame
    """By their place among all rows."""
    part: int
    first: int
    """The place among all rows of the first one of their file."""


@dataclass(frozen=True)
class CheckedChunk:
    """What came of a chunk."""

    n_rows: int
    """How many rows it had, those that were not drawn and the broken ones too."""
    n_drawn: int
    clean: pd.DataFrame
    """The sound rows, typed, by their place among all rows."""
    ids: pd.Series | None
    """Those of all rows, sound or not."""
    quarantined: pd.DataFrame
    """The others as they came, with their reasons."""
    counts: Counter[str]
    part: int = 0
    first: int = 0
    """The place among all rows of the first one of its file."""

    def __len__(self) -> int:
        """How many rows the chunk had."""
        return self.n_rows


@dataclass(frozen=True)
class Source:
    """The files, and what must be known of all rows before one is read."""

    parts: Sequence[InputFile]
    scorer: ScorerDeclaration
    is_number: bool
    """Whether times are seconds, not dates, as the first rows have it."""
    fractions: frozenset[str]
    """The columns that name things by numbers of which some are not whole."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in order."""
        return chunks_of(self.parts, self.scorer.compute.chunk_rows, columns_of(self.scorer))

    def rows(self, chunk: Chunk) -> ChunkRows:
        """The rows of a chunk that can be read, and those that cannot."""
        return read_chunk(chunk.content, self.parts[chunk.part].schema)

    def frame(self, rows: ChunkRows) -> pd.DataFrame:
        """The declared columns of rows, by their place in their chunk."""
        found = frame_of(rows.table.select(columns_of(self.scorer)), self.fractions)
        return found.set_axis(pd.Index(rows.places), axis="index")

    def rows_at(self, places: npt.NDArray[np.int64]) -> Iterator[RereadRows]:
        """The rows at some places among all, which must rise, as they came; a chunk's at a time."""
        offset = 0
        for chunk in self.chunks() if len(places) else ():
            end = offset + len(chunk.content)
            if len(here := places[np.searchsorted(places, offset) : np.searchsorted(places, end)]):
                rows = _with_lines(self.frame(self.rows(chunk)).loc[here - offset], chunk)
                yield RereadRows(rows.set_axis(pd.Index(here), axis="index"), chunk.part, offset - chunk.first + 1)
            offset = end


def open_source(scorer: ScorerDeclaration) -> Source:
    """The declared data of a scorer.

    Raises DataError or InputError where a file cannot be read, lacks a column, or has others than the first.
    """
    path = Path(scorer.data)
    parts, columns = read_input_files(path), columns_of(scorer)
    require_columns(parts[0].path, parts[0].schema.names, columns)
    if clashing := set(columns) & set(REJECTED_COLUMNS):
        raise DataError(f"{path} has a column {', '.join(clashing)}, as quarantine.csv has; rename it in both places")
    texts = [name for name, field in scorer.fields.items() if field.type in STRING_TYPES]
    texts += filter(None, (scorer.id, scorer.entity))
    numbers = [name for name in texts if pa.types.is_floating(parts[0].schema.field(name).type)]
    fractions = frozenset(name for name in numbers if not are_whole(parts, name))
    chunks = chunks_of(parts, scorer.compute.chunk_rows, columns)
    return Source(parts, scorer, _is_number(chunks, parts, scorer), fractions)


def _is_number(chunks: Iterator[Chunk], parts: Sequence[InputFile], scorer: ScorerDeclaration) -> bool:
    """Whether times are seconds, as the first chunk with a readable time has it.

    Raises DataError where there is none, InputError where there are no rows.
    """
    unreadable, broken = None, ""
    for chunk in chunks:
        rows = read_chunk(chunk.content, parts[chunk.part].schema)
        broken = broken or next(iter(rows.broken.values()), "")
        times = frame_of(rows.table.select([scorer.time]))[scorer.time]
        if len(times):
            try:
                return time_is_number(times)
            except DataError as error:
                unreadable = unreadable or error
    none = f"holds no row that can be read: {broken}, for one" if broken else "holds no rows"
    raise unreadable or InputError(f"{scorer.data} {none}")


def check_source(source: Source, workers: Workers) -> Iterator[CheckedChunk]:
    """Its chunks, checked, in order; raises DataError where a label is wrong, InputError where a file is damaged."""
    parts: deque[int] = deque()

    def tasks() -> Iterator[Task]:
        offset = 0
        for chunk in source.chunks():
            parts.append(chunk.part)
            # Of thousands of files a task needs one.
            own = replace(source, parts=(source.parts[chunk.part],))
            yield check_chunk, own, replace(chunk, part=0), offset
            offset += len(chunk.content)

    n_rows = sum(part.n_rows for part in source.parts)
    n_tasks = n_chunks(source.parts, source.scorer.compute.chunk_rows)
    for found in workers.spread(tasks(), "rows checked", n_tasks=n_tasks, n_rows=n_rows):
        yield replace(found, part=parts.popleft())


def check_chunk(source: Source, chunk: Chunk, offset: int) -> CheckedChunk:
    """What comes of a chunk; `offset` is how many rows came before it."""
    scorer, n_rows = source.scorer, len(chunk.content)
    chunk_rows = scorer.compute.chunk_rows
    read = source.rows(chunk)
    # Which rows are drawn depends on their places alone, those of broken lines among them.
    drawn = sample_of(pd.DataFrame(index=range(n_rows)), scorer, offset).index
    rows = source.frame(read)
    rows = rows[rows.index.isin(drawn)]
    try:
        found = checked_chunk(rows, scorer, source.is_number)
    except DataError as error:
        where = f", rows {chunk.first:,} to {chunk.first + n_rows - 1:,}" if offset or n_rows == chunk_rows else ""
        raise DataError(f"{source.parts[chunk.part].path}{where}: {error}") from error
    broken = {place: reason for place, reason in read.broken.items() if place in drawn}
    if broken:
        columns = found.quarantined.columns
        unread = pd.DataFrame({"rejected_because": broken}, columns=columns, dtype=object)
        quarantined = pd.concat([found.quarantined.astype(object), unread]).sort_index()
        counts = found.counts + Counter({"the line is broken": len(broken)})
        found = replace(found, quarantined=quarantined, counts=counts)
    found = replace(found, quarantined=_with_lines(found.quarantined, chunk, broken))
    for one in (found.clean, found.ids, found.quarantined):
        if one is not None:
            one.index += offset
    return replace(found, n_rows=n_rows, n_drawn=len(drawn), first=offset - chunk.first + 1)


def _with_lines(rows: pd.DataFrame, chunk: Chunk, broken: Container[int] = ()) -> pd.DataFrame:
    """Rows by their place in a chunk; those of a CSV with the number of their line and, of a broken one, its text."""
    if isinstance(chunk.content, pa.Table):
        return rows
    lines = [(place, chunk.content[place]) for place in rows.index]
    numbers, texts = [str(line.number) for _, line in lines], [line.text if at in broken else "" for at, line in lines]
    return rows.assign(rejected_line=numbers, rejected_text=texts)


def checked_chunk(rows: pd.DataFrame, scorer: ScorerDeclaration, is_number: bool) -> CheckedChunk:  # noqa: FBT001 - as `check_columns`
    """What comes of rows that are a chunk of their own."""
    checked = check_columns(rows, scorer, is_number)
    ids = as_text(rows[scorer.id]) if scorer.id else None
    return CheckedChunk(len(rows), len(rows), checked.clean, ids, checked.quarantined, Counter(checked.counts))
