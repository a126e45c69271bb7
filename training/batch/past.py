"""The history features of a file's rows, computed in order of time over all chunks."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from handler.history.sqlite import check_layout
from handler.scoring.contract import Contract
from handler.scoring.entity_state import StateError
from handler.scoring.history import History
from handler.scoring.times import iso_text
from training.batch.answers import checked_requests
from training.batch.chunk import PAST_VALUES, ScoringJob, field_columns, scorer_of
from training.data.entity_fold import Stored, fold_rows, id_hashes, stored_keys
from training.data.input_files import InputFile
from training.data.near_names import near_file
from training.data.past_rows import Integers, PastRows, past_row_columns, past_rows
from training.data.row_reader import Chunk, chunks_of, n_chunks, read_chunk
from training.data.state_file import StateFile
from training.errors import StageError, counted
from training.run.files import write_bytes, write_whole
from training.run.processes import Task, Workers

# A file in the run's folder: where the features of each chunk's rows begin; it marks PAST_VALUES as complete.
PLACES = "past.json"
_SQLITE, _PARQUET = b"SQLite format 3\0", b"PAR1"
_STATES_A_BATCH = 10_000
_FIRST, _LATE = "first", "late"


def past_identity(path: str) -> list[Any]:
    """What identifies a past: the hash of a file of states, or the path, size and last change of a history in use.

    Raises StageError if it is neither.
    """
    if not path:
        return []
    kind = _kind(Path(path))
    if kind == _PARQUET:
        with Path(path).open("rb") as file:
            return [file_digest(file, "sha256").hexdigest()]
    written = [Path(name) for name in (path, f"{path}-wal") if Path(name).exists()]
    return [str(Path(path).resolve()), *((file.stat().st_size, file.stat().st_mtime_ns) for file in written)]


def _kind(path: Path) -> bytes:
    if not path.is_file():
        raise StageError(f"PAST is {path}, which does not exist{near_file(path)}")
    with path.open("rb") as file:
        begin = file.read(len(_SQLITE))
    for kind in (_SQLITE, _PARQUET):
        if begin.startswith(kind):
            return kind
    raise StageError(f"PAST is {path}; it must be a state.parquet of make history, or the history.db of a function")


class ScoredPast(NamedTuple):
    """The positions of the history features of all rows in PAST_VALUES, and a warning."""

    first: Mapping[str, int]
    """By chunk, the position of its first row."""
    warning: str
    """A warning about rows that the past may contain already; "" if there are none."""


def complete_past(
    parts: Sequence[InputFile], chunk_rows: int, job: ScoringJob, name: str, workers: Workers
) -> ScoredPast:
    """Compute the history features of all rows, unless an earlier run has done so.

    Raises StageError if the past cannot be read, or belongs to another history.
    """
    places = job.run / PLACES
    if not places.exists():
        first, late = _complete(parts, chunk_rows, job, name, workers)
        write_bytes(places, json.dumps({_FIRST: first, _LATE: late}).encode(), durable=True)
    content = json.loads(places.read_bytes())
    return ScoredPast(content[_FIRST], content[_LATE])


def _complete(
    parts: Sequence[InputFile], chunk_rows: int, job: ScoringJob, name: str, workers: Workers
) -> tuple[dict[str, int], str]:
    contract = scorer_of(job).contract
    history: History = contract.history  # type: ignore[assignment]  # only scorers with one come here
    names = list[str]()

    def tasks() -> Iterator[Task]:
        for chunk in chunks_of(parts, chunk_rows):
            names.append(chunk.name)
            yield read_past, chunk, parts[chunk.part], job

    counts = {"n_tasks": n_chunks(parts, chunk_rows), "n_rows": sum(part.n_rows for part in parts)}
    read = list(workers.spread(tasks(), "rows read", **counts, size=lambda rows: rows.n_rows))
    starts = np.concatenate([[0], np.cumsum([rows.n_rows for rows in read])]).tolist()
    if not any(len(rows.places) for rows in read):
        return {}, ""
    places = np.concatenate([rows.places + start for rows, start in zip(read, starts, strict=False)])
    batches = [batch for rows in read for batch in rows.table.to_batches()]
    del read
    has_ids = _ID in batches[0].schema.names
    ids = np.concatenate([batch[_ID].to_numpy() for batch in batches]) if has_ids else None
    rows = past_rows(batches, history, str(contract.time), ids=ids)
    del batches
    order = np.argsort(rows.seconds, kind="stable")
    rows, places = rows.at(order), places[order]
    late = np.zeros(len(rows.seconds), bool)
    with _stored(job.past, name, rows, contract) as (stored, as_of):

        def write(path: Path) -> None:
            shape = (starts[-1], len(history.features))
            values = np.lib.format.open_memmap(path, "w+", np.float64, shape)
            values[:] = np.nan
            columns = {feature: place for place, feature in enumerate(history.features)}
            numbers = [[columns[f] for f in history.features_of(entity)] for entity in history.entities]
            for folded in fold_rows(rows, contract, workers, scorer=name, stored=stored, is_read=True):
                values[np.ix_(places[folded.places], numbers[folded.entity])] = folded.features
                late[folded.late] = True
            values.flush()

        write_whole(job.run / PAST_VALUES, write, durable=True)
    if as_of is not None:
        late = rows.ticks(history) < as_of
    return dict(zip(names, starts, strict=False)), _late_text(int(late.sum()), job.past, as_of)


def _late_text(n_late: int, past: str, as_of: int | None) -> str:
    if not n_late:
        return ""
    when = f"not later than the events that {past} has of the same key"
    if as_of is not None:
        when = f"before {iso_text(as_of)}, the as-of time of {past}"
    are = counted(n_late, "row is", "rows are")
    return f"{are} {when}; such a row counts after all events of {past}, and twice if it is among them"


class ReadRows(NamedTuple):
    """What a history reads from the valid rows of a chunk."""

    table: pa.Table
    places: Integers
    """The position of each row in the chunk's table."""
    n_rows: int
    """How many rows the chunk's table has, including rejected ones."""


