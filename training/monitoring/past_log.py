"""What a prediction log says that a history was asked and answered, and the same computed again from the log alone."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple

from handler.records.record import keyed_hash, keyed_number
from handler.scoring.entity_state import EntityPast, Event, State, Tick
from handler.scoring.history import DAY, Entity, History, HistoryFeature, seconds_of
from handler.scoring.past import RequestPast
from training.data.state_file import StoredState
from training.monitoring.log_lines import OUTCOMES, PREDICTIONS, broken, read_records

# What may explain a difference; the last explains nothing.
STORE, LATE, BEFORE, DUPLICATE, UNKNOWN = "store", "late", "before the log", "duplicate", "unknown"
CAUSES = (STORE, LATE, BEFORE, DUPLICATE, UNKNOWN)
WITHOUT_PAST = "predictions without a past"
OTHER_HISTORY = "predictions with the past of another history"
SAMPLED = "predictions of a sample"
OLDER = "predictions of before PAST"
# So many exchanges of a key are followed by a checkpoint, from which a difference is explained.
CHECKPOINT_EVENTS = 256
# An event whose request had no answer was written or was not: so many pasts of one key are followed at most.
MOST_PASTS = 32


class Exchange(NamedTuple):
    """What one request asked of the past of one key, and what it was told."""

    event: Event
    began: float
    """When the request came, in seconds since 1970."""
    ended: float
    features: Sequence[float] | None
    """None where the history did not answer."""
    usual: float
    """The share of frauds that is usual, which the version that answered learned."""


@dataclass
class PastLog:
    """What a log holds of a scorer's past."""

    n_requests: int = 0
    exchanges: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)
    """Per entity, by its number, and key, as the log knows it, its exchanges as JSON, which takes less memory."""
    frauds: dict[int, list[float]] = field(default_factory=dict)
    """By the hash of the id of a request when it was said to be a fraud."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many lines were left out, by kind."""

    first: tuple[float, int] = (math.inf, 0)
    """When the first request ended, and its time."""


def read_past_log(
    lines: Iterable[bytes], scorer: str, past: RequestPast, entities: Iterable[str], since: float = -math.inf
) -> PastLog:
    """The exchanges of a scorer's requests with its history since a time, and the frauds that callers told of.

    `entities` are the names of those that the history has, in order.
    """
    log = PastLog()
    numbers = {name: number for number, name in enumerate(entities)}
    for kind, record in read_records(lines, scorer):
        try:
            if kind == PREDICTIONS:
                log.counts.update(_read_prediction(record, past, numbers, since, log))
            elif kind == OUTCOMES:
                if record["label"] == 1:
                    log.frauds.setdefault(past.id_hash(str(record["id"])), []).append(float(record["time"]))
            else:
                log.counts[kind] += 1
        except (KeyError, TypeError, ValueError, AttributeError):
            log.counts[broken("no usable past")] += 1
    return log


def _read_prediction(
    record: dict[str, Any], past: RequestPast, numbers: dict[str, int], since: float, log: PastLog
) -> Iterator[str]:
    """Add the exchanges of a prediction to the log; why they are left out."""
    part = record.get("past")
    if part is None:
        yield WITHOUT_PAST
        return
    if part["history"] != past.id:
        yield OTHER_HISTORY
        return
    if "rate" in record:
        yield SAMPLED
        return
    if part.get("time", since) < since:
        yield OLDER
        return
    ended = float(record["time"])
    began = ended - float(record["milliseconds"]) / 1_000
    identifier = None if record["id"] is None else past.id_hash(str(record["id"]))
    exchanges = []
    for name, of in part["entities"].items():
        number, fold = numbers[name], past.entity(numbers[name])
        features = of["features"]
        is_whole = len(of["measures"]) == len(fold.measured) and len(of["values"]) == len(fold.remembered)
        if not is_whole or (features is not None and len(features) != len(fold.names)):
            raise ValueError(name)
        content = [
            int(part["time"]),
            identifier,
            of["measures"],
            of["values"],
            began,
            ended,
            features,
            float(part.get("usual", 0)),
        ]
        exchanges.append(((number, str(of["key"])), json.dumps(content).encode()))
    log.n_requests += 1
    log.first = min(log.first, (ended, int(part.get("time", 0)))) if exchanges else log.first
    for key, line in exchanges:
        log.exchanges.setdefault(key, []).append(line)


