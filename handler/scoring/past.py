"""What a request adds to the past of its entities, and reads from it; only scorers with a history import this."""

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic import BaseModel

from handler.scoring.contract import Contract
from handler.scoring.entity_state import EntityPast, Event, hash_of, whole
from handler.scoring.history import Entity, History, seconds_of

KEY_BYTES = 16


class KeyedEvent(NamedTuple):
    """One request as an event of one of its entities."""

    key: bytes
    """The hash of scorer, history, entity and key under which a store keeps the state."""
    past: EntityPast
    event: Event
    entity: int
    """The number of the entity among those of the history."""


class RequestPast:
    """Reads the events of requests, and completes requests with the features of their past."""

    def __init__(self, scorer: str, contract: Contract, history: History) -> None:
        """Prepare everything that is the same for all requests of a scorer, whose versions share a past."""
        self.id = history.id_of(contract.fields)
        self._scope = f"{scorer}\0{self.id}\0"
        self.names = tuple(history.features)
        self._entities = [
            (EntityPast(history, name, contract.fields), _key_reader(entity), f"{self._scope}{name}\0")
            for name, entity in history.entities.items()
        ]
        self.time: Callable[[BaseModel], float] = attrgetter(str(contract.time))
        self._id = contract.id
        self.has_frauds = any(past.has_frauds for past, _, _ in self._entities)
        """Whether a feature reads which requests were frauds."""
        self._resolution = seconds_of(history.resolution)

    def events(self, request: BaseModel) -> list[KeyedEvent | None]:
        """For each entity, the request's event; None if the request does not name the entity."""
        time = int(self.time(request) // self._resolution) * self._resolution
        identifier = getattr(request, self._id) if self._id else None
        id_hash = None if identifier is None else self.id_hash(identifier)
        keyed: list[KeyedEvent | None] = []
        for number, (past, key_of, prefix) in enumerate(self._entities):
            if (key := key_of(request)) is None:
                keyed.append(None)
                continue
            measures = [
                whole(getattr(request, name), scale) for name, scale in zip(past.measured, past.scales, strict=True)
            ]
            texts = (getattr(request, name) for name in past.remembered)
            event = Event(time, measures, [hash_of(text) if text else None for text in texts], id_hash)
            keyed.append(KeyedEvent(_stored_key(prefix, key), past, event, number))
        return keyed

    def id_hash(self, identifier: str) -> int:
        """The hash that identifies a request of this scorer and history by its id."""
        return hash_of(f"{self._scope}{identifier}")

    def entity(self, number: int) -> EntityPast:
        """The fold of an entity, by its number."""
        return self._entities[number][0]

    def stored_key(self, number: int, key: str) -> bytes:
        """The hash under which a store keeps the state of a key; `number` is that of the key's entity."""
        return _stored_key(self._entities[number][2], key)

    def complete(self, request: BaseModel, values: Sequence[Sequence[float] | None]) -> list[str]:
        """Set the features that the request does not carry; returns those missing because the store did not answer.

        `values` has the features of each entity: none if the request does not name it, None if the store did not
        answer. They bypass pydantic, whose `model_fields_set` still has only what the caller sent.
        """
        unanswered = []
        attributes = vars(request)
        for (past, _, _), features in zip(self._entities, values, strict=True):
            if features is None:
                unanswered += [name for name in past.names if attributes.get(name) is None]
            elif features:
                for name, value in zip(past.names, features, strict=True):
                    if attributes.get(name) is None:
                        attributes[name] = value
        return unanswered

    def complete_like(self, request: BaseModel, other: BaseModel) -> None:
        """Set the features that a request does not carry, from the same request as another version completed it."""
        attributes, completed = vars(request), vars(other)
        for name in self.names:
            if attributes.get(name) is None:
                attributes[name] = completed.get(name)


def _stored_key(prefix: str, key: str) -> bytes:
    return blake2b((prefix + key).encode(), digest_size=KEY_BYTES).digest()


def _key_reader(entity: Entity) -> Callable[[Any], str | None]:
    """The function that reads the key of a request, or returns None if the request has none or an ignored one."""
    ignored = frozenset((*entity.ignore, None))
    if len(entity.keys) == 1:
        value_of = attrgetter(entity.keys[0])
        return lambda request: None if (value := value_of(request)) in ignored else value
    values_of = attrgetter(*entity.keys)

    def joined(request: Any) -> str | None:  # noqa: ANN401 - a request's model, made at run time
        values = values_of(request)
        return None if ignored.intersection(values) else json.dumps(values, ensure_ascii=False)

    return joined
