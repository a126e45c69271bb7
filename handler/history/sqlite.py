"""The past of entities in one SQLite file, which several workers of one machine share.

A request reads the states of its entities, computes its features, adds itself and commits: in one transaction, so that
no event is lost. Source of the settings: https://www.sqlite.org/wal.html.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from handler.scoring.entity_state import EntityPast
from handler.scoring.past import KeyedEvent, RequestPast

_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, state BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER, entity INTEGER, key BLOB NOT NULL, time INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (id, entity)
) WITHOUT ROWID;
"""
# After so many failures in a row the file is left alone for a while: a request need not wait for what does not answer.
MAX_FAILURES, PAUSE_SECONDS = 5, 10.0
# How long a start waits for other writers, and how long a request waits until it tries again.
START_SECONDS, RETRY_SECONDS = 5.0, 0.0003
# Every so many writes the entities that are forgotten are removed.
WRITES_A_SWEEP = 10_000

logger = logging.getLogger(__name__)

Values = list[list[float] | None]


class HistoryFileError(ValueError):
    """Raised at the start where the file cannot hold the history."""


class SqliteHistory:
    """A file of states by key."""

    def __init__(self, path: str, budget_ms: int) -> None:
        """Open or create the file; raises HistoryFileError where that is not possible.

        A request waits at most `budget_ms` for other writers.
        """
        self._path, self._budget = path, budget_ms / 1000
        self._connection: sqlite3.Connection | None = None
        self._failures, self._paused_until, self._n_writes = 0, 0.0, 0
        self.n_failed = 0
        """How many requests were not answered."""
        try:
            self.connection().execute("SELECT count(*) FROM (SELECT 1 FROM states LIMIT 1)").fetchone()
            self._begin(START_SECONDS)
            # Of a file that this process may only read, SQLite refuses no transaction until something is written.
            self.connection().execute("PRAGMA user_version = 1")
            self.connection().execute("ROLLBACK")
        except sqlite3.Error as error:
            self.close()
            raise HistoryFileError(
                f"HISTORY is {path!r}, which cannot be used: {error}; it must be a file in a folder that exists, which "
                "this process may write, or one that this function made before"
            ) from error

    def close(self) -> None:
        """Close the file; a later request opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def is_answering(self) -> bool:
        """Whether the last request was answered."""
        return self._failures == 0

    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """Per request and entity the features from strictly earlier events, None where the file did not answer.

        Without `is_written` the requests leave nothing. What has no key has no features, which is an empty list.
        """
        if self._failures >= MAX_FAILURES and monotonic() < self._paused_until:
            return self._unanswered(requests)
        try:
            values = self._exchanged(requests, is_written=is_written)
        except (sqlite3.Error, ValueError, OSError) as error:
            self._fail(error)
            return self._unanswered(requests)
        if self._failures:
            logger.warning("the history answers again")
            self._failures = 0
        return values

    def _unanswered(self, requests: Sequence[Sequence[KeyedEvent | None]]) -> list[Values]:
        self.n_failed += len(requests)
        return [[None if event else [] for event in events] for events in requests]

    def _exchanged(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool) -> list[Values]:
        connection = self.connection()
        values: list[Values] = [[[] for _ in events] for events in requests]
        order = sorted(range(len(requests)), key=lambda index: _time_of(requests[index]))
        keyed = [
            (index, number, event)
            for index in order
            for number, event in enumerate(requests[index])
            if event is not None
        ]
        if not keyed:
            return values
        if is_written:
            self._begin(self._budget)
        else:
            connection.execute("BEGIN")
        try:
            states = {}
            for _, _, (key, past, *_) in keyed:
                if key not in states:
                    row = connection.execute("SELECT state FROM states WHERE key = ?", (key,)).fetchone()
                    states[key] = past.unpack(row[0]) if row else past.empty()
            changed, awaited = {}, []
            for index, number, (key, past, event, _) in keyed:
                values[index][number] = past.values(states[key], event)
                if is_written and past.add(states[key], event):
                    changed[key] = (key, past.pack(states[key]), event.time + past.kept_seconds)
                    if past.has_frauds and event.id is not None:
                        awaited.append((event.id, number, key, event.time, event.time + past.kept_seconds))
            if changed:
                connection.executemany("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", changed.values())
                connection.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)", awaited)
            self._sweep(connection, len(changed), keyed[-1][2].event.time)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        return values

    def add_frauds(self, requests: Sequence[Sequence[KeyedEvent | None]]) -> None:
        """Count requests as frauds, whose events were added before; raises sqlite3.Error where that fails."""
        events = [event for of_request in requests for event in of_request if event is not None]
        with self.writing() as connection:
            _count_frauds(connection, [(event.past, event.key, event.event.time) for event in events])

    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """Count the requests with these ids as frauds, each once; whether the file answered.

        What was never added under such an id, or is forgotten, changes nothing.
        """
        try:
            with self.writing() as connection:
                for identifier in map(past.id_hash, ids):
                    rows = connection.execute("SELECT entity, key, time FROM requests WHERE id = ?", (identifier,))
                    frauds = [(past.entity(number), key, time) for number, key, time in rows.fetchall()]
                    _count_frauds(connection, frauds)
                    connection.execute("DELETE FROM requests WHERE id = ?", (identifier,))
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
            connection.executemany("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", states)

    def delete(self, key: bytes) -> bool:
        """Delete all that is remembered of a key, and say whether there was anything; raises sqlite3.Error."""
        awaited = self.connection().execute("SELECT id, entity FROM requests WHERE key = ?", (key,)).fetchall()
        with self.writing() as connection:
            connection.executemany("DELETE FROM requests WHERE id = ? AND entity = ?", awaited)
            return connection.execute("DELETE FROM states WHERE key = ?", (key,)).rowcount > 0

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes; raises sqlite3.Error where that fails."""
        connection = self.connection()
        self._begin(self._budget)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _sweep(self, connection: sqlite3.Connection, n_writes: int, now: int) -> None:
        """Remove what is forgotten at a time; that of requests, not the clock's, because old ones may be replayed."""
        self._n_writes += n_writes
        if self._n_writes >= WRITES_A_SWEEP:
            self._n_writes = 0
            for table in ("states", "requests"):
                connection.execute(f"DELETE FROM {table} WHERE expires < ?", (now,))  # noqa: S608 - our own two names

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
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            # From here on `_begin` waits.
            connection.execute("PRAGMA busy_timeout = 0")
        return self._connection

    def _fail(self, error: Exception) -> None:
        """Log the first failure, and after several leave the file alone for a while."""
        if not self._failures:
            logger.error("the history does not answer: %s", error)
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._paused_until = monotonic() + PAUSE_SECONDS


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
