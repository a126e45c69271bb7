"""Folds all rows of a table with `handler.scoring.entity_state`, one entity key at a time, in several processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from handler.scoring.contract import Contract
from handler.scoring.entity_state import EntityPast, Event, hash_of, whole
from handler.scoring.history import History
from handler.scoring.past import RequestPast
from training.data.past_rows import Integers, PastRows, Texts
from training.run.matrix import Floats, Labels
from training.run.processes import Task, Workers

# The most rows in one task, unless a single key has more.
TASK_ROWS = 50_000
# Stands for a missing hash; in practice no text has this one.
MISSING = -(2**63)

Stored = Callable[[list[bytes]], list[bytes | None]]
"""Returns the states of some keys, as a store spells them, before the rows; None for a key without a state."""


@dataclass(frozen=True)
class KeyRows:
    """The rows of some keys of an entity, sorted by key and then by time."""

    keys: list[bytes]
    """The keys as a store spells them."""
    states: list[bytes | None]
    """The state of each key before its rows; None if it has none."""
    sizes: list[int]
    """The number of rows of each key."""
    times: Integers
    measures: list[Floats]
    values: list[Integers]
    """The hashes of each remembered field's values; MISSING where a row has no value."""
    ids: Integers | None
    label: Labels
    places: Integers
    """The position of each row among all rows."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.times)


@dataclass(frozen=True)
class Folded:
    """The result of folding the rows of some keys."""

    entity: int
    keys: list[bytes]
    states: list[bytes]
    """The state of each key after its rows."""
    expires: list[int]
    places: Integers
    features: Floats
    """The features of each row, (n_rows, n_features); no rows unless `fold_rows` was called with `is_read`."""
    late: Integers
    """The positions of rows that are not later than the last event in their key's state before the rows."""

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.places)


def id_hashes(past: RequestPast, ids: Sequence[str | None]) -> Integers:
    """The hash of each row's id, as the fold reads it, MISSING where it has none."""
    return np.array([MISSING if text is None else past.id_hash(text) for text in ids], np.int64)


def stored_keys(rows: PastRows, scorer: str, contract: Contract) -> set[bytes]:
    """The keys of all rows to fold, as a store spells them for a scorer."""
    if contract.history is None:
        return set()
    past, entities = RequestPast(scorer, contract, contract.history), enumerate(contract.history.entities.values())
    return {past.stored_key(number, text) for number, entity in entities for text in rows.named_keys(entity).texts}


def fold_rows(  # noqa: PLR0913 - most are keyword-only
    rows: PastRows,
    contract: Contract,
    workers: Workers,
    *,
    scorer: str,
    stored: Stored | None = None,
    only: int | None = None,
    is_read: bool = False,
) -> Iterator[Folded]:
    """The states after all rows, which must be in order of time, and with `is_read` each row's features.

    `scorer` is the scorer's name, which is part of the keys. `stored` returns the states before the rows; by default
    there are none. `only` is the number of the only entity to fold; by default all are folded.
    """
    history = contract.history
    if history is None:
        raise ValueError("the contract has no history")
    past = RequestPast(scorer, contract, history)
    time = rows.ticks(history)
    keys = {
        number: rows.named_keys(entity)
        for number, entity in enumerate(history.entities.values())
        if only is None or number == only
    }
    n_events = sum(int((key.codes >= 0).sum()) for key in keys.values())

    def tasks() -> Iterator[Task]:
        for number, key in keys.items():
            for part in _parts(rows, time, key, past, number):
                states = stored(part.keys) if stored else part.states
                yield _fold, contract, number, replace(part, states=states), is_read

    yield from workers.spread(tasks(), "events folded", n_tasks=-(-n_events // TASK_ROWS), n_rows=n_events)


def _parts(rows: PastRows, time: Integers, key: Texts, past: RequestPast, number: int) -> Iterator[KeyRows]:
    """The rows of one kind of entity, in parts that never split a key."""
    fold = past.entity(number)
    with_key = np.flatnonzero(key.codes >= 0)
    places = with_key[np.argsort(key.codes[with_key], kind="stable")]
    codes = key.codes[places]
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else codes
    ends = np.append(starts[1:], len(codes))
    hashes = {name: _hashes(rows.texts[name], places) for name in fold.remembered}
    first = 0
    while first < len(starts):
        last = max(int(np.searchsorted(ends, starts[first] + TASK_ROWS, side="right")), first + 1)
        taken = places[starts[first] : ends[last - 1]]
        names = [past.stored_key(number, key.texts[code]) for code in codes[starts[first:last]].tolist()]
        yield KeyRows(
            keys=names,
            states=[None] * len(names),
            sizes=(ends[first:last] - starts[first:last]).tolist(),
            times=time[taken],
            measures=[rows.numbers[name][taken] for name in fold.measured],
            values=[hashes[name][rows.texts[name].codes[taken]] for name in fold.remembered],
            ids=None if rows.ids is None else rows.ids[taken],
            label=rows.label[taken],
            places=taken,
        )
        first = last


def _hashes(column: Texts, places: Integers) -> Integers:
    """The hash of each text of a column that the rows at some positions have.

    MISSING stands for an empty text and, as the last element (code -1), for a missing one.
    """
    hashes = np.full(len(column.texts) + 1, MISSING)
    used = np.unique(column.codes[places])
    for code in used[used >= 0].tolist():
        if text := column.texts[code]:
            hashes[code] = hash_of(text)
    return hashes


def _fold(contract: Contract, number: int, rows: KeyRows, is_read: bool) -> Folded:  # noqa: FBT001 - tasks pass arguments by position
    """The fold of some keys' rows; a task that any worker process may run."""
    history: History = contract.history  # type: ignore[assignment]  # `fold_rows` has checked it
    past = EntityPast(history, list(history.entities)[number], contract.fields)
    events = _events(past, rows)
    states, expires, features, latest = [], [], [], []
    for before, size in zip(rows.states, rows.sizes, strict=True):
        state = past.empty() if before is None else past.unpack(before)
        latest += [past.latest(state)] * size
        for _ in range(size):
            event, is_fraud = next(events)
            if is_read:
                features.append(past.values(state, event))
            past.add(state, event)
            if is_fraud and past.has_frauds:
                past.add_fraud(state, event.time)
        states.append(past.pack(state))
        expires.append(past.latest(state) + past.kept_seconds)
    values = np.array(features, np.float64).reshape(len(features), len(past.names))
    late = rows.places[rows.times <= np.array(latest, np.int64)]
    return Folded(number, rows.keys, states, expires, rows.places, values, late)


def _events(past: EntityPast, rows: KeyRows) -> Iterator[tuple[Event, bool]]:
    """Each row as an event, and whether it is a fraud."""
    measures = [
        [whole(value, scale) for value in column.tolist()]
        for column, scale in zip(rows.measures, past.scales, strict=True)
    ]
    values = [[None if value == MISSING else value for value in column.tolist()] for column in rows.values]
    ids = [None] * len(rows) if rows.ids is None else [None if i == MISSING else i for i in rows.ids.tolist()]
    columns = zip(rows.times.tolist(), ids, rows.label.tolist(), strict=True)
    for place, (time, identifier, label) in enumerate(columns):
        event = Event(time, [column[place] for column in measures], [column[place] for column in values], identifier)
        yield event, label == 1
