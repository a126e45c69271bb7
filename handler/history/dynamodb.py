"""The past of entities in one table of DynamoDB, which all environments of a function share.

A request adds itself to the item of each of its entities with concurrent calls, and each call returns what the item
held before. So no event is lost if two callers write at once, and the table decides their order. An item has the packed
state of its older events (`b`), how often it was packed (`v`), the events since then (`l`), the time at which it is
forgotten (`x`), and the time up to which it was loaded from a file (`a`). Once there are more than RAW_EVENTS in `l`,
the request that adds one packs them, on condition that `v` is unchanged: if another was faster, nothing happens. If a
feature reads outcomes, another item notes the events of a request (`n`) until they are settled (`s`).

The events of an entity with shards are spread over several such items, because DynamoDB limits the writes to one item.
A request adds itself to one of them and reads the others with concurrent calls.
"""

import json
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import batched, islice
from os import urandom
from time import monotonic, time
from typing import Any, NamedTuple

from handler.history.aws import CONNECT_SECONDS, AwsClient, AwsError, Call
from handler.history.store import LAYOUT, PastStore, Values, unanswered, week_end
from handler.scoring.entity_state import NONE, EntityPast, Event, State, StateError
from handler.scoring.past import KEY_BYTES, KeyedEvent, RequestPast

TARGET = "DynamoDB_20120810"
# Unpacked events of an item. More would take longer to add up than a call takes; fewer would mean more packing.
RAW_EVENTS = 8
# Events that one call adds or packs at most: the expression of a call that removes more would be too long.
MOST_EVENTS = 100
# Calls that are sent at once, each on its own connection; a larger batch sends its calls in several turns.
CONNECTIONS = 8
# Seconds that a batch may take; Lambda ends an invocation after ten.
BATCH_SECONDS = 5.0
CONFLICT = "ConditionalCheckFailedException"
_CANCELLED, _CONDITION = "TransactionCanceledException", "ConditionalCheckFailed"
# Hashed into every item's key, so that items of another layout are not found.
_LAYOUT = f"layout {LAYOUT}".encode()
# The item with which commands and functions check that they hash with the same secret.
FINGERPRINT = b"fingerprint of the key"


class Item(NamedTuple):
    """The content of one of the table's items."""

    state: State
    n_events: int
    """The number of unpacked events."""
    version: int
    loaded: int
    """The time up to which it was loaded from a file; NONE if it was not."""


class Placed(NamedTuple):
    """An event of a batch, and the index of its request."""

    request: int
    event: KeyedEvent


