"""The past of entities in one table of DynamoDB, which all environments of a function share.

A request adds itself to the item of each of its entities, side by side, and is given what each held before: so nothing
that two callers send at once is lost, and the order is the table's. An item has the state of the events that are
packed (`b`), how often that was done (`v`), the events since (`l`), when all is forgotten (`x`), and up to when it was
loaded from a file (`a`). Once there are more than RAW_EVENTS, whoever adds one packs them, guarded by `v`: who loses
that race does nothing.
"""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import batched
from time import time
from typing import Any, NamedTuple

from handler.history.aws import AwsClient, AwsError, Call
from handler.history.store import PastStore, Values, unanswered
from handler.scoring.entity_state import NONE, EntityPast, Event, State, StateError
from handler.scoring.history import DAY
from handler.scoring.past import KEY_BYTES, KeyedEvent, RequestPast

TARGET = "DynamoDB_20120810"
# Events of an item that are not packed. More would take longer to add up than a call; fewer would be packed more often.
RAW_EVENTS = 8
# So many keys are asked for at once; those of a larger batch, or more entities, take turns.
CONNECTIONS = 8
WEEK = 7 * DAY
CONFLICT = "ConditionalCheckFailedException"


class Item(NamedTuple):
    """What a table has of a key."""

    state: State
    n_events: int
    """How many events follow the packed ones; the state has them all."""
    version: int


