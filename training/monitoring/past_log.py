"""What a served history was asked and what it answered, according to the prediction log."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handler.records.record import HASH_DIGITS, keyed_hash
from handler.scoring.entity_state import EntityPast, Event, State, Tick
from handler.scoring.past import RequestPast
from training.data.state_file import StoredState
from training.monitoring.log_lines import OUTCOMES, PREDICTIONS, broken, read_records

WITHOUT_PAST = "predictions without a past"
OTHER_HISTORY = "predictions with the past of another history"
SAMPLED = "predictions of a sample"
# How many of the first requests decide when a log begins, because the very first may be a late one.
FIRST_REQUESTS = 10

_Seconds = Annotated[float, Field(ge=0, le=1e11)]
_Whole = Annotated[int, Field(ge=-(2**62), le=2**62)]
_Digits = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{HASH_DIGITS}}}$")]


class _RecordedEntity(BaseModel):
    model_config = ConfigDict(strict=True)

    key: _Digits
    measures: dict[str, _Whole | None]
    values: dict[str, _Digits | None]
    features: dict[str, float | None] | None


class _RecordedPast(BaseModel):
    """What `handler.records.record.past_part` writes."""

    model_config = ConfigDict(strict=True)

    history: str
    time: Annotated[int, Field(ge=-(10**11), le=10**11)]
    began: _Seconds
    ended: _Seconds
    usual: Annotated[float, Field(ge=0, le=1)] = 0.0
    entities: dict[str, _RecordedEntity]


class Exchange(NamedTuple):
    """What one request asked about the past of one key, and the answer."""

    event: Event
    began: float
    """When the history was asked, in seconds since 1970."""
    ended: float
    features: Sequence[float] | None
    """None if the history did not answer."""
    usual: float
    """The usual share of frauds, as learned by the version that answered."""


@dataclass
class PastLog:
    """What a log holds about the history of a scorer."""

    n_requests: int = 0
    exchanges: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)
    """By entity number and hashed key, the exchanges as JSON, which takes less memory."""
    frauds: dict[int, list[float]] = field(default_factory=dict)
    """By the hash of a request's id, the times at which it was reported as fraud."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many lines were left out, by kind."""
    first: list[tuple[float, int]] = field(default_factory=list)
    """For the first requests, when each ended, and its own time."""

    @property
    def begins(self) -> int:
        """The time from which on the log has requests; 0 if it has none."""
        return max((time for _, time in self.first), default=0)


def read_past_log(lines: Iterable[bytes], scorer: str, past: RequestPast, entities: Sequence[str]) -> PastLog:
    """The exchanges of a scorer's requests with its history, and the frauds that callers reported.

    `entities` are the names of the history's entities, in order.
    """
    log = PastLog()
    numbers = {name: number for number, name in enumerate(entities)}
    for kind, record in read_records(lines, scorer):
        try:
            if kind == PREDICTIONS:
                log.counts.update(_read_prediction(record, past, numbers, log))
            elif kind == OUTCOMES:
                if record["label"] == 1:
                    log.frauds.setdefault(past.id_hash(str(record["id"])), []).append(float(record["time"]))
            else:
                log.counts[kind] += 1
        except (KeyError, TypeError, ValueError, ValidationError):
            log.counts[broken("no usable past")] += 1
    return log


def _read_prediction(record: dict[str, Any], past: RequestPast, numbers: dict[str, int], log: PastLog) -> Iterator[str]:
    """Add the exchanges of a prediction to the log, or yield the reason why they are left out."""
    if "past" not in record:
        yield WITHOUT_PAST
        return
    part = _RecordedPast.model_validate(record["past"])
    if part.history != past.id:
        yield OTHER_HISTORY
        return
    if "rate" in record:
        yield SAMPLED
        return
    identifier = None if record["id"] is None else past.id_hash(str(record["id"]))
    exchanges = []
    for name, recorded in part.entities.items():
        fold = past.entity(numbers[name])
        measures = [recorded.measures[field] for field in fold.measured]
        values = [recorded.values[field] for field in fold.remembered]
        features = recorded.features and [recorded.features[feature] for feature in fold.names]
        content = [part.time, identifier, measures, values, part.began, part.ended, features, part.usual]
        exchanges.append(((numbers[name], recorded.key), json.dumps(content).encode()))
    if exchanges:
        log.n_requests += 1
        log.first = sorted([*log.first, (part.ended, part.time)])[:FIRST_REQUESTS]
    for key, line in exchanges:
        log.exchanges.setdefault(key, []).append(line)


def exchange_of(line: bytes) -> Exchange:
    """The exchange in a line of JSON that `PastLog` holds."""
    time, identifier, measures, values, began, ended, features, usual = json.loads(line)
    event = Event(time, measures, [None if value is None else _number(value) for value in values], identifier)
    answered = features and [math.nan if value is None else value for value in features]
    return Exchange(event, began, ended, answered, usual)


def _number(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), "big", signed=True)


def keyed_state(past: EntityPast, stored: StoredState, key: bytes) -> bytes:
    """The stored state, with its remembered values hashed like those of the log."""

    def keyed(value: int) -> int:
        return _number(keyed_hash(value.to_bytes(8, "big", signed=True), key))

    state: State = past.unpack(stored.state)
    state.seen = [{keyed(value): time for value, time in seen.items()} for seen in state.seen]
    state.raw = [
        Tick(tick.time, tick.totals, [sorted(map(keyed, values)) for values in tick.values]) for tick in state.raw
    ]
    return past.pack(state)
