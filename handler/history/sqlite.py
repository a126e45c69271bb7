"""The past of entities in one SQLite file, which several workers of one machine share.

A request reads the states of its entities, computes its features, adds itself and commits: in one transaction, so that
no event is lost. Source of the settings: https://www.sqlite.org/wal.html.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import urandom
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from handler.history.store import LAYOUT, PastStore, Values, unanswered, week_end
from handler.scoring.entity_state import NONE, EntityPast, State
from handler.scoring.past import KEY_BYTES, KeyedEvent, RequestPast

# No index tells what is forgotten: each would cost every request as much as its states do. Of states, a table with row
# numbers, because without them what is longer than a quarter of a page is moved to other pages by each change.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, expires INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER, entity INTEGER, key BLOB NOT NULL, time INTEGER NOT NULL, expires INTEGER NOT NULL,
    is_settled INTEGER NOT NULL, PRIMARY KEY (id, entity)
) WITHOUT ROWID
"""
# How long a start waits for other writers, and how long a request waits until it tries again.
START_SECONDS, RETRY_SECONDS = 5.0, 0.0003
# How many keys are changed in one transaction: other writers wait for it. Then they are let in for so long.
BATCH_KEYS, PAUSE_BETWEEN_SECONDS = 20, 2 * RETRY_SECONDS
# Every so many writes so many rows of each table are looked at, in the order of their keys, and those forgotten are
# removed: more than can have been added meanwhile, so that sooner or later all are.
WRITES_A_SWEEP, SWEPT = 500, 1_000
_SWEPT_TABLES: dict[str, tuple[str, Any]] = {"states": ("key", b""), "requests": ("id", -(2**63))}
_END_OF_SWEEP = "SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?)"
_FORGOTTEN = "SELECT {key} FROM {table} WHERE {key} > ? AND {key} <= ? AND expires < ?"
_SWEEP = "DELETE FROM {table} WHERE {key} = ? AND expires < ?"

# 32 MB of pages, as the log of writes may grow.
LOG_PAGES = 8_000


class HistoryFileError(ValueError):
    """Raised at the start where the file cannot hold the history."""


