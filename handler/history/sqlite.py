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

# There is no index on `expires`, because it would cost every request as much as its states do. The table of states has
# row numbers, because without them every change moves a state longer than a quarter of a page to other pages.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, expires INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER, entity INTEGER, key BLOB NOT NULL, time INTEGER NOT NULL, expires INTEGER NOT NULL,
    is_settled INTEGER NOT NULL, PRIMARY KEY (id, entity)
) WITHOUT ROWID
"""
# Seconds that a start waits for other writers, and that a request waits until it tries again.
START_SECONDS, RETRY_SECONDS = 5.0, 0.0003
# How many keys one transaction changes while other writers wait, and the pause after it, which lets them in.
BATCH_KEYS, PAUSE_BETWEEN_SECONDS = 20, 2 * RETRY_SECONDS
# Every WRITES_A_SWEEP writes, the next SWEPT rows of each table are checked, in the order of their keys, and expired
# ones removed. That is more rows than can have been added meanwhile, so every row is reached sooner or later.
WRITES_A_SWEEP, SWEPT = 500, 1_000
_SWEPT_TABLES: dict[str, tuple[str, Any]] = {"states": ("key", b""), "requests": ("id", -(2**63))}
_END_OF_SWEEP = "SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?)"
_FORGOTTEN = "SELECT {key} FROM {table} WHERE {key} > ? AND {key} <= ? AND expires < ?"
_SWEEP = "DELETE FROM {table} WHERE {key} = ? AND expires < ?"

# Pages (32 MB) to which the write-ahead log may grow before a checkpoint.
LOG_PAGES = 8_000


class HistoryFileError(ValueError):
    """Raised at the start if the file cannot hold the history."""


class SqliteHistory(PastStore):
    """A file of states by key."""

    def __init__(self, path: str, budget_ms: int) -> None:
        """Open or create the file; raises HistoryFileError if that is not possible.

        A request waits at most `budget_ms` for other writers.
        """
        super().__init__()
        self._path, self._budget = path, budget_ms / 1000
        self._connection: sqlite3.Connection | None = None
        self._n_writes = 0
        # Random starts, so that processes that never reach the end of the file still cover all of it together.
        self._swept_until = {"states": urandom(KEY_BYTES), "requests": int.from_bytes(urandom(8), signed=True)}
        try:
            self.connection()
        except sqlite3.Error as error:
            self.close()
            raise HistoryFileError(
                f"HISTORY is {path!r}, which cannot be used: {error}; it must be a new file in a writable folder, or "
                "a writable file that this version of the function created"
            ) from error

    def close(self) -> None:
        """Close the file; a later request opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """See `PastStore`. A transaction takes a few requests of a batch; if one fails, those before it stay."""
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
        """Set the values of the requests at the indices in `part`, in one transaction."""
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
        """Count requests whose events were added before as frauds; raises sqlite3.Error if that fails.

        A transaction counts a few of them; if one fails, those before it stay counted.
        """
        events = [event for of_request in requests for event in of_request if event is not None]
        for part in _in_turns(events):
            with self.writing() as connection:
                _count_frauds(connection, [(event.past, event.key, event.event.time) for event in part])

    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """See `PastStore`. A transaction counts a few ids; those counted before a failure do not count again."""
        try:
            for part in _in_turns([past.id_hash(identifier) for identifier in ids]):
                with self.writing() as connection:
                    for identifier in part:
                        rows = connection.execute(
                            "SELECT entity, key, time FROM requests WHERE id = ? AND NOT is_settled", (identifier,)
                        )
                        frauds = [(past.entity(number), key, time) for number, key, time in rows.fetchall()]
                        _count_frauds(connection, frauds)
                        # The row is kept, so that the request is recognised if it is sent again.
                        connection.execute("UPDATE requests SET is_settled = 1 WHERE id = ?", (identifier,))
        except (sqlite3.Error, ValueError) as error:
            self._fail(error)
            return False
        return True

    def state(self, key: bytes) -> bytes | None:
        """The packed state of a key, None if there is none; raises sqlite3.Error if the file does not answer."""
        row = self.connection().execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, states: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Write states, each as (key, bytes, time at which it is forgotten); raises sqlite3.Error if that fails."""
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO states (key, state, expires) VALUES (?, ?, ?)", states)

    def delete(self, key: bytes) -> bool:
        """Delete all that is remembered about a key; returns whether there was a state. Raises sqlite3.Error."""
        awaited = self.connection().execute("SELECT id, entity FROM requests WHERE key = ?", (key,)).fetchall()
        with self.writing() as connection:
            connection.executemany("DELETE FROM requests WHERE id = ? AND entity = ?", awaited)
            return connection.execute("DELETE FROM states WHERE key = ?", (key,)).rowcount > 0

    @contextmanager
    def writing(self, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """A write transaction, which waits at most `seconds` for other writers; by default as long as a request does.

        Raises sqlite3.Error if that fails.
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
        """Remove some of the rows that are forgotten at a time.

        That is the time of a request, not the clock's, because old requests may be replayed. It runs after the
        request's own transaction, and only if no other writes: what cannot be removed now can be removed later.
        """
        self._n_writes += n_writes
        if self._n_writes < WRITES_A_SWEEP:
            return
        with suppress(sqlite3.Error):
            for table, (key, lowest) in _SWEPT_TABLES.items():
                names, begin, connection = {"table": table, "key": key}, self._swept_until[table], self.connection()
                (end,) = connection.execute(_END_OF_SWEEP.format(**names), (begin, SWEPT)).fetchone()
                # Other writers wait only while rows are removed, not while they are looked for.
                forgotten = connection.execute(_FORGOTTEN.format(**names), (begin, end, now)).fetchall()
                if forgotten:
                    with self.writing(0.0):
                        connection.executemany(_SWEEP.format(**names), [(name, now) for (name,) in forgotten])
                self._swept_until[table] = lowest if end is None else end
            self._n_writes = 0

    def _begin(self, seconds: float) -> None:
        """Begin to write as soon as no other writer does; raises sqlite3.OperationalError after `seconds`.

        SQLite's own busy timeout sleeps longer after each attempt, up to a tenth of a second, so a writer could starve
        under load.
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
        """The connection to the file; raises sqlite3.Error if it cannot be opened."""
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
    """The items in parts of `size`, with a pause between parts that lets waiting writers in."""
    for start in range(0, len(items), size):
        if start:
            sleep(PAUSE_BETWEEN_SECONDS)
        yield items[start : start + size]


def check_layout(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if the file's layout is not that of this version of the function."""
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout != LAYOUT:
        raise sqlite3.DatabaseError(f"its layout is {layout}, not {LAYOUT}")