class DynamoHistory(PastStore):
    """A table of states by key."""

    def __init__(self, table: str, budget_ms: int, secret: bytes, client: AwsClient | None = None) -> None:
        """Use a table, whose keys are hashed with a secret. A request waits at most `budget_ms`."""
        super().__init__()
        self._table, self._budget, self._secret = table, budget_ms / 1000, secret
        self._client = client or AwsClient("dynamodb", TARGET)

    def close(self) -> None:
        """Close the connections; a later request opens them again, with new credentials."""
        self._client.close()

    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """See `PastStore`. Of a batch, each key is asked for once; CONNECTIONS keys at a time have the budget."""
        values = unanswered(requests)
        if self._is_asked():
            errors: list[Exception] = []
            for keys in batched(_by_key(requests).items(), CONNECTIONS, strict=False):
                errors += self._exchange(dict(keys), values, is_written=is_written)
                if len(errors) >= CONNECTIONS:
                    break
            if errors:
                self._fail(errors[0])
            else:
                self._succeed()
        self.n_failed += sum(None in of_request for of_request in values)
        return values

    def _exchange(
        self, keys: Mapping[bytes, Sequence["Placed"]], values: Sequence[Values], *, is_written: bool
    ) -> list[Exception]:
        """Set the values of some keys' events; the problems of those that were not answered."""
        deadline = time() + self._budget
        calls = [self._adding(key, placed) if is_written else self._reading(key) for key, placed in keys.items()]
        notes = self._notes(keys) if is_written else []
        answers = self._client.call([*calls, *notes], self._budget)
        errors: list[Exception] = [answer for answer in answers[len(calls) :] if isinstance(answer, AwsError)]
        packing: list[Call] = []
        for (key, placed), answer in zip(keys.items(), answers, strict=False):
            if isinstance(answer, AwsError):
                errors.append(answer)
                continue
            past = placed[0].event.past
            try:
                item = read_item(past, answer.get("Attributes" if is_written else "Item", {}))
            except StateError as error:
                errors.append(error)
                continue
            for place in placed:
                event = place.event.event
                values[place.request][place.event.entity] = past.values(item.state, event)
                past.add(item.state, event)
            if is_written and (n_events := item.n_events + len(placed)) > RAW_EVENTS:
                packing.append(self._packing(key, past.pack(item.state), n_events, item.version))
        if packing and (left := deadline - time()) > 0:
            # The next request does what fails here.
            self._client.call(packing, left)
        return errors

    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """See `PastStore`. A request is marked as settled first, and no longer where its frauds were not added."""
        for part in batched(ids, CONNECTIONS, strict=False):
            notes = [self.item_key(_note_key(past.id_hash(identifier))) for identifier in part]
            answers = self._client.call([self._settling(note) for note in notes], self._budget)
            for note, answer in zip(notes, answers, strict=True):
                if isinstance(answer, AwsError):
                    if answer.code != CONFLICT:
                        self._fail(answer)
                        return False
                    continue
                frauds = _frauds_of(answer.get("Attributes", {}), past)
                added = self._client.call([self._fraud(key, at) for key, at in frauds], self._budget)
                failed = [error for error in added if isinstance(error, AwsError) and error.code != CONFLICT]
                if failed:
                    self._client.call([self._unsettling(note)], self._budget)
                    self._fail(failed[0])
                    return False
        return True

    def item_key(self, key: bytes) -> str:
        """The key of an item: who knows the secret alone can tell whose it is."""
        return b64encode(blake2b(key, key=self._secret, digest_size=KEY_BYTES).digest()).decode()

    def _body(self, key: str, rest: str) -> bytes:
        return f'{{"TableName":"{self._table}","Key":{{"k":{{"B":"{key}"}}}},{rest}}}'.encode()

    def _reading(self, key: bytes) -> Call:
        return "GetItem", self._body(self.item_key(key), '"ConsistentRead":true')

    def _adding(self, key: bytes, placed: Sequence["Placed"]) -> Call:
        """The call that adds events to an item and gives what it held before."""
        past, events = placed[0].event.past, [place.event.event for place in placed]
        added = ",".join(f'{{"B":"{b64encode(_packed(event)).decode()}"}}' for event in events)
        expires = _expires(past, events[-1].time)
        rest = (
            '"UpdateExpression":"SET l = list_append(if_not_exists(l, :e), :n), x = :x","ReturnValues":"ALL_OLD",'
            f'"ExpressionAttributeValues":{{":e":{{"L":[]}},":n":{{"L":[{added}]}},":x":{{"N":"{expires}"}}}}'
        )
        return "UpdateItem", self._body(self.item_key(key), rest)

    def _packing(self, key: bytes, state: bytes, n_events: int, version: int) -> Call:
        """The call that replaces the packed state and the first events by their sum, unless that was done meanwhile."""
        removed = ", ".join(f"l[{place}]" for place in range(n_events))
        condition = "v = :o" if version else "attribute_not_exists(v)"
        old = f',":o":{{"N":"{version}"}}' if version else ""
        rest = (
            f'"UpdateExpression":"SET b = :b, v = :v REMOVE {removed}","ConditionExpression":"{condition}",'
            f'"ExpressionAttributeValues":{{":b":{{"B":"{b64encode(state).decode()}"}},'
            f'":v":{{"N":"{version + 1}"}}{old}}}'
        )
        return "UpdateItem", self._body(self.item_key(key), rest)

    def _notes(self, keys: Mapping[bytes, Sequence["Placed"]]) -> list[Call]:
        """The calls that note, by the id of each request, the events that its outcome may make frauds."""
        notes: dict[int, list[KeyedEvent]] = {}
        for placed in keys.values():
            for place in placed:
                event = place.event
                if event.past.has_frauds and event.event.id is not None:
                    notes.setdefault(event.event.id, []).append(event)
        calls = []
        for identifier, events in notes.items():
            content = b64encode(b"".join(_noted(event) for event in events)).decode()
            expires = max(_expires(event.past, event.event.time) for event in events)
            rest = (
                '"UpdateExpression":"SET n = if_not_exists(n, :n), x = if_not_exists(x, :x)",'
                f'"ExpressionAttributeValues":{{":n":{{"B":"{content}"}},":x":{{"N":"{expires}"}}}}'
            )
            calls.append(("UpdateItem", self._body(self.item_key(_note_key(identifier)), rest)))
        return calls

    def _settling(self, note: str) -> Call:
        rest = (
            '"UpdateExpression":"SET s = :s","ConditionExpression":"attribute_exists(n) AND attribute_not_exists(s)",'
            '"ExpressionAttributeValues":{":s":{"BOOL":true}},"ReturnValues":"ALL_OLD"'
        )
        return "UpdateItem", self._body(note, rest)

    def _unsettling(self, note: str) -> Call:
        return "UpdateItem", self._body(note, '"UpdateExpression":"REMOVE s"')

    def _fraud(self, key: bytes, at: int) -> Call:
        """The call that adds a fraud to an item, if there is one."""
        content = b64encode(array("q", (at,)).tobytes()).decode()
        rest = (
            '"UpdateExpression":"SET l = list_append(if_not_exists(l, :e), :n)",'
            '"ConditionExpression":"attribute_exists(k)",'
            f'"ExpressionAttributeValues":{{":e":{{"L":[]}},":n":{{"L":[{{"B":"{content}"}}]}}}}'
        )
        return "UpdateItem", self._body(self.item_key(key), rest)


