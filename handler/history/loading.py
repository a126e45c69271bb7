"""Merges the states computed from a file of rows into a served history, which goes on serving meanwhile."""

from collections.abc import Iterable, Sequence
from time import perf_counter, sleep

from handler.history.sqlite import SqliteHistory
from handler.scoring.history import DAY
from handler.scoring.past import RequestPast

# One row per file, with the number of its keys that were loaded (not all of them if the load was interrupted), and one
# row per scorer and history whose states were loaded, with the as-of time in place of the number of keys.
_SCHEMA = "CREATE TABLE IF NOT EXISTS loads (file TEXT PRIMARY KEY, n_keys INTEGER NOT NULL) WITHOUT ROWID"
_HAS_LOADS = "SELECT 1 FROM sqlite_master WHERE name = 'loads'"
_MARK = "{scorer} {past}"
# Requests that still await outcomes although the file has them: these must not count twice.
_KNOWN = """
DROP TABLE IF EXISTS temp.known;
CREATE TEMP TABLE known AS SELECT key, id, entity FROM requests WHERE time < {as_of};
CREATE INDEX temp.known_keys ON known (key);
"""

Loaded = tuple[int, bytes, bytes, int]
"""The number of an entity, a key, its state and the time at which that is forgotten."""


class Loading:
    """The load of one file into a history."""

    def __init__(self, history: SqliteHistory, past: RequestPast, file: str, as_of: int) -> None:
        """Prepare a load; `file` identifies the file's content, and all its events are before `as_of`."""
        self._history, self._past, self._file, self._as_of = history, past, file, as_of

    def n_loaded(self) -> int:
        """How many of the file's states were loaded before; raises sqlite3.Error if the history fails."""
        connection = self._history.connection()
        if not connection.execute(_HAS_LOADS).fetchone():
            return 0
        row = connection.execute("SELECT n_keys FROM loads WHERE file = ?", (self._file,)).fetchone()
        return row[0] if row else 0

    def check(self, states: Iterable[Loaded]) -> bool:
        """Whether states can be merged; raises StateError if one is damaged, sqlite3.Error if the history fails.

        They can if `as_of` is a midnight in UTC, or if the history has no event of the same keys before `as_of`.
        """
        is_apart = True
        for number, key, state, _ in states:
            past = self._past.entity(number)
            past.unpack(state)
            if (live := self._history.state(key)) is not None:
                earliest = past.earliest(past.unpack(live))
                is_apart &= self._as_of % DAY == 0 or earliest >= self._as_of
        return is_apart

    def begin(self) -> None:
        """Create the table that records loads, and prepare the connection."""
        with self._history.writing() as connection:
            connection.execute(_SCHEMA)
        # With frequent checkpoints the load itself waits for the disk, and seldom a request.
        self._history.connection().execute("PRAGMA wal_autocheckpoint = 200")
        if self._past.has_frauds:
            self._history.connection().executescript(_KNOWN.format(as_of=self._as_of))

    def add(self, states: Sequence[Loaded], n_before: int) -> None:
        """Merge a batch of the file's states, which follows `n_before` others, in one transaction.

        Afterwards it sleeps as long as the transaction took, to let waiting writers in. Raises ValueError if a state
        cannot be merged, or sqlite3.Error; then none is.
        """
        # Merged before the transaction, to keep it short; merged again in it if a request has changed the state.
        lives = [self._history.state(key) for _, key, _, _ in states]
        merged = [self._merged(loaded, live) for loaded, live in zip(states, lives, strict=True)]
        with self._history.writing() as connection:
            begin = perf_counter()
            for loaded, before, row in zip(states, lives, merged, strict=True):
                key = loaded[1]
                live = self._history.state(key)
                written = row if live == before else self._merged(loaded, live)
                connection.execute("INSERT OR REPLACE INTO states (key, state, expires) VALUES (?, ?, ?)", written)
                if live is not None and self._past.has_frauds:
                    settled = connection.execute("SELECT id, entity FROM known WHERE key = ?", (key,)).fetchall()
                    connection.executemany("UPDATE requests SET is_settled = 1 WHERE id = ? AND entity = ?", settled)
            n_loaded = n_before + len(states)
            connection.execute("INSERT OR REPLACE INTO loads VALUES (?, ?)", (self._file, n_loaded))
        sleep(perf_counter() - begin)

    def mark_loaded(self, scorer: str) -> None:
        """Record that the history has the scorer's states; raises sqlite3.Error."""
        with self._history.writing() as connection:
            mark = _MARK.format(scorer=scorer, past=self._past.id)
            connection.execute("INSERT OR REPLACE INTO loads VALUES (?, ?)", (mark, self._as_of))

    def _merged(self, loaded: Loaded, live: bytes | None) -> tuple[bytes, bytes, int]:
        """The row of a key: the loaded state, merged with the history's state if there is one."""
        number, key, state, expires = loaded
        if live is None:
            return key, state, expires
        past = self._past.entity(number)
        merged = past.merged(past.unpack(state), past.unpack(live), self._as_of)
        return key, past.pack(merged), past.latest(merged) + past.kept_seconds


def marked_as_loaded(history: SqliteHistory, scorer: str, past: RequestPast) -> int | None:
    """The as-of time of the last load of a scorer's states; None if there was none. Raises sqlite3.Error."""
    connection = history.connection()
    if not connection.execute(_HAS_LOADS).fetchone():
        return None
    mark = _MARK.format(scorer=scorer, past=past.id)
    row = connection.execute("SELECT n_keys FROM loads WHERE file = ?", (mark,)).fetchone()
    return row[0] if row else None
