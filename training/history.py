"""The past of a scorer's entities: `make history SCORER=transaction` builds it from the checked rows.

BEFORE=2026-01-31 builds it from earlier rows only. LOAD=history.db merges what was built into a served history.
HISTORY=history.db KEY='card=4711' shows what a served history remembers of a key, and DELETE= in place of KEY= makes it
forget the key. A table in place of the file is named as dynamodb://TABLE.
"""

import argparse
import json
import os
from collections.abc import Iterator
from hashlib import file_digest
from math import isnan
from time import time
from typing import NamedTuple

from handler.history.loading import Loading
from handler.history.sqlite import BATCH_KEYS
from handler.scoring.contract import Contract, key_text
from handler.scoring.entity_state import NONE, EntityPast, Event, State, StateError
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.history import History, unit_of
from handler.scoring.past import RequestPast
from handler.scoring.sentence import age_text
from handler.scoring.times import iso_text
from training.data.near_names import near_text
from training.data.state_file import (
    STATES,
    StateFile,
    StoredState,
    declared_history,
    write_state_file,
)
from training.data.times import day_text, midnight_of
from training.declaration import declared_scorer
from training.delivery.served_history import BATCH, existing_file, is_table, opened_file, opened_table
from training.errors import StageError, counted
from training.run.command import one_line_errors
from training.run.engine import workers_of
from training.run.files import BUILD
from training.run.progress import ProgressCounter, say


class NamedKey(NamedTuple):
    """A key as the command line names it."""

    entity: int
    """The number of the entity among those of the history."""
    text: str
    """The value as in a caller's request; for a key of several fields, a JSON list of their values."""

    def stored(self, past: RequestPast) -> bytes:
        """The hash by which a store knows the key."""
        return past.stored_key(self.entity, self.text)


def build(name: str, before: str) -> str:
    """Build the states after the checked rows, and return a summary of what was built."""
    scorer, path = declared_scorer(name), BUILD / name / STATES
    midnight = midnight_of(before) if before else None
    with workers_of(scorer.compute) as workers:
        built = write_state_file(path, name, scorer, midnight, workers)
    keys = " and ".join(f"{counted(number, 'key')} of {entity}" for entity, number in built.n_keys.items())
    forgotten = f", {counted(built.n_forgotten, 'key')} forgotten by then" if built.n_forgotten else ""
    return (
        f"{path}: the states of {keys} after {counted(built.n_rows, 'row')}, as of {iso_text(built.as_of)}{forgotten}, "
        f"{built.n_bytes / 1e6:.2f} MB; make history SCORER={name} LOAD=history.db loads them into a served history"
    )


def load(name: str, database: str) -> str:
    """Merge the built states into a served history, and return a summary of what was loaded.

    Raises StageError if that is not possible, in general before anything is written.
    """
    contract = declared_scorer(name).contract
    history = declared_history(name, contract)
    path = BUILD / name / STATES
    file = StateFile(path, name, contract)
    if is_table(database):
        return _load_table(name, database, file, RequestPast(name, contract, history))
    with path.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    with opened_file(database, "LOAD") as served:
        loading = Loading(served, RequestPast(name, contract, history), digest, file.as_of)
        n_before = loading.n_loaded()
        if n_before == file.n_keys:
            loading.begin()
            loading.mark_loaded(name)
            return f"{database}: {path} was loaded before; nothing has changed"
        _check(loading, file, name, database, n_before)
        loading.begin()
        counter, n_seen = ProgressCounter("states loaded", file.n_keys), 0
        for states in file.states(BATCH_KEYS):
            n_seen += len(states)
            if new := states[max(n_before - n_seen + len(states), 0) :]:
                _add(loading, new, n_seen - len(new), database, file)
            counter.add(len(states))
        counter.close()
        loading.mark_loaded(name)
    resumed = f" ({n_before:,} of them loaded before)" if n_before else ""
    return f"{database}: {counted(n_seen, 'state')}{resumed} as of {iso_text(file.as_of)} from {path}"