class SqliteHistory(PastStore):
    """A file of states by key."""

    def __init__(self, path: str, budget_ms: int) -> None:
        """Open or create the file; raises HistoryFileError where that is not possible.

        A request waits at most `budget_ms` for other writers.
        """
        super().__init__()
        self._path, self._budget = path, budget_ms / 1000
        self._connection: sqlite3.Connection | None = None
        self._n_writes = 0
        # Anywhere, so that processes which never come to the end of the file look at all of it together.
        self._swept_until = {"states": urandom(KEY_BYTES), "requests": int.from_bytes(urandom(8), signed=True)}
        try:
            self.connection()
        except sqlite3.Error as error:
            self.close()
            raise HistoryFileError(
                f"HISTORY is {path!r}, which cannot be used: {error}; it must be a file in a folder that exists, which "
                "this process may write, or one that this version of the function made"
            ) from error

    def close(self) -> None:
        """Close the file; a later request opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """See `PastStore`. Of several requests a few are a transaction; where one fails, what came before it stays."""
        values = unanswered(requests)
        order = [index for index, events in enumerate(requests) if any(events)]
        if len(order) > 1:
            order.sort(key=lambda index: _time_of(requests[index]))
        n_answered = 0
        if self._is_asked():
            try:
                for part in _in_turns(order, max(BATCH_KEYS // max(map(len, requests), default=1), 1)):
                    self._exchange(requests, part, values, is_written=is_written)
                    n_answered += len(part)
            except (sqlite3.Error, ValueError, OSError) as error:
                self._fail(error)
            else:
                self._succeed()
        self.n_failed += len(order) - n_answered
        return values

    def _exchange(
        self,
        requests: Sequence[Sequence[KeyedEvent | None]],
        part: Sequence[int],
        values: Sequence[Values],
        *,
        is_written: bool,
    ) -> None:
        """Set the values of a part of the requests, by their places, in one transaction."""
        keyed_events = [
            (index, number, keyed)
            for index in part
            for number, keyed in enumerate(requests[index])
            if keyed is not None
        ]
        connection = self.connection()
        read: list[tuple[int, int, list[float]]] = []
        states: dict[bytes, State] = {}
        expiries: dict[bytes, int] = {}
        changed: dict[bytes, EntityPast] = {}
        if is_written:
            self._begin(self._budget)
        else:
            connection.execute("BEGIN")
        try:
            for index, number, keyed in keyed_events:
                key, past, event, _ = keyed
                if key not in states:
                    states[key], expiries[key] = _read(connection, key, past)
                state = states[key]
                time = _time_before(connection, keyed, state) if is_written and past.has_frauds else None
                if time is not None:
                    read.append((index, number, past.values(state, event._replace(time=time))))
                    continue
                read.append((index, number, past.values(state, event)))
                if is_written and past.add(state, event):
                    changed[key] = past
            for key, past in changed.items():
                _put(connection, key, past.pack(states[key]), _expires(past, states[key]), expiries[key])
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        for index, number, features in read:
            values[index][number] = features
        self._sweep(len(keyed_events) if is_written else 0, keyed_events[-1][2].event.time)

    def add_frauds(self, requests: Sequence[Sequence[KeyedEvent | None]]) -> None:
        """Count requests as frauds, whose events were added before; raises sqlite3.Error where that fails.

        Several are counted a few at a time, and what was counted before one fails stays.
        """
        events = [event for of_request in requests for event in of_request if event is not None]
        for part in _in_turns(events):
            with self.writing() as connection:
                _count_frauds(connection, [(event.past, event.key, event.event.time) for event in part])

    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """See `PastStore`. A few are counted at a time; what was counted before one fails does not count again."""
        try:
            for part in _in_turns([past.id_hash(identifier) for identifier in ids]):
                with self.writing() as connection:
                    for identifier in part:
                        rows = connection.execute(
                            "SELECT entity, key, time FROM requests WHERE id = ? AND NOT is_settled", (identifier,)
                        )
                        frauds = [(past.entity(number), key, time) for number, key, time in rows.fetchall()]
                        _count_frauds(connection, frauds)
                        # Kept, so that the request is known if it is sent again.
                        connection.execute("UPDATE requests SET is_settled = 1 WHERE id = ?", (identifier,))
        except (sqlite3.Error, ValueError) as error:
            self._fail(error)
            return False
        return True

    def state(self, key: bytes) -> bytes | None:
        """The packed state of a key, None where there is none; raises sqlite3.Error where the file does not answer."""
        row = self.connection().execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, states: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Add states: of each its key, its bytes and when it is forgotten; raises sqlite3.Error where that fails."""
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO states (key, state, expires) VALUES (?, ?, ?)", states)

    def delete(self, key: bytes) -> bool:
        """Delete all that is remembered of a key, and say whether there was anything; raises sqlite3.Error."""
        awaited = self.connection().execute("SELECT id, entity FROM requests WHERE key = ?", (key,)).fetchall()
        with self.writing() as connection:
            connection.executemany("DELETE FROM requests WHERE id = ? AND entity = ?", awaited)
            return connection.execute("DELETE FROM states WHERE key = ?", (key,)).rowcount > 0

    @contextmanager
    def writing(self, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction that writes, waiting at most so long for others, by default as long as a request does.

        Raises sqlite3.Error where that fails.
        """
        connection = self.connection()
        self._begin(self._budget if seconds is None else seconds)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _sweep(self, n_writes: int, now: int) -> None:
        """Remove some of what is forgotten at a time; that of requests, not the clock's: old ones may be replayed.

        After the request's own transaction, and only where no other writes: what cannot be removed now, can be later.
        """
        self._n_writes += n_writes
        if self._n_writes < WRITES_A_SWEEP:
            return
        with suppress(sqlite3.Error):
            for table, (key, lowest) in _SWEPT_TABLES.items():
                names, begin, connection = {"table": table, "key": key}, self._swept_until[table], self.connection()
                (end,) = connection.execute(_END_OF_SWEEP.format(**names), (begin, SWEPT)).fetchone()
                # Others wait only while something is removed, not while it is looked for.
                forgotten = connection.execute(_FORGOTTEN.format(**names), (begin, end, now)).fetchall()
                if forgotten:
                    with self.writing(0.0):
                        connection.executemany(_SWEEP.format(**names), [(name, now) for (name,) in forgotten])
                self._swept_until[table] = lowest if end is None else end
            self._n_writes = 0

    def _begin(self, seconds: float) -> None:
        """Begin to write as soon as no other does; raises sqlite3.OperationalError where that takes longer.

        SQLite's own waiting sleeps longer each time, up to a tenth of a second, and so starves under load.
        """
        deadline = monotonic() + seconds
        while True:
            try:
                self.connection().execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                    raise
                sleep(RETRY_SECONDS)
            else:
                return

    def connection(self) -> sqlite3.Connection:
        """The connection to the file; raises sqlite3.Error where it cannot be opened."""
        if self._connection is None:
            if self._path != ":memory:" and not Path(self._path).parent.is_dir():
                raise sqlite3.OperationalError("its folder does not exist")
            connection = sqlite3.connect(
                self._path, timeout=START_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            try:
                _prepare(connection)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _in_turns[T](items: Sequence[T], size: int = BATCH_KEYS) -> Iterator[Sequence[T]]:
    """The items, so many at a time; in between, the writers that wait are let in."""
    for start in range(0, len(items), size):
        if start:
            sleep(PAUSE_BETWEEN_SECONDS)
        yield items[start : start + size]


def check_layout(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where the file's states are not those of this version of the function."""
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout != LAYOUT:
        raise sqlite3.DatabaseError(f"its layout is {layout}, not {LAYOUT}")


def _prepare(connection: sqlite3.Connection) -> None:
    """Set a connection up, and the tables where there are none; raises sqlite3.Error where the file cannot be used."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # The log is moved into the file, which waits for the disk, once in a thousand requests, not in a hundred.
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        check_layout(connection)
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    # Of a file that this process may only read, SQLite refuses no transaction until something is written.
    connection.execute(f"PRAGMA user_version = {LAYOUT}")
    connection.execute("COMMIT")
    # Of a damaged file this fails.
    connection.execute("SELECT count(*) FROM (SELECT 1 FROM states, requests LIMIT 1)").fetchone()
    # From here on `_begin` waits.
    connection.execute("PRAGMA busy_timeout = 0")


def _read(connection: sqlite3.Connection, key: bytes, past: EntityPast) -> tuple[State, int]:
    """A state, and when it is forgotten: NONE where there is none yet."""
    row = connection.execute("SELECT state, expires FROM states WHERE key = ?", (key,)).fetchone()
    return (past.unpack(row[0]), row[1]) if row else (past.empty(), NONE)


def _put(connection: sqlite3.Connection, key: bytes, state: bytes, expires: int, before: int) -> None:
    """Write a state; a row is changed in its place, because to replace it takes twice as long."""
    if expires == before:
        connection.execute("UPDATE states SET state = ? WHERE key = ?", (state, key))
    elif before == NONE:
        connection.execute("INSERT INTO states VALUES (?, ?, ?)", (key, expires, state))
    else:
        connection.execute("UPDATE states SET state = ?, expires = ? WHERE key = ?", (state, expires, key))


def _expires(past: EntityPast, state: State, time: int = NONE) -> int:
    """When a state is forgotten, and what is known of the requests in it; `time` is that of one not in it yet."""
    return week_end(max(past.latest(state), time) + past.kept_seconds)


def _time_before(connection: sqlite3.Connection, keyed: KeyedEvent, state: State) -> int | None:
    """The time of a request that was added before, though its id is no longer in the state; else it is noted.

    Its outcome is awaited by this note, which costs no more for telling that.
    """
    key, past, event, number = keyed
    if event.id is None or event.id in state.ids:
        return None
    note = (event.id, number, key, event.time, _expires(past, state, event.time), 0)
    if connection.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?)", note).rowcount:
        return None
    # One that is forgotten may not have been swept yet.
    query = "SELECT time FROM requests WHERE id = ? AND entity = ? AND key = ? AND expires >= ?"
    if row := connection.execute(query, (event.id, number, key, event.time)).fetchone():
        return int(row[0])
    connection.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)", note)
    return None


def _count_frauds(connection: sqlite3.Connection, frauds: Sequence[tuple[EntityPast, bytes, int]]) -> None:
    """Count the events of these keys and times as frauds, where a feature reads them."""
    for past, key, time in frauds:
        row = connection.execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone()
        if row and past.has_frauds:
            state = past.unpack(row[0])
            past.add_fraud(state, time)
            connection.execute("UPDATE states SET state = ? WHERE key = ?", (past.pack(state), key))


def _time_of(events: Sequence[KeyedEvent | None]) -> int:
    return max((event.event.time for event in events if event is not None), default=0)