_ID = "id hash"


def read_past(chunk: Chunk, part: InputFile, job: ScoringJob) -> ReadRows:
    """What a history reads from the valid rows of a chunk."""
    rows, scorer = read_chunk(chunk.content, part), scorer_of(job)
    contract = scorer.contract
    history: History = contract.history  # type: ignore[assignment]  # only scorers with one come here
    requests, _ = checked_requests(field_columns(rows.table, part, job, contract), contract, job.now)
    texts, numbers = past_row_columns(history)
    columns: dict[str, pa.Array] = {str(contract.time): pa.array(requests[contract.time], pa.float64())}
    columns |= {name: pa.array(requests[name], pa.string(), from_pandas=True).dictionary_encode() for name in texts}
    columns |= {name: pa.array(requests[name].to_numpy(np.float64)) for name in numbers}
    if contract.id in requests and scorer.past:
        ids = requests[contract.id].to_numpy(dtype=object, na_value=None).tolist()
        columns[_ID] = pa.array(id_hashes(scorer.past, ids))
    return ReadRows(pa.table(columns), requests.index.to_numpy(np.int64), rows.table.num_rows)


@contextmanager
def _stored(past: str, name: str, rows: PastRows, contract: Contract) -> Iterator[tuple[Stored | None, int | None]]:
    """The states before the rows, and their as-of time, which is None if it is not known.

    Raises StageError if they cannot be read.
    """
    if not past:
        yield None, None
        return
    try:
        if _kind(Path(past)) == _SQLITE:
            # Opened for reading only, in one transaction, so all reads see the same moment.
            address = f"{Path(past).resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
                connection.execute("BEGIN")
                check_layout(connection)
                yield _reader(connection), None
            return
        file = StateFile(Path(past), name, contract)
        # A temporary database, which SQLite removes when it is closed.
        with closing(sqlite3.connect("", isolation_level=None)) as connection:
            _copy(file, stored_keys(rows, name, contract), connection)
            yield _reader(connection), file.as_of
    except (sqlite3.Error, StateError) as error:
        raise StageError(f"PAST is {past}, which cannot be read: {error}") from error


def _copy(file: StateFile, wanted: set[bytes], connection: sqlite3.Connection) -> None:
    """Copy the wanted states of a file to a database, which finds them without holding all in memory."""
    connection.execute("CREATE TABLE states (key BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID")
    for states in file.states(_STATES_A_BATCH):
        kept = [(state.key, state.state) for state in states if state.key in wanted]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO states VALUES (?, ?)", kept)
        connection.execute("COMMIT")


def _reader(connection: sqlite3.Connection) -> Stored:
    def stored(keys: list[bytes]) -> list[bytes | None]:
        rows = (connection.execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone() for key in keys)
        return [row[0] if row else None for row in rows]

    return stored