def _load_table(name: str, address: str, file: StateFile, past: RequestPast) -> str:
    """Merge the states of a file into a table, and return a summary of what was loaded."""
    if file.as_of % SECONDS_A_DAY:
        raise StageError(
            f"{file.path} is as of {iso_text(file.as_of)}; a table can only be loaded with states as of midnight in "
            f"UTC: make history SCORER={name} BEFORE={day_text(file.as_of)}, then load again"
        )
    counter = ProgressCounter("states loaded", file.n_keys)
    with opened_table(address, "LOAD", os.environ) as table:
        for states in file.states(BATCH):
            table.load(states, past, file.as_of)
            counter.add(len(states))
        table.mark_loaded(name, past, file.as_of)
    counter.close()
    return f"{address}: {counted(file.n_keys, 'state')} as of {iso_text(file.as_of)} from {file.path}"


def _check(loading: Loading, file: StateFile, name: str, database: str, n_before: int) -> None:
    """Raise StageError if a state is damaged or cannot be merged; the first `n_before` are merged already."""
    counter, n_seen = ProgressCounter("states checked", file.n_keys), 0
    for states in file.states(BATCH_KEYS):
        try:
            is_apart = loading.check(states) or n_seen < n_before
        except StateError as error:
            raise StageError(f"{file.path} or {database} is damaged: {error}; build the file again") from error
        if not is_apart:
            day = day_text(file.as_of)
            raise StageError(
                f"{database} already has events before {iso_text(file.as_of)}, and {file.path} may hold them too; to "
                f"count none twice, build a file that ends at midnight in UTC: make history SCORER={name} "
                f"BEFORE={day}, then load again"
            )
        n_seen += len(states)
        counter.add(len(states))
    counter.close()


def _add(loading: Loading, states: list[StoredState], n_before: int, database: str, file: StateFile) -> None:
    """Merge a batch; raises StageError if a late request has arrived since the check, so it can no longer be merged."""
    try:
        loading.add(states, n_before)
    except ValueError as error:
        raise StageError(
            f"{database}: after {counted(n_before, 'state')} of {file.path}: {error}; build the "
            f"states with BEFORE={day_text(file.as_of)}, and load those"
        ) from error


def inspect(name: str, database: str, key: str) -> str:
    """A description of what a served history remembers of a key."""
    contract = declared_scorer(name).contract
    history = declared_history(name, contract)
    named, past = named_key(key, name, history, contract), RequestPast(name, contract, history)
    entity = past.entity(named.entity)
    try:
        state = _state(database, named.stored(past), entity)
    except StateError as error:
        raise StageError(f"{database}: the state of {key} is damaged: {error}") from error
    if state is None:
        return f"{database} remembers nothing of {key}"
    return f"{database}, {key}:\n" + "\n".join(_words(entity, state, history, contract, len(entity.pack(state))))


def _state(database: str, key: bytes, entity: EntityPast) -> State | None:
    """The state of a key in a served history; None if there is none."""
    if is_table(database):
        with opened_table(database, "HISTORY", os.environ) as table:
            return table.state(key, entity)
    with opened_file(existing_file(database)) as served:
        packed = served.state(key)
        return None if packed is None else entity.unpack(packed)


def _words(past: EntityPast, state: State, history: History, contract: Contract, size: int) -> Iterator[str]:
    """Lines that describe a state, and the features that a request would get now."""
    first = state.first if state.last != NONE else state.raw[0].time if state.raw else NONE
    if first != NONE:
        yield f"  first event {iso_text(first)}, last event {iso_text(past.latest(state))}"
    now = int(time())
    nothing = Event(now, [None] * len(past.measured), [None] * len(past.remembered))
    for feature, value in zip(past.names, past.values(state, nothing), strict=True):
        declared = history.features[feature]
        if declared.take != "seen":
            is_duration = declared.take in {"since_last", "since_first"}
            number = age_text(value / SECONDS_A_DAY) if is_duration and not isnan(value) else f"{value:,.10g}"
            text = f"{number} {unit_of(declared, contract.fields) or ''}".rstrip()
            yield f"  {feature} for a request made now: {'missing' if isnan(value) else text}"
    for place, field in enumerate(past.remembered):
        values = {*state.seen[place], *(value for tick in state.raw for value in tick.values[place])}
        yield f"  {counted(len(values), 'recent value')} of {field}, as hashes"
    yield f"  {counted(len(state.ids), 'recent id')}, as hashes; {size:,} bytes"