class DynamoHistory(PastStore):
    """A table of states by key."""

    def __init__(self, table: str, budget_ms: int, secret: bytes, client: AwsClient | None = None) -> None:
        """Use a table whose keys are hashed with `secret`; a request waits at most `budget_ms` for its calls."""
        super().__init__()
        self._table, self._budget, self._secret = table, budget_ms / 1000, secret
        self._client = client or AwsClient("dynamodb", TARGET)

    def close(self) -> None:
        """Close the connections; a later request opens them again, with new credentials."""
        self._client.close()

    def use_key(self, secret: bytes) -> None:
        """Hash the keys of items with this secret from now on."""
        self._secret = secret

    def connect(self) -> None:
        """Open new connections, so that no request has to; raises ValueError if the table has another secret.

        If the table does not answer, that is left for requests to report.
        """
        self._client.close()
        with suppress(OSError, AwsError):
            self._client.connect(CONNECTIONS // 2)
        (answer,) = self._client.call([self._reading(FINGERPRINT, b"")], CONNECT_SECONDS)
        stored = answer.get("Item", {}).get("f") if not isinstance(answer, AwsError) else None
        if stored and stored != {"B": self.fingerprint()}:
            raise ValueError(f"HISTORY_KEY is not the key with which {self._table} was written; set it to that key")

    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """See `PastStore`. A batch asks for each key once, with CONNECTIONS calls at a time."""
        values = unanswered(requests)
        if self._is_asked():
            deadline, n_jobs, failed = monotonic() + BATCH_SECONDS, 0, list[_Failed]()
            for jobs in self._turns(requests, is_written=is_written):
                new = self._exchange(jobs, values, is_written=is_written)
                n_jobs, failed = n_jobs + len(jobs), failed + new
                if len(new) == len(jobs) or monotonic() >= deadline:
                    break
            for job, _ in failed:
                # Also if only the note failed: then the answer warns, and the caller may send the request again.
                for place in job.placed:
                    values[place.request][place.event.entity] = None
            if failed and len(failed) == n_jobs:
                self._fail(failed[0][1])
            elif n_jobs:
                self._succeed(failed[0][1] if failed else None)
        self.n_failed += sum(None in of_request for of_request in values)
        return values

    def _turns(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool) -> Iterator[list["_Job"]]:
        """The jobs of each turn: notes for ids that outcomes may name, and the events of each key in order of time.

        A key with more than MOST_EVENTS events takes several turns.
        """
        placed = [
            Placed(index, event) for index, events in enumerate(requests) for event in events if event is not None
        ]
        if len(requests) > 1:
            placed.sort(key=lambda place: place.event.event.time)
        notes: dict[int, dict[int, Placed]] = {}
        keys: dict[bytes, list[Placed]] = {}
        for place in placed:
            keys.setdefault(place.event.key, []).append(place)
            if is_written and place.event.past.has_frauds and place.event.event.id is not None:
                notes.setdefault(place.event.event.id, {}).setdefault(place.event.entity, place)
        jobs = [
            _Job(list(noted.values()), [self._noting(identifier, noted.values())], is_note=True)
            for identifier, noted in notes.items()
        ]
        for start in range(0, max(map(len, keys.values()), default=0), MOST_EVENTS):
            parts = ((key, of_key[start : start + MOST_EVENTS]) for key, of_key in keys.items())
            jobs += [self._job(key, part, is_written=is_written) for key, part in parts if part]
            yield from _at_once(jobs)
            jobs = []

    def _job(self, key: bytes, placed: Sequence[Placed], *, is_written: bool) -> "_Job":
        """The calls for the events of one key: one to each shard that gets some, and one that reads the others."""
        if (n_shards := placed[0].event.past.shards) == 1:
            return _Job(placed, [self._adding(key, placed) if is_written else self._reading(key)])
        added: dict[int, list[Placed]] = {}
        if is_written:
            # Random, not round robin: environments that start from one snapshot would all take the same shards.
            other = urandom(1)[0]
            for place in placed:
                identifier = place.event.event.id
                added.setdefault((other if identifier is None else identifier) % n_shards, []).append(place)
        calls = [self._adding(shard_key(key, shard), of_shard) for shard, of_shard in added.items()]
        read = [shard_key(key, shard) for shard in range(n_shards) if shard not in added]
        return _Job(placed, [*calls, self._reading_all(read)] if read else calls, added)

    def _exchange(self, jobs: Sequence["_Job"], values: Sequence[Values], *, is_written: bool) -> list["_Failed"]:
        """Set the values of some keys' events; returns the jobs that failed, each with its error."""
        deadline = monotonic() + self._budget
        answers = iter(self._client.call([call for job in jobs for call in job.calls], self._budget))
        failed: list[_Failed] = []
        packing: list[Call] = []
        for job in jobs:
            try:
                given = _all_given(list(islice(answers, len(job.calls))))
                if job.added is not None:
                    packing += self._set_values_of_shards(job, given, values)
                elif not job.is_note:
                    packing += self._set_values(job, given[0], values, is_written=is_written)
            except (AwsError, StateError) as error:
                failed.append((job, error))
        if packing and (left := deadline - monotonic()) > 0:
            # If this fails, the next request packs the item.
            self._client.call(packing, left)
        return failed

    def _set_values(
        self, job: "_Job", answer: Mapping[str, Any], values: Sequence[Values], *, is_written: bool
    ) -> list[Call]:
        """Set the values of the events of one key; returns the call that packs its item, if packing is due."""
        key, past = job.placed[0].event.key, job.placed[0].event.past
        before = answer.get("Attributes" if is_written else "Item", {})
        item = read_item(past, before)
        # The state after the last event is needed only for packing.
        is_added = is_written and (len(job.placed) > 1 or item.n_events >= RAW_EVENTS)
        for place in job.placed:
            values[place.request][place.event.entity] = past.values(item.state, place.event.event)
            if is_added:
                past.add(item.state, place.event.event)
        return self._due_packing(key, past, before, item, len(job.placed)) if is_added else []

    def _set_values_of_shards(
        self, job: "_Job", given: Sequence[Mapping[str, Any]], values: Sequence[Values]
    ) -> list[Call]:
        """Set the values of the events of one key with shards; returns the calls that pack shards, where it is due."""
        (_, event), added = job.placed[0], job.added or {}
        keys = [shard_key(event.key, shard) for shard in range(event.past.shards)]
        by_key = {item["k"]["B"]: item for item in _items_of(given)}
        before = [by_key.get(self.item_key(key), {}) for key in keys]
        items = [read_item(event.past, item) for item in before]
        state = united(event.past, items)
        for place in job.placed:
            values[place.request][place.event.entity] = event.past.values(state, place.event.event)
            if added:
                event.past.add(state, place.event.event)
        packing: list[Call] = []
        for shard, of_shard in added.items():
            for place in of_shard:
                event.past.add(items[shard].state, place.event.event)
            packing += self._due_packing(keys[shard], event.past, before[shard], items[shard], len(of_shard))
        return packing

    def _due_packing(
        self, key: bytes, past: EntityPast, before: Mapping[str, Any], item: Item, n_added: int
    ) -> list[Call]:
        """The call that packs an item to which `n_added` events were added, if packing is due."""
        n_events = item.n_events + n_added
        if n_events <= RAW_EVENTS:
            return []
        if n_events > MOST_EVENTS:
            n_events = min(item.n_events, MOST_EVENTS)
            item = read_item(past, before, n_events)
        return [self._packing(key, past.pack(item.state), n_events, item.version)] if n_events else []

    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """See `PastStore`. One transaction settles an id and counts its frauds, so that an id counts once."""
        deadline = monotonic() + BATCH_SECONDS
        for part in batched(ids, CONNECTIONS, strict=False):
            notes = [_note_key(past.id_hash(identifier)) for identifier in part]
            answers = self._client.call([self._reading(note) for note in notes], self._budget)
            settling = [
                self._settling(note, answer["Item"], past)
                for note, answer in zip(notes, answers, strict=True)
                if not isinstance(answer, AwsError) and _is_awaited(answer.get("Item", {}))
            ]
            settled = self._client.call(settling, self._budget) if settling else []
            errors = [answer for answer in (*answers, *settled) if isinstance(answer, AwsError)]
            # A failed condition means that another call was faster.
            errors = [error for error in errors if not (error.code == _CANCELLED and _CONDITION in str(error))]
            if errors or monotonic() >= deadline:
                self._fail(
                    errors[0] if errors else TimeoutError(f"the outcomes took longer than {BATCH_SECONDS:g} seconds")
                )
                return False
        return True

    def fingerprint(self) -> str:
        """A hash that identifies the secret."""
        return self.item_key(FINGERPRINT)

    def item_key(self, key: bytes, secret: bytes | None = None) -> str:
        """The key of an item; without the secret nobody can tell whose it is."""
        secret = self._secret if secret is None else secret
        return b64encode(blake2b(key, key=secret, digest_size=KEY_BYTES, person=_LAYOUT).digest()).decode()

    def _body(self, key: str, rest: str) -> bytes:
        return f'{{"TableName":"{self._table}","Key":{{"k":{{"B":"{key}"}}}},{rest}}}'.encode()

    def _reading(self, key: bytes, secret: bytes | None = None) -> Call:
        return "GetItem", self._body(self.item_key(key, secret), '"ConsistentRead":true')

    def _reading_all(self, keys: Iterable[bytes]) -> Call:
        """The call that reads several items."""
        of_table = {"Keys": [{"k": {"B": self.item_key(key)}} for key in keys], "ConsistentRead": True}
        return "BatchGetItem", json.dumps({"RequestItems": {self._table: of_table}}).encode()

    def _adding(self, key: bytes, placed: Sequence[Placed]) -> Call:
        """The call that adds events to an item and returns what it held before."""
        past, events = placed[0].event.past, [place.event.event for place in placed]
        added = ",".join(f'{{"B":"{b64encode(_packed(event)).decode()}"}}' for event in events)
        rest = (
            '"UpdateExpression":"SET l = list_append(if_not_exists(l, :e), :n), x = :x","ReturnValues":"ALL_OLD",'
            f'"ExpressionAttributeValues":{{":e":{{"L":[]}},":n":{{"L":[{added}]}},'
            f'":x":{{"N":"{_expires(past, events[-1].time)}"}}}}'
        )
        return "UpdateItem", self._body(self.item_key(key), rest)

    def _packing(self, key: bytes, state: bytes, n_events: int, version: int) -> Call:
        """The call that adds the first events to the packed state, unless another call has done so meanwhile."""
        values = {":b": {"B": b64encode(state).decode()}, **version_values(version, n_events)}
        content = {
            "UpdateExpression": f"SET b = :b, v = :v {removal(n_events)}",
            "ConditionExpression": version_condition(version, n_events),
            "ExpressionAttributeValues": values,
        }
        return "UpdateItem", self._body(self.item_key(key), json.dumps(content)[1:-1])

    def _noting(self, identifier: int, placed: Iterable[Placed]) -> Call:
        """The call that notes, under the id of a request, the events that its outcome may turn into frauds."""
        events = [place.event for place in placed]
        content = b"".join(
            b64decode(self.item_key(shard_key(event.key, identifier % event.past.shards)))
            + array("q", (event.entity, event.event.time)).tobytes()
            for event in events
        )
        expires = max(_expires(event.past, event.event.time) for event in events)
        rest = (
            '"UpdateExpression":"SET n = if_not_exists(n, :n), x = if_not_exists(x, :x)",'
            f'"ExpressionAttributeValues":{{":n":{{"B":"{b64encode(content).decode()}"}},":x":{{"N":"{expires}"}}}}'
        )
        return "UpdateItem", self._body(self.item_key(_note_key(identifier)), rest)

    def _settling(self, note: bytes, item: Mapping[str, Any], past: RequestPast) -> Call:
        """The call that marks a note as settled and adds its frauds to their items: both, or nothing."""
        settled = {
            "Key": {"k": {"B": self.item_key(note)}},
            "UpdateExpression": "SET s = :s",
            "ConditionExpression": "attribute_exists(n) AND attribute_not_exists(s)",
            "ExpressionAttributeValues": {":s": {"BOOL": True}},
        }
        frauds = [
            {
                "Key": {"k": {"B": b64encode(key).decode()}},
                "UpdateExpression": "SET l = list_append(if_not_exists(l, :e), :n), x = if_not_exists(x, :x)",
                "ExpressionAttributeValues": {
                    ":e": {"L": []},
                    ":n": {"L": [{"B": b64encode(array("q", (at,)).tobytes()).decode()}]},
                    ":x": item["x"],
                },
            }
            for key, at in _frauds_of(item, past)
        ]
        updates = [{"Update": {"TableName": self._table, **update}} for update in (settled, *frauds)]
        return "TransactWriteItems", json.dumps({"TransactItems": updates}).encode()


class _Job(NamedTuple):
    """The calls for the events of one key, or the call for the note of one request."""

    placed: Sequence[Placed]
    calls: Sequence[Call]
    added: Mapping[int, Sequence[Placed]] | None = None
    """For a key with shards, the events that are added to each shard."""
    is_note: bool = False


_Failed = tuple[_Job, Exception]


def read_item(past: EntityPast, item: Mapping[str, Any], most: int | None = None) -> Item:
    """The state of an item with at most `most` of its events; raises StateError if it is not of this history."""
    try:
        state = past.unpack(b64decode(item["b"]["B"])) if "b" in item else past.empty()
        events = item["l"]["L"] if "l" in item else []
        # The loaded state already has the frauds before the time of the last load.
        loaded = int(item["a"]["N"]) if "a" in item else NONE
        n_measures = len(past.measured)
        for content in events[:most]:
            numbers = array("q")
            numbers.frombytes(b64decode(content["B"]))
            if len(numbers) > 1:
                past.add(state, _unpacked(numbers, n_measures))
            elif numbers[0] >= loaded:
                past.add_fraud(state, numbers[0])
        return Item(state, len(events), int(item["v"]["N"]) if "v" in item else 0, loaded)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StateError("an item of the table is not a state of this history") from error


def shard_key(key: bytes, shard: int) -> bytes:
    """The key of a shard; that of the first is the key itself, so that adding shards loses no events."""
    return key + bytes((shard,)) if shard else key


def united(past: EntityPast, shards: Sequence[Item]) -> State:
    """The state of a key from all of its shards, in their order; raises StateError if they are not of this history.

    A load writes to the first shard, and then removes from the others the events that the file has; those that are not
    removed yet do not count.
    """
    loaded = shards[0].loaded
    try:
        return past.united(
            [past.merged(past.empty(), item.state, loaded) if item.loaded < loaded else item.state for item in shards]
        )
    except ValueError as error:
        raise StateError("an item of the table is not a state of this history") from error


def removal(n_events: int) -> str:
    """The part of an expression that removes the first events of an item."""
    return "REMOVE " + ", ".join(f"l[{place}]" for place in range(n_events)) if n_events else ""


def version_condition(version: int, n_events: int) -> str:
    """The condition that an item was not packed since it was read, and still has the events that are to be removed."""
    condition = "v = :o" if version else "attribute_not_exists(v)"
    return f"{condition} AND size(l) >= :c" if n_events else condition


def version_values(version: int, n_events: int) -> dict[str, Any]:
    """The values that `version_condition` compares with, and the next version."""
    values = {":v": {"N": str(version + 1)}}
    values |= {":o": {"N": str(version)}} if version else {}
    return values | ({":c": {"N": str(n_events)}} if n_events else {})


def _at_once(jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
    """The jobs in groups of at most CONNECTIONS calls; a job with more calls is a group by itself."""
    turn, n_calls = list[_Job](), 0
    for job in jobs:
        if turn and n_calls + len(job.calls) > CONNECTIONS:
            yield turn
            turn, n_calls = [], 0
        turn.append(job)
        n_calls += len(job.calls)
    if turn:
        yield turn


def _all_given(answers: Sequence[dict[str, Any] | AwsError]) -> list[dict[str, Any]]:
    """The answers to the calls of a job; raises AwsError if a call, or a part of one, failed."""
    given = []
    for answer in answers:
        if isinstance(answer, AwsError):
            raise answer
        if answer.get("UnprocessedKeys"):
            raise AwsError("UnprocessedKeys", "the table throttled the reads of some items")
        given.append(answer)
    return given


def _items_of(answers: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The items in answers to calls that add to one item or read several."""
    for answer in answers:
        if "Attributes" in answer:
            yield answer["Attributes"]
        for items in answer.get("Responses", {}).values():
            yield from items


def _packed(event: Event) -> bytes:
    values = [NONE if value is None else value for value in (event.id, *event.measures, *event.values)]
    return array("q", (event.time, *values)).tobytes()


def _unpacked(numbers: array[int], n_measures: int) -> Event:
    values = [None if value == NONE else value for value in numbers]
    if values[0] is None:
        raise ValueError("an event without a time")
    return Event(values[0], values[2 : 2 + n_measures], values[2 + n_measures :], values[1])


def _expires(past: EntityPast, at: int) -> int:
    """The time at which an item is forgotten, counted from an event or from the clock, whichever is later."""
    return week_end(max(at, int(time())) + past.kept_seconds)


def _note_key(identifier: int) -> bytes:
    """The key under which a request's events are noted; shorter than the key of any entity, so that none can clash."""
    return identifier.to_bytes(8, "big", signed=True)


def _is_awaited(note: Mapping[str, Any]) -> bool:
    return "n" in note and "s" not in note


def _frauds_of(note: Mapping[str, Any], past: RequestPast) -> Iterator[tuple[bytes, int]]:
    """The keys and times in a note, for the entities whose frauds a feature reads."""
    for part in batched(b64decode(note["n"]["B"]), KEY_BYTES + 16, strict=True):
        numbers = array("q")
        numbers.frombytes(bytes(part[KEY_BYTES:]))
        if past.entity(numbers[0]).has_frauds:
            yield bytes(part[:KEY_BYTES]), numbers[1]
