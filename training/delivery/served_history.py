"""How commands use served histories: a file, or a table into which states are merged while functions use it.

Also checks whether the states of a version were loaded before it serves.
"""

import json
import os
import sqlite3
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from time import sleep
from typing import Any

from handler.history.aws import AwsClient, AwsError, Call
from handler.history.dynamodb import (
    CONFLICT,
    FINGERPRINT,
    MOST_EVENTS,
    TARGET,
    DynamoHistory,
    read_item,
    removal,
    shard_key,
    united,
    version_condition,
    version_values,
)
from handler.history.loading import marked_as_loaded
from handler.history.sqlite import HistoryFileError, SqliteHistory
from handler.history.store import week_end
from handler.scoring.contract import Contract
from handler.scoring.entity_state import EntityPast, State, StateError
from handler.scoring.history import MOST_SHARDS
from handler.scoring.past import RequestPast
from handler.settings import TABLE, Settings
from training.data.near_names import near_file
from training.data.state_file import StoredState
from training.errors import StageError

# How long a command waits for the writers of a served history.
WAIT_MS = 10_000
# How many states are written at once.
BATCH = 25
# How many seconds a batch may take, and how often calls that failed temporarily are retried.
SECONDS, TRIES = 10.0, 9
# How often a state is read and merged again if requests change it at the same moment.
_RACES = 50
# The errors that are not retried; a conflict is an answer.
_FINAL = ("ResourceNotFoundException", "AccessDeniedException", "ValidationException", "NoCredentials", CONFLICT)

Answer = dict[str, Any] | AwsError