def delete(name: str, database: str, key: str) -> str:
    """Make a served history forget a key, and return a sentence on whether there was anything to forget."""
    contract = declared_scorer(name).contract
    history = declared_history(name, contract)
    stored = named_key(key, name, history, contract).stored(RequestPast(name, contract, history))
    if is_table(database):
        with opened_table(database, "HISTORY", os.environ) as table:
            was_there = table.delete(stored)
    else:
        with opened_file(existing_file(database)) as served:
            was_there = served.delete(stored)
    return (
        f"{database}: all that it remembered of {key} is deleted; "
        if was_there
        else f"{database} remembered nothing of {key}; "
    ) + f"{BUILD / name / STATES} will have the key again when next built, unless its rows are removed from the data"


def named_key(text: str, name: str, history: History, contract: Contract) -> NamedKey:
    """The key that entity=value names; raises StageError if there is no such entity, or the value is not valid."""
    entity, equals, value = text.partition("=")
    shown = ", ".join(history.entities)
    if not equals or not value:
        raise StageError(
            f"the key is {text!r}; it must be an entity and its value, such as {next(iter(history.entities))}=4711"
        )
    if entity not in history.entities:
        raise StageError(f"{name} has no entity {entity}; it has {shown}{near_text(entity, history.entities)}")
    keys = history.entities[entity].keys
    values = [value] if len(keys) == 1 else _list_of(value, keys, entity)
    for key, part in zip(keys, values, strict=True):
        if len(part) > (longest := contract.fields[key].max_length):
            raise StageError(f"{key} has {len(part):,} characters; a key has at most {longest}")
    key = values[0] if len(keys) == 1 else json.dumps(values, ensure_ascii=False)
    return NamedKey(list(history.entities).index(entity), key)


def _list_of(value: str, keys: tuple[str, ...], entity: str) -> list[str]:
    """The values of a key of several fields, read from a JSON list; raises StageError if it is not such a list."""
    try:
        values = json.loads(value)
    except ValueError:
        values = None
    texts = list(map(key_text, values)) if isinstance(values, list) else []
    if len(texts) != len(keys) or not all(isinstance(text, str) for text in texts):
        example = json.dumps(list(keys))
        raise StageError(
            f"the key of {entity} is {value}; it must be a JSON list of {' and '.join(keys)}: {entity}={example}"
        )
    return [str(text) for text in texts]


def _options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.history", description=__doc__)
    parser.add_argument("scorer")
    parser.add_argument("--before", default="", help="a day: use only rows from before it begins, at 00:00 UTC")
    parser.add_argument("--load", default="", help="the file of a served history, into which the states are merged")
    parser.add_argument("--history", default="", help="the file of a served history")
    parser.add_argument("--key", default="", help="entity=value: show what the history remembers of this key")
    parser.add_argument("--delete", default="", help="entity=value: make the history forget this key")
    options = parser.parse_args()
    if not options.scorer:
        parser.error("SCORER must be given: make history SCORER=...")
    given = [name.upper() for name in ("before", "load", "key", "delete") if getattr(options, name)]
    if len(given) > 1:
        parser.error(f"{' and '.join(given)} cannot be combined; give one of them")
    return options


def main() -> None:
    """Run the command that the command line names."""
    options = _options()
    with one_line_errors(f"history {options.scorer}", OSError):
        if options.load:
            text = load(options.scorer, options.load)
        elif options.key:
            text = inspect(options.scorer, options.history, options.key)
        elif options.delete:
            text = delete(options.scorer, options.history, options.delete)
        else:
            text = build(options.scorer, options.before)
    say(text)


if __name__ == "__main__":
    main()