def exchange_of(line: bytes) -> Exchange:
    """An exchange as `PastLog` holds it."""
    time, identifier, measures, values, began, ended, features, usual = json.loads(line)
    told = None if features is None else [math.nan if value is None else float(value) for value in features]
    return Exchange(Event(time, measures, values, identifier), began, ended, told, usual)


def keyed_state(past: EntityPast, stored: StoredState, key: bytes) -> tuple[str, State]:
    """The key of a state as the log knows it, and the state with its remembered values as the log knows those."""
    state = past.unpack(stored.state)
    state.seen = [{keyed_number(value, key): time for value, time in seen.items()} for seen in state.seen]
    state.raw = [
        Tick(tick.time, tick.totals, [sorted(keyed_number(value, key) for value in values) for values in tick.values])
        for tick in state.raw
    ]
    return keyed_hash(stored.key, key), state


class Compared(NamedTuple):
    """One feature of one exchange beside the same computed again."""

    recorded: float
    computed: float
    cause: str
    """Why they differ; "" where they are equal."""


class KeyCheck:
    """Computes the exchanges of one key again."""

    def __init__(
        self,
        past_of: Callable[[float], EntityPast],
        base: State | None,
        frauds: Mapping[int, Sequence[float]],
        known_from: Sequence[float],
    ) -> None:
        """Begin with a state, or with nothing.

        `past_of` gives the fold with a share of frauds that is usual, on which the features alone depend. `known_from`
        has per feature the time from which the log tells all that it reads.
        """
        self._past, self._past_of, self._frauds, self._known_from = past_of(0.0), past_of, frauds, known_from
        self._base = self._past.pack(base or self._past.empty())

    def compare(self, exchanges: Sequence[Exchange]) -> Iterator[tuple[Exchange, list[Compared]]]:
        """Per exchange each feature beside what all earlier events of the log give, and why they differ."""
        exchanges = sorted(exchanges, key=lambda exchange: (exchange.event.time, exchange.began))
        frauds, told_until, latest = self._frauds_of(exchanges), -math.inf, -math.inf
        checkpoints = [Checkpoint(0, latest, told_until, [self._base])]
        # The first past has every event; in the others those of some requests without an answer were not written.
        pasts = [self._past.unpack(self._base)]
        for place, exchange in enumerate(exchanges):
            if place - checkpoints[-1].place >= CHECKPOINT_EVENTS:
                checkpoints.append(Checkpoint(place, latest, told_until, [self._past.pack(state) for state in pasts]))
            for known, time in frauds:
                if told_until < known <= exchange.began:
                    for state in pasts:
                        self._past.add_fraud(state, time)
            told_until, latest = max(told_until, exchange.began), max(latest, exchange.ended)
            told = [self._past_of(exchange.usual).values(state, exchange.event) for state in pasts]
            unwritten: list[State] = []
            if exchange.features is None:
                yield exchange, [Compared(math.nan, value, STORE) for value in told[0]]
                unwritten = [self._copy(state) for state in pasts[: MOST_PASTS - len(pasts)]]
            else:
                is_known = [exchange.event.time >= time for time in self._known_from]
                cause, is_explained = self._explanation(exchanges, place, told, is_known, checkpoints)
                yield exchange, _compared(exchange.features, told[0], is_explained, cause)
                possible = [
                    state for state, of in zip(pasts, told, strict=True) if same(of, exchange.features, is_known)
                ]
                if possible:
                    pasts = [pasts[0], *(state for state in possible if state is not pasts[0])]
            for state in pasts:
                self._past.add(state, exchange.event)
            pasts = self._different([*pasts, *unwritten])

    def _explanation(
        self,
        exchanges: Sequence[Exchange],
        place: int,
        told: Sequence[Sequence[float]],
        is_known: Sequence[bool],
        checkpoints: Sequence["Checkpoint"],
    ) -> tuple[str, Sequence[bool]]:
        """Why an exchange differs from the first of what the pasts told, and which features have that cause.

        The others, of which the log may not tell all that they read, have the cause BEFORE.
        """
        exchange, every = exchanges[place], [True] * len(is_known)
        features = exchange.features or ()
        if same(told[0], features, every):
            return "", every
        others = [(STORE, values) for values in told[1:]]
        others += self._alternatives(exchanges, place, checkpoints)
        for is_compared in (every, is_known):
            if same(told[0], features, is_compared):
                return BEFORE, every
            for cause, values in others:
                if same(values, features, is_compared):
                    return cause, is_compared
        is_repeated = exchange.event.id is not None and any(
            other.event.id == exchange.event.id for other in exchanges if other is not exchange
        )
        return DUPLICATE if is_repeated else UNKNOWN, is_known

    def _copy(self, state: State) -> State:
        return self._past.unpack(self._past.pack(state))

    def _different(self, pasts: Sequence[State]) -> list[State]:
        """The pasts without those that equal an earlier one."""
        different: dict[bytes, State] = {}
        for state in pasts:
            different.setdefault(self._past.pack(state) if pasts[1:] else b"", state)
        return list(different.values())

    def _frauds_of(self, exchanges: Sequence[Exchange]) -> list[tuple[float, int]]:
        """When each fraud among the events became known, ascending, and the time of the event.

        What is told before the request counts nowhere.
        """
        if not self._past.has_frauds:
            return []
        firsts = {exchange.event.id: exchange for exchange in reversed(exchanges)}
        known = (
            (min((time for time in self._frauds.get(identifier, ()) if time >= first.ended), default=None), first)
            for identifier, first in firsts.items()
            if identifier is not None
        )
        return sorted((time, first.event.time) for time, first in known if time is not None)

    def _alternatives(
        self, exchanges: Sequence[Exchange], place: int, checkpoints: Sequence["Checkpoint"]
    ) -> list[tuple[str, list[float]]]:
        """What an exchange would have been told by pasts without what came after it, and why it came after."""
        exchange = exchanges[place]
        checkpoint = next(point for point in reversed(checkpoints) if point.latest <= exchange.began)
        since = sorted(exchanges[checkpoint.place :], key=lambda other: other.ended)
        # What was written before the request came, and some of what was under way at the same time.
        sure = [other for other in since if other.ended <= exchange.began]
        beside = [o for o in since if o.began < exchange.ended and o.ended > exchange.began and o is not exchange]
        answered = [other for other in sure if other.features is not None]
        frauds = [time for known, time in self._frauds_of(exchanges) if checkpoint.told < known <= exchange.began]
        alternatives = []
        for n_beside in range(len(beside) + 1):
            for cause, events in ((LATE, sure), *([(STORE, answered)] if len(answered) < len(sure) else [])):
                for base in checkpoint.pasts:
                    state = self._past.unpack(base)
                    for other in (*events, *beside[:n_beside]):
                        self._past.add(state, other.event)
                    for time in frauds:
                        self._past.add_fraud(state, time)
                    alternatives.append((cause, self._past_of(exchange.usual).values(state, exchange.event)))
        return alternatives


class Checkpoint(NamedTuple):
    """What was computed before one of the exchanges of a key."""

    place: int
    latest: float
    """When the last of the exchanges before it ended."""
    told: float
    """Frauds that were told of until then are in the pasts."""
    pasts: Sequence[bytes]


def seconds_read(feature: HistoryFeature, entity: Entity, history: History) -> float:
    """How far back a feature reads at most, in seconds."""
    if not feature.over:
        return seconds_of(entity.ttl)
    delay = history.label_delay_days * DAY + DAY if feature.take == "fraud_rate" else 0
    return feature.window + feature.step + delay


def same(values: Sequence[float], others: Sequence[float], is_known: Sequence[bool]) -> bool:
    """Whether the features that are known are equal to the last bit; missing ones equal each other."""
    return all(map(_equal, compress(values, is_known), compress(others, is_known)))


def _equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _compared(
    recorded: Sequence[float], computed: Sequence[float], is_known: Sequence[bool], cause: str
) -> list[Compared]:
    return [
        Compared(one, other, "" if _equal(one, other) else cause if known else BEFORE)
        for one, other, known in zip(recorded, computed, is_known, strict=True)
    ]