def _prepare(connection: sqlite3.Connection) -> None:
    """Set up a connection, and the tables if there are none; raises sqlite3.Error if the file cannot be used."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # A checkpoint, which waits for the disk, then comes once in a thousand requests instead of once in a hundred.
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        check_layout(connection)
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    # If this process may only read the file, SQLite refuses not the transaction but this first write.
    connection.execute(f"PRAGMA user_version = {LAYOUT}")
    connection.execute("COMMIT")
    # This fails if the file is damaged.
    connection.execute("SELECT count(*) FROM (SELECT 1 FROM states, requests LIMIT 1)").fetchone()
    # From here on, `_begin` waits instead of SQLite.
    connection.execute("PRAGMA busy_timeout = 0")


def _read(connection: sqlite3.Connection, key: bytes, past: EntityPast) -> tuple[State, int]:
    """A state, and the time at which it is forgotten: NONE if there is no state yet."""
    row = connection.execute("SELECT state, expires FROM states WHERE key = ?", (key,)).fetchone()
    return (past.unpack(row[0]), row[1]) if row else (past.empty(), NONE)


def _put(connection: sqlite3.Connection, key: bytes, state: bytes, expires: int, before: int) -> None:
    """Write a state; an existing row is updated in place, because replacing it takes twice as long."""
    if expires == before:
        connection.execute("UPDATE states SET state = ? WHERE key = ?", (state, key))
    elif before == NONE:
        connection.execute("INSERT INTO states VALUES (?, ?, ?)", (key, expires, state))
    else:
        connection.execute("UPDATE states SET state = ?, expires = ? WHERE key = ?", (state, expires, key))


def _expires(past: EntityPast, state: State, time: int = NONE) -> int:
    """The time at which a state and its requests' rows are forgotten; `time` is that of a request not in it yet."""
    return week_end(max(past.latest(state), time) + past.kept_seconds)


def _time_before(connection: sqlite3.Connection, keyed: KeyedEvent, state: State) -> int | None:
    """The time of a request that was added before although its id is no longer in the state; else it is noted.

    The note is needed anyway, to await the outcome, so that finding this out costs nothing extra.
    """
    key, past, event, number = keyed
    if event.id is None or event.id in state.ids:
        return None
    note = (event.id, number, key, event.time, _expires(past, state, event.time), 0)
    if connection.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, ?, ?, ?, ?)", note).rowcount:
        return None
    # An expired note may not have been swept yet.
    query = "SELECT time FROM requests WHERE id = ? AND entity = ? AND key = ? AND expires >= ?"
    if row := connection.execute(query, (event.id, number, key, event.time)).fetchone():
        return int(row[0])
    connection.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)", note)
    return None


def _count_frauds(connection: sqlite3.Connection, frauds: Sequence[tuple[EntityPast, bytes, int]]) -> None:
    """Count the events of these keys and times as frauds, if a feature reads them."""
    for past, key, time in frauds:
        row = connection.execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone()
        if row and past.has_frauds:
            state = past.unpack(row[0])
            past.add_fraud(state, time)
            connection.execute("UPDATE states SET state = ? WHERE key = ?", (past.pack(state), key))


def _time_of(events: Sequence[KeyedEvent | None]) -> int:
    return max((event.event.time for event in events if event is not None), default=0)