class HistoryTable:
    """A table, whose keys are hashed with a secret."""

    def __init__(self, name: str, secret: bytes, client: AwsClient) -> None:
        """Use a table; makes no call yet."""
        self._name, self._client = name, client
        self._served = DynamoHistory(name, round(1_000 * SECONDS), secret, client)

    def check_key(self) -> None:
        """Raise StageError if the keys in the table were hashed with another secret."""
        content = {
            "Key": {"k": {"B": self._served.item_key(FINGERPRINT, b"")}},
            "UpdateExpression": "SET f = if_not_exists(f, :f)",
            "ExpressionAttributeValues": {":f": {"B": self._served.fingerprint()}},
            "ReturnValues": "ALL_NEW",
        }
        (answer,) = self._answers([self._call("UpdateItem", content)])
        if isinstance(answer, dict) and answer["Attributes"]["f"] != {"B": self._served.fingerprint()}:
            raise StageError(
                f"HISTORY_KEY differs from the key with which the keys of {TABLE}{self._name} were hashed; set it to "
                "the function's"
            )

    def load(self, states: Sequence[StoredState], past: RequestPast, as_of: int) -> None:
        """Merge at most BATCH states of events before `as_of`, a midnight, into the table.

        States go to the first shard of their key. From the other shards everything before `as_of` is removed; until
        then, requests ignore it. Raises StateError if a state or the table's item of its key is damaged, and StageError
        if the table fails.
        """
        self._load(states, past, as_of)
        for others in batched(_other_shards(states, past), BATCH, strict=False):
            self._load(others, past, as_of)

    def _load(self, states: Sequence[StoredState], past: RequestPast, as_of: int) -> None:
        """Merge states into the items of their own keys."""
        answers = self._answers([self._put(state, as_of) for state in states])
        for state, answer in zip(states, answers, strict=True):
            if isinstance(answer, AwsError):
                self._merge(state, past.entity(state.entity), as_of, answer.item or {})

    def mark_loaded(self, scorer: str, past: RequestPast, as_of: int) -> None:
        """Note in the table that it has the states of a scorer's history as of a time."""
        content = {"Item": {"k": {"B": self._key(_mark(scorer, past))}, "a": {"N": str(as_of)}}}
        self._answers([self._call("PutItem", content)])

    def loaded_as_of(self, scorer: str, past: RequestPast) -> int | None:
        """The as-of time noted last for a scorer's history; None if there is none."""
        (answer,) = self._answers([self._call("GetItem", {"Key": {"k": {"B": self._key(_mark(scorer, past))}}})])
        item = answer.get("Item") if isinstance(answer, dict) else None
        return int(item["a"]["N"]) if item else None

    def state(self, key: bytes, past: EntityPast) -> State | None:
        """The state that the table has for a key; None if it has none. Raises StateError if it is damaged."""
        contents = [
            {"Key": {"k": {"B": self._key(shard_key(key, shard))}}, "ConsistentRead": True}
            for shard in range(past.shards)
        ]
        answers = self._answers([self._call("GetItem", content) for content in contents])
        items = [answer.get("Item", {}) for answer in answers if isinstance(answer, dict)]
        return united(past, [read_item(past, item) for item in items]) if any(items) else None

    def delete(self, key: bytes) -> bool:
        """Delete everything that the table has for a key, and return whether there was anything.

        This includes all shards that the key may ever have had.
        """
        contents = [
            {"Key": {"k": {"B": self._key(shard_key(key, shard))}}, "ReturnValues": "ALL_OLD"}
            for shard in range(MOST_SHARDS)
        ]
        answers = self._answers([self._call("DeleteItem", content) for content in contents])
        return any(isinstance(answer, dict) and "Attributes" in answer for answer in answers)

    def _key(self, key: bytes) -> str:
        return self._served.item_key(key)

    def _call(self, operation: str, content: Mapping[str, Any]) -> Call:
        return operation, json.dumps({"TableName": self._name, **content}).encode()

    def _put(self, state: StoredState, as_of: int) -> Call:
        """The call that puts a state unless the table already has an item of its key, which a conflict then returns."""
        item = {
            "k": {"B": self._key(state.key)},
            "b": {"B": b64encode(state.state).decode()},
            "v": {"N": "1"},
            "a": {"N": str(as_of)},
            "x": {"N": str(week_end(state.expires))},
        }
        rest = {"ConditionExpression": "attribute_not_exists(k)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        return self._call("PutItem", {"Item": item, **rest})

    def _merge(self, state: StoredState, past: EntityPast, as_of: int, item: Mapping[str, Any]) -> None:
        """Merge a state with the table's item for its key, again if requests have packed the item meanwhile.

        Events that requests append meanwhile stay where they are.
        """
        for _ in range(_RACES):
            n_events = min(len(item["l"]["L"]) if "l" in item else 0, MOST_EVENTS)
            live = read_item(past, item, n_events)
            is_whole = live.n_events == n_events
            # If there are too many events for one call, the first are packed before the state of the file is merged.
            merged = past.merged(past.unpack(state.state), live.state, as_of) if is_whole else live.state
            expires = max(week_end(state.expires), int(item["x"]["N"]) if "x" in item else 0)
            loaded = {":a": {"N": str(as_of)}} if is_whole else {}
            content = {
                "Key": {"k": {"B": self._key(state.key)}},
                "UpdateExpression": f"SET b = :b, v = :v, x = :x{', a = :a' if loaded else ''} {removal(n_events)}",
                "ConditionExpression": version_condition(live.version, n_events),
                "ExpressionAttributeValues": {
                    ":b": {"B": b64encode(past.pack(merged)).decode()},
                    ":x": {"N": str(expires)},
                    **loaded,
                    **version_values(live.version, n_events),
                },
                "ReturnValues": "ALL_NEW",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
            (answer,) = self._answers([self._call("UpdateItem", content)])
            if isinstance(answer, dict) and is_whole:
                return
            item = answer["Attributes"] if isinstance(answer, dict) else answer.item or {}
        raise StageError(
            f"a key of {TABLE}{self._name} changes faster than its state can be merged; load at a quieter time"
        )

    def _answers(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to calls; calls that fail temporarily are retried, and conflicts count as answers.

        Raises StageError if a call still fails.
        """
        answers = self._client.call(calls, SECONDS)
        for attempt in range(TRIES):
            failed = [place for place, answer in enumerate(answers) if _may_succeed(answer)]
            if not failed:
                break
            sleep(0.05 * 2**attempt)
            again = self._client.call([calls[place] for place in failed], SECONDS)
            for place, answer in zip(failed, again, strict=True):
                answers[place] = answer
        for answer in answers:
            if isinstance(answer, AwsError) and answer.code != CONFLICT:
                raise StageError(
                    f"{TABLE}{self._name} cannot be used: {answer}; run the command again: nothing is counted twice"
                ) from answer
        return answers


def _other_shards(states: Sequence[StoredState], past: RequestPast) -> Iterator[StoredState]:
    """Empty states, which a load merges into all shards but the first: the file has no states for these."""
    for state in states:
        entity = past.entity(state.entity)
        empty = entity.pack(entity.empty())
        for shard in range(1, entity.shards):
            yield state._replace(key=shard_key(state.key, shard), state=empty)


def _may_succeed(answer: Answer) -> bool:
    return isinstance(answer, AwsError) and answer.code not in _FINAL


def _mark(scorer: str, past: RequestPast) -> bytes:
    """The key of the note of what was loaded; it is longer than any key of an entity, so they cannot collide."""
    return f"loaded {scorer} {past.id}".encode()


@contextmanager
def opened_table(address: str, variable: str, environment: Mapping[str, str]) -> Iterator[HistoryTable]:
    """The table that an address names; raises StageError if the address, its key or the region is invalid."""
    try:
        client = AwsClient("dynamodb", TARGET, environment)
        settings = Settings.from_environment({"HISTORY": address, "HISTORY_KEY": environment.get("HISTORY_KEY", "")})
    except ValueError as error:
        raise StageError(f"{variable} is {address}: {error}") from error
    try:
        table = HistoryTable(settings.history_table or "", settings.history_key, client)
        table.check_key()
        yield table
    except StateError as error:
        raise StageError(f"{variable} is {address}: {error}") from error
    finally:
        client.close()


def is_table(address: str) -> bool:
    """Whether the address of a served history names a table, not a file."""
    return address.startswith(TABLE)


def existing_file(database: str) -> str:
    """The file of a served history; raises StageError if there is none."""
    if not database:
        raise StageError("HISTORY must name the history's file: make history SCORER=... HISTORY=history.db KEY=...")
    if not Path(database).is_file():
        raise StageError(f"HISTORY is {database}, which does not exist{near_file(Path(database))}")
    return database


@contextmanager
def opened_file(database: str, variable: str = "HISTORY") -> Iterator[SqliteHistory]:
    """A served history; raises StageError if it cannot be used."""
    try:
        served = SqliteHistory(database, WAIT_MS)
    except HistoryFileError as error:
        raise StageError(
            f"{variable} is {database}, which cannot be used: {error.__cause__}; it must be a file that HISTORY=... "
            "make serve has made and that you may write"
        ) from error
    try:
        yield served
    except sqlite3.Error as error:
        raise StageError(
            f"{database} does not answer: {error}; run the command again: a load continues where it stopped"
        ) from error
    finally:
        served.close()


def loaded_as_of(address: str, scorer: str, past: RequestPast) -> int | None:
    """The as-of time of the states loaded last into a served history for a scorer; None if none were loaded.

    Raises StageError if the history cannot be read.
    """
    if is_table(address):
        with opened_table(address, "HISTORY", os.environ) as table:
            return table.loaded_as_of(scorer, past)
    with opened_file(existing_file(address)) as served:
        return marked_as_loaded(served, scorer, past)


def missing_past(scorer: str, served: Contract, offered: Contract) -> str | None:
    """The objection to a version that has another history than the one that is served; None if there is none.

    Versions with the same history share its states. A version with another one begins without states, unless they were
    loaded into the history that HISTORY names in the environment. Raises StageError if that history cannot be read.
    """
    if offered.history is None:
        return None
    past, address = RequestPast(scorer, offered, offered.history), os.environ.get("HISTORY", "")
    if served.history and served.history.id_of(served.fields) == past.id:
        return None
    if address and loaded_as_of(address, scorer, past) is not None:
        return None
    where = f"{address} has none of its states" if address else "HISTORY= names no served history with its states"
    return (
        f"it has another history than the current version, and {where}; build them with `make history SCORER={scorer} "
        f"BEFORE=2026-01-31`, and load them with `make history SCORER={scorer} "
        f"LOAD={address or 'dynamodb://TABLE'}`"
    )
