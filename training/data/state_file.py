"""The file with the states of all entities after the checked rows, from which a served history is loaded."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handler.history.store import LAYOUT
from handler.scoring.contract import Contract
from handler.scoring.history import DAY, History, seconds_of
from handler.scoring.past import KEY_BYTES, RequestPast
from training.data.entity_fold import fold_rows, id_hashes
from training.data.past_rows import PastRows, past_row_columns, past_rows
from training.data.split import UNLEARNED, WINDOWS
from training.data.times import day_text, timestamp_text
from training.data.window import GIVEN
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.run.files import BUILD, write_whole
from training.run.processes import Workers

STATES = "state.parquet"
_SCHEMA = pa.schema(
    [("entity", pa.int8()), ("key", pa.binary(KEY_BYTES)), ("state", pa.binary()), ("expires", pa.int64())]
)
_SCORER, _HISTORY, _AS_OF, _LAYOUT = b"scorer", b"history", b"as_of", b"layout"


class StoredState(NamedTuple):
    """One state of the file."""

    entity: int
    """The position of the entity among those that the history declares."""
    key: bytes
    state: bytes
    expires: int
    """When the state expires, in seconds since 1970."""


def declared_history(name: str, contract: Contract) -> History:
    """The history of a contract; raises StageError if it has none."""
    if contract.history is None:
        raise StageError(f"{name} has no history; declare one in params.yaml (docs/history.md), or name another SCORER")
    return contract.history


class Built(NamedTuple):
    """What `write_state_file` wrote."""

    n_rows: int
    n_keys: dict[str, int]
    """How many keys of each entity have a state."""
    n_forgotten: int
    as_of: int
    n_bytes: int


def write_state_file(path: Path, name: str, scorer: ScorerDeclaration, before: int | None, workers: Workers) -> Built:
    """Write the states after the checked rows or, with `before`, after those earlier than that midnight.

    The labels of all these rows count. Raises StageError if there are no such rows.
    """
    contract = scorer.contract
    history = declared_history(name, contract)
    rows = checked_past_rows(BUILD / name / "rows", name, contract, scorer)
    as_of, n_rows = _as_of(rows, history, before)
    rows = rows.at(np.arange(n_rows))
    n_keys, n_forgotten = dict.fromkeys(history.entities, 0), 0
    history_id = history.id_of(contract.fields)
    metadata = {_SCORER: name, _HISTORY: history_id, _AS_OF: str(as_of), _LAYOUT: str(LAYOUT)}
    schema = _SCHEMA.with_metadata(metadata)

    def write(target: Path) -> None:
        nonlocal n_forgotten
        with pq.ParquetWriter(target, schema, compression="zstd", write_page_checksum=True) as writer:
            for folded in fold_rows(rows, contract, workers, scorer=name):
                entities = pa.array([folded.entity] * len(folded.keys), pa.int8())
                columns = [entities, *map(pa.array, (folded.keys, folded.states, folded.expires))]
                table = pa.table(
                    [column.cast(kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], schema
                )
                kept = table.filter(np.array(folded.expires) >= as_of)
                writer.write_table(kept)
                n_keys[list(history.entities)[folded.entity]] += len(kept)
                n_forgotten += len(table) - len(kept)

    write_whole(path, write, durable=True)
    return Built(n_rows, n_keys, n_forgotten, as_of, path.stat().st_size)


def _as_of(rows: PastRows, history: History, before: int | None) -> tuple[int, int]:
    """The time before which all events are known, and how many rows are earlier."""
    time = rows.ticks(history)
    first, last = timestamp_text(float(rows.seconds[0])), timestamp_text(float(rows.seconds[-1]))
    if before is None:
        return int(time[-1]) + seconds_of(history.resolution), len(time)
    n_rows = int(np.searchsorted(time, before))
    if not n_rows:
        raise StageError(f"BEFORE is {day_text(before)}, but the first row is from {first}; name a later day")
    if before - time[-1] > DAY:
        raise StageError(
            f"BEFORE is {day_text(before)}, but the last row is from {last}: live requests in between would be taken "
            f"as already loaded; BEFORE must be {day_text(int(time[-1]) + DAY)} or earlier"
        )
    return before, n_rows


def checked_past_rows(folder: Path, name: str, contract: Contract, scorer: ScorerDeclaration) -> PastRows:
    """The parts of all checked rows from which a scorer's states are computed, in order of time; `name` is its name."""
    history: History = contract.history  # type: ignore[assignment]  # `write_state_file` has checked it
    past = RequestPast(name, contract, history)
    texts, numbers = past_row_columns(history)
    tables, hashes = [], []
    for path in (folder / f"{window}.parquet" for window in (*WINDOWS, UNLEARNED)):
        if not path.exists():
            raise StageError(f"there are no checked rows: {path} does not exist; run `dvc repro`")
        with _readable(path, "run `dvc repro`"), pq.ParquetFile(path, read_dictionary=texts) as file:
            stored = file.schema_arrow.names
            # A field that the history fills in when it is missing is read as the file gave it.
            held = {name: f"{name}{GIVEN}" if f"{name}{GIVEN}" in stored else name for name in numbers}
            columns = list(dict.fromkeys([scorer.time, scorer.label, *texts, *held.values()]))
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=[*columns, *filter(None, [scorer.id])])
                if scorer.id:
                    hashes.append(id_hashes(past, table[scorer.id].to_pylist()))
                arrays = {name: table[held.get(name, name)] for name in (scorer.time, scorer.label, *texts, *numbers)}
                tables.append(pa.table(arrays))
    if not sum(map(len, tables)):
        raise StageError(f"{folder} holds no checked rows; run `dvc repro`")
    ids = np.concatenate(hashes) if hashes else None
    batches = (batch for table in tables for batch in table.to_batches())
    rows = past_rows(batches, history, scorer.time, scorer.label, ids)
    return rows.at(np.argsort(rows.seconds, kind="stable"))


@contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = " ".join(str(error).split())
        raise StageError(f"{path} cannot be read; {remedy}: {reason}") from error


class StateFile:
    """A file of states, as `write_state_file` wrote it."""

    def __init__(self, path: Path, name: str, contract: Contract) -> None:
        """Read the file's metadata; raises StageError if it is absent, damaged or of another scorer or history."""
        history_id = declared_history(name, contract).id_of(contract.fields)
        self.path = path
        self._remedy = f"rebuild it (make history SCORER={name})"
        if not path.is_file():
            raise StageError(f"{path} does not exist; build it (make history SCORER={name})")
        with self._read(), pq.ParquetFile(path) as file:
            metadata, self.n_keys = file.schema_arrow.metadata or {}, file.metadata.num_rows
        if not {_SCORER, _HISTORY, _AS_OF} <= metadata.keys():
            raise StageError(f"{path} holds no states of a history; {self._remedy}")
        if (other := metadata[_SCORER].decode()) != name:
            raise StageError(f"{path} was built for scorer {other}, not for {name}; {self._remedy}")
        if (other := metadata[_HISTORY].decode()) != history_id:
            raise StageError(f"{path} was built for history {other}, but {name} has {history_id}; {self._remedy}")
        if metadata.get(_LAYOUT) != str(LAYOUT).encode():
            raise StageError(f"{path} was built by another version of this project; {self._remedy}")
        self.as_of = int(metadata[_AS_OF])
        """The states know no event at or after this time, in seconds since 1970."""

    def states(self, size: int) -> Iterator[list[StoredState]]:
        """All states, at most `size` at once, always in the same order; raises StageError if the file is damaged."""
        with self._read(), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(size, columns=_SCHEMA.names, use_threads=False):
                yield list(map(StoredState, *(column.to_pylist() for column in batch.columns)))

    def _read(self) -> AbstractContextManager[None]:
        return _readable(self.path, self._remedy)