class Placed(NamedTuple):
    """An event of a batch, and the place of its request."""

    request: int
    event: KeyedEvent


def read_item(past: EntityPast, item: Mapping[str, Any]) -> Item:
    """The state of an item with all its events; raises StateError where it is not one of this history."""
    try:
        state = past.unpack(b64decode(item["b"]["B"])) if "b" in item else past.empty()
        events = item["l"]["L"] if "l" in item else []
        # Frauds before the time of the last load are those of the file.
        loaded = int(item["a"]["N"]) if "a" in item else NONE
        n_measures = len(past.measured)
        for content in events:
            numbers = array("q")
            numbers.frombytes(b64decode(content["B"]))
            if len(numbers) == 1:
                if numbers[0] >= loaded:
                    past.add_fraud(state, numbers[0])
            else:
                past.add(state, _unpacked(numbers, n_measures))
        return Item(state, len(events), int(item["v"]["N"]) if "v" in item else 0)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StateError("an item of the table is not of this history") from error


def _by_key(requests: Sequence[Sequence[KeyedEvent | None]]) -> dict[bytes, list[Placed]]:
    """The events of each key in order of time."""
    placed = [Placed(index, event) for index, events in enumerate(requests) for event in events if event is not None]
    if len(requests) > 1:
        placed.sort(key=lambda place: place.event.event.time)
    keys: dict[bytes, list[Placed]] = {}
    for place in placed:
        keys.setdefault(place.event.key, []).append(place)
    return keys


def _packed(event: Event) -> bytes:
    values = [NONE if value is None else value for value in (event.id, *event.measures, *event.values)]
    return array("q", (event.time, *values)).tobytes()


def _unpacked(numbers: array[int], n_measures: int) -> Event:
    values = [None if value == NONE else value for value in numbers]
    if values[0] is None:
        raise ValueError("an event without a time")
    return Event(values[0], values[2 : 2 + n_measures], values[2 + n_measures :], values[1])


def _expires(past: EntityPast, at: int) -> int:
    """When an item is forgotten: the end of a week, counted from the later of an event and the clock."""
    return -(-(max(at, int(time())) + past.kept_seconds) // WEEK) * WEEK


def _note_key(identifier: int) -> bytes:
    """The key under which a request's events are noted, which is none of an entity: it is shorter."""
    return identifier.to_bytes(8, "big", signed=True)


def _noted(event: KeyedEvent) -> bytes:
    return event.key + array("q", (event.entity, event.event.time)).tobytes()


def _frauds_of(item: Mapping[str, Any], past: RequestPast) -> Iterator[tuple[bytes, int]]:
    """The keys and times that a note has, of entities whose frauds are read."""
    content = b64decode(item["n"]["B"])
    for note in batched(content, KEY_BYTES + 16, strict=True):
        key, numbers = bytes(note[:KEY_BYTES]), array("q")
        numbers.frombytes(bytes(note[KEY_BYTES:]))
        if past.entity(numbers[0]).has_frauds:
            yield key, numbers[1]
