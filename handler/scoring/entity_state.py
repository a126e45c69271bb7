"""What is remembered about one entity, and the features of its past: the same code for training and serving.

`EntityPast.values(state, event)` and `EntityPast.add(state, event)` do no I/O; `add` changes the state it is given. A
state depends on the set of its events, not on the order of their arrival, as long as none comes later than `lateness`.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import batched
from math import nan
from typing import NamedTuple

from handler.scoring.fields import DeclaredField
from handler.scoring.history import (
    DAY,
    LARGEST_MEASURE,
    MEASURES,
    Entity,
    History,
    HistoryFeature,
    scale_of,
    seconds_of,
)

# How many ticks, and values in them, are kept one by one. Beyond that the oldest are moved into the tiles, even if they
# are not older than `lateness`, so that a state has only a few kilobytes whatever the traffic.
RAW_TICKS, RAW_VALUES = 16, 96
# The bytes that a declaration may need at most for one entity, because each request reads and writes them.
MOST_BYTES, _INTEGER_BYTES = 32_000, 8
# How many ids of the latest events are kept, by which a request that is sent again is recognised.
N_IDS = 32
# Stands for a value that does not exist, such as the largest amount if no event has one.
NONE = -(2**62)
_LARGEST = 2**62
# The place of the frauds among the totals of a tile: the last.
FRAUDS = -1
# A fraud rate is smoothed by this many additional events with the usual share of frauds.
PRIOR_EVENTS = 20


class StateError(ValueError):
    """Raised when bytes are not a state of the history that reads them."""


class Event(NamedTuple):
    """What one request adds to the past of an entity."""

    time: int
    """In seconds, rounded down to the resolution."""
    measures: Sequence[int | None]
    """The value of each measured field in whole units; None if it is missing."""
    values: Sequence[int | None]
    """The hash of each remembered field's value; None if it is missing."""
    id: int | None = None
    """The hash of the request's id."""


class Tick(NamedTuple):
    """The events of one time: their totals, and the values of each remembered field."""

    time: int
    totals: list[int]
    """The number of events, then for each measured field the number of values, their sum and the largest."""
    values: list[list[int]]


@dataclass(slots=True)
class State:
    """The past of one entity."""

    first: int = NONE
    """The time of the first event in the tiles since the entity was last forgotten."""
    last: int = NONE
    """The time of the last event in the tiles."""
    id_times: array[int] = field(default_factory=lambda: array("q"))
    """The times of the latest requests that have an id, ascending."""
    ids: array[int] = field(default_factory=lambda: array("q"))
    """The hashes of their ids, ascending among equal times."""
    raw: list[Tick] = field(default_factory=list)
    """The latest ticks, ascending, which are not in the tiles."""
    tiles: list[list[array[int]]] = field(default_factory=list)
    """For each step, the numbers of its tiles, ascending, and a column for each of their totals."""
    seen: list[dict[int, int]] = field(default_factory=list)
    """For each remembered field, the last time of each of its most recent values."""


class Part(NamedTuple):
    """The part of a state that some of the entity's features need."""

    most_bytes: int
    """Its largest possible size."""
    remedy: str
    """The change of the declaration that makes it smaller."""


Take = Callable[[State, Sequence[Tick], Event], float]
Total = Callable[[State, Sequence[Tick], int], int]


def hash_of(text: str) -> int:
    """The 64-bit hash by which a value or an id is remembered."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def whole(value: float | None, scale: int) -> int | None:
    """A measured value in whole units, so that sums are the same in any order; None if it is missing.

    >>> whole(19.99, 100), whole(None, 100), whole(1e15, 100)
    (1999, None, 9000000000000)
    """
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return None
    return min(max(round(value * scale), -LARGEST_MEASURE), LARGEST_MEASURE)


class EntityPast:
    """Folds events into the state of one declared entity, and computes its features from that."""

    def __init__(self, history: History, name: str, fields: Mapping[str, DeclaredField]) -> None:
        """Prepare the features of an entity."""
        entity: Entity = history.entities[name]
        self._declared = declared = history.features_of(name)
        self.names = tuple(declared)
        self.measured = _fields(declared, MEASURES)
        self.scales = tuple(scale_of(fields[name]) for name in self.measured)
        self.remembered = _fields(declared, ("distinct", "seen"))
        capped = [feature for feature in declared.values() if feature.take in {"distinct", "seen"}]
        self._caps = tuple(
            max(feature.cap for feature in capped if feature.field == field) for field in self.remembered
        )
        self.shards = entity.shards
        """The number of states over which a store with many concurrent users may spread the events of one key."""
        self._ttl, self._lateness = seconds_of(entity.ttl), seconds_of(history.lateness)
        self._delay, self._usual = round(history.label_delay_days * DAY), history.usual_fraud_rate
        self._n_totals = 1 + 3 * len(self.measured)
        windowed = [feature for feature in declared.values() if feature.over and feature.take != "distinct"]
        self._steps = tuple(sorted({feature.step for feature in windowed}))
        self._reach = tuple(
            max(self._reach_of(feature) for feature in windowed if feature.step == step) for step in self._steps
        )
        self._columns = tuple(self._columns_of([f for f in windowed if f.step == step]) for step in self._steps)
        self._takes = tuple(map(self._take, declared.values()))
        self.has_frauds = any(FRAUDS in columns for columns in self._columns)
        """Whether a feature reads which events were frauds."""
        self.kept_seconds = max(self._ttl, *self._reach, 0) + DAY
        """How long after its last event a state is needed."""

    @property
    def most_bytes(self) -> int:
        """How many bytes a packed state has at most, whatever the traffic."""
        return sum(part.most_bytes for part in self.parts())

    def parts(self) -> list[Part]:
        """The parts of a state: what every state has, then the tiles of each step and the values of each field."""
        declared, n_steps, n_fields = self._declared.items(), len(self._steps), len(self.remembered)
        n_integers = 4 + n_steps + n_fields + 2 * N_IDS + RAW_TICKS * (1 + self._n_totals + n_fields)
        if self.remembered:
            # A single tick is kept whole: at most `cap` values of each field.
            n_integers += max(RAW_VALUES, sum(self._caps))
        parts = [Part(n_integers * _INTEGER_BYTES, "let its features read fewer fields")]
        for step, reach, columns in zip(self._steps, self._reach, self._columns, strict=True):
            n_tiles = -(-reach // step) + 1
            of_step = {n: f for n, f in declared if f.over and f.take != "distinct" and f.step == step}
            longest = max(feature.window for feature in of_step.values())
            causes = ["lateness"] if self._lateness > longest else []
            causes += ["split.label_delay_days"] if FRAUDS in columns and self._delay > longest else []
            remedy = f"shorten {' or '.join([*causes, 'over'])} of {' and '.join(of_step)}"
            parts.append(Part(n_tiles * (1 + len(columns)) * _INTEGER_BYTES, remedy))
        for read, cap in zip(self.remembered, self._caps, strict=True):
            names = " and ".join(n for n, f in declared if f.field == read and f.take in {"distinct", "seen"})
            parts.append(Part(2 * cap * _INTEGER_BYTES, f"lower cap of {names}"))
        return parts

    def empty(self) -> State:
        """The state of an entity without events."""
        tiles = [[array("q") for _ in range(1 + len(columns))] for columns in self._columns]
        return State(tiles=tiles, seen=[{} for _ in self.remembered])

    def values(self, state: State, event: Event) -> list[float]:
        """The features of an event, from strictly earlier events; NaN for a feature without a value.

        An event whose id was added before has the features of that time, so that it does not see itself.
        """
        if event.id is not None and event.id in state.ids:
            event = event._replace(time=state.id_times[state.ids.index(event.id)])
        raw = state.raw
        earlier = raw if not raw or raw[-1].time < event.time else raw[: bisect_left(raw, event.time, key=_time)]
        return [take(state, earlier, event) for take in self._takes]

    def add(self, state: State, event: Event) -> bool:
        """Add an event to the state; returns False if one with its id was added before."""
        if event.id is not None and not _remember(state, event.time, event.id):
            return False
        if event.time <= state.last:
            self._compact(state, self._tick(event))
        else:
            self._add_raw(state, self._tick(event))
        self._settle(state)
        return True

    def add_fraud(self, state: State, time: int) -> None:
        """Count an event as a fraud, in the tile of its day; nothing changes if the state has no event so late."""
        if time <= self.latest(state):
            number = self._steps.index(DAY)
            nothing = (0, *(0, 0, NONE) * len(self.measured))
            self._add_to_tile(state.tiles[number], self._columns[number], time // DAY, (*nothing, 1))
            self._settle(state)

    def earliest(self, state: State) -> int:
        """A time before which the state has no event: that of the first event, unless it was forgotten since."""
        first = state.first if state.last != NONE else state.raw[0].time if state.raw else _LARGEST
        # The tile of the first event holds none before it, because a step is never longer than a state is remembered.
        starts = [
            tiles[0][0] * step
            for step, tiles in zip(self._steps, state.tiles, strict=True)
            if tiles[0] and tiles[0][0] != first // step
        ]
        return min([first, *starts, *(min(seen.values()) for seen in state.seen if seen)])

    def latest(self, state: State) -> int:
        """The time of the last event; NONE if there is none."""
        return state.raw[-1].time if state.raw else state.last

    def merged(self, base: State, live: State, as_of: int) -> State:
        """The state of the events of `base`, all before `as_of`, and of the events of `live` from `as_of` on.

        It is equal to the fold of these events. Raises ValueError if `live` may have events before `as_of` and cannot
        separate them, because `as_of` is not a midnight in UTC, at which tiles of every step begin.
        """
        if as_of % DAY and self.earliest(live) < as_of:
            raise ValueError("the time must be midnight in UTC, because the state may have events before it")
        state = self.unpack(self.pack(base))
        for time, identifier in zip(live.id_times, live.ids, strict=True):
            _remember(state, time, identifier)
        if live.last >= as_of:
            for tick in state.raw:
                self._compact(state, tick)
            state.raw = []
            # If the entity was forgotten in between, its first event is live's; else it is base's.
            if live.first - state.last > self._ttl:
                state.first = max(live.first, as_of)
            state.last = live.last
        for number, (step, columns) in enumerate(zip(self._steps, self._columns, strict=True)):
            tiles = live.tiles[number]
            n_before = bisect_left(tiles[0], as_of // step)
            since = [column[n_before:] for column in tiles]
            state.tiles[number] = _united([state.tiles[number], since], columns)
        for seen, others, cap in zip(state.seen, live.seen, self._caps, strict=True):
            seen.update((value, last) for value, last in others.items() if last >= as_of)
            _keep_latest(seen, cap)
        state.raw += (_copied(tick) for tick in live.raw if tick.time >= as_of)
        self._settle(state)
        return state

    def united(self, states: Sequence[State]) -> State:
        """The state of the events of several states, each of which is in one of them.

        It is equal to the fold of these events with two exceptions: it has all their ids, and `first` is only the
        earliest that they know, because a state that was forgotten in between cannot tell that the others were not.
        """
        state = self.empty()
        for part in sorted(states, key=_last, reverse=True):
            if state.last == NONE:
                state.first, state.last = part.first, part.last
            elif state.first - part.last <= self._ttl:
                state.first = min(state.first, part.first)
        # A set, because after a load the first state has ids that the others still have.
        ids = sorted({pair for part in states for pair in zip(part.id_times, part.ids, strict=True)})
        state.id_times, state.ids = (array("q", (pair[place] for pair in ids)) for place in (0, 1))
        for number, columns in enumerate(self._columns):
            state.tiles[number] = _united([part.tiles[number] for part in states], columns)
        for place, cap in enumerate(self._caps):
            state.seen[place] = _last_of([part.seen[place] for part in states], cap)
        for part in states:
            for tick in part.raw:
                if tick.time <= state.last:
                    self._compact(state, tick)
                else:
                    self._add_raw(state, _copied(tick))
        self._settle(state)
        return state

    def pack(self, state: State) -> bytes:
        """The state as bytes, equal for equal states."""
        numbers = [state.first, state.last, len(state.ids), len(state.raw)]
        numbers += [len(tiles[0]) for tiles in state.tiles]
        numbers += map(len, state.seen)
        flat = array("q", numbers)
        flat += state.id_times
        flat += state.ids
        numbers = []
        for time, totals, of_fields in state.raw:
            numbers.append(time)
            numbers += totals
            for values in of_fields:
                numbers.append(len(values))
                numbers += values
        for seen in state.seen:
            for item in sorted(seen.items(), key=_by_time):
                numbers += item
        flat.fromlist(numbers)
        for tiles in state.tiles:
            for column in tiles:
                flat += column
        return flat.tobytes()

    def unpack(self, content: bytes) -> State:
        """The state of its bytes; raises StateError if they are not those of such a state."""
        flat = array("q")
        try:
            flat.frombytes(content)
            return self._unpacked(flat)
        except (IndexError, OverflowError, ValueError) as error:
            raise StateError("the bytes are not a state of this history") from error

    def _unpacked(self, flat: array[int]) -> State:
        n_steps, n_seen, n_totals = len(self._steps), len(self.remembered), self._n_totals
        at = 4 + n_steps + n_seen
        first, last, n_ids, n_raw, *lengths = flat[:at]
        state = State(first, last, flat[at : at + n_ids], flat[at + n_ids : at + 2 * n_ids])
        at += 2 * n_ids
        for _ in range(n_raw):
            begin, at = at + 1, at + 1 + n_totals
            values = []
            for _ in range(n_seen):
                end = at + 1 + flat[at]
                values.append(flat[at + 1 : end].tolist())
                at = end
            state.raw.append(Tick(flat[begin - 1], flat[begin : begin + n_totals].tolist(), values))
        for length in lengths[n_steps:]:
            end = at + 2 * length
            state.seen.append(dict(batched(flat[at:end], 2, strict=True)))
            at = end
        for columns, length in zip(self._columns, lengths, strict=False):
            tiles = [flat[at : (at := at + length)]]
            for _ in columns:
                tiles.append(flat[at : (at := at + length)])  # noqa: PERF401 - each slice moves `at` on
            state.tiles.append(tiles)
        if at != len(flat):
            raise IndexError
        return state

    def _settle(self, state: State) -> None:
        """Move the ticks that are no longer kept one by one into the tiles, and remove tiles that nothing reads."""
        raw, latest = state.raw, self.latest(state)
        while len(raw) > 1 and self._is_full(raw, latest):
            self._compact(state, raw.pop(0))
        for step, reach, tiles in zip(self._steps, self._reach, state.tiles, strict=True):
            oldest = (latest - reach) // step
            if tiles[0] and tiles[0][0] < oldest:
                n_old = bisect_left(tiles[0], oldest)
                for column in tiles:
                    del column[:n_old]

    def _is_full(self, raw: Sequence[Tick], latest: int) -> bool:
        """Whether the oldest tick must move into the tiles."""
        if raw[0].time < latest - self._lateness or len(raw) > RAW_TICKS:
            return True
        return bool(self.remembered) and sum(len(values) for tick in raw for values in tick.values) > RAW_VALUES

    def _tick(self, event: Event) -> Tick:
        totals = [1]
        for value in event.measures:
            totals += (0, 0, NONE) if value is None else (1, value, value)
        return Tick(event.time, totals, [[] if value is None else [value] for value in event.values])

    def _add_raw(self, state: State, tick: Tick) -> None:
        """Add a tick, which then belongs to the state, to those that are kept one by one."""
        raw = state.raw
        place = len(raw) if not raw or raw[-1].time < tick.time else bisect_left(raw, tick.time, key=_time)
        if place == len(raw) or raw[place].time != tick.time:
            raw.insert(place, tick)
            return
        same = raw[place]
        for number, total in enumerate(tick.totals):
            before = same.totals[number]
            same.totals[number] = max(before, total) if _is_largest(number) else before + total
        for values, new, cap in zip(same.values, tick.values, self._caps, strict=True):
            for value in new:
                if value not in values:
                    values.append(value)
                    values.sort()
                    del values[:-cap]

    def _compact(self, state: State, tick: Tick) -> None:
        """Move a tick into the tiles."""
        totals = (*tick.totals, 0)
        for step, columns, tiles in zip(self._steps, self._columns, state.tiles, strict=True):
            self._add_to_tile(tiles, columns, tick.time // step, totals)
        for seen, values, cap in zip(state.seen, tick.values, self._caps, strict=True):
            for value in values:
                seen[value] = max(seen.get(value, NONE), tick.time)
            while len(seen) > cap:
                del seen[min(seen, key=lambda value: (seen[value], value))]
        if tick.time > state.last:
            if state.last == NONE or tick.time - state.last > self._ttl:
                state.first = tick.time
            state.last = tick.time
        elif state.first - tick.time <= self._ttl:
            # An event further back dates from before the entity was forgotten.
            state.first = min(state.first, tick.time)

    def _add_to_tile(self, tiles: list[array[int]], columns: Sequence[int], number: int, totals: Sequence[int]) -> None:
        """Add totals, the last of which is the frauds, to a tile."""
        numbers = tiles[0]
        # Nearly always the last tile, or a new one after it.
        place = len(numbers)
        if place and numbers[-1] >= number:
            place = place - 1 if numbers[-1] == number else bisect_left(numbers, number)
        if place == len(numbers) or numbers[place] != number:
            numbers.insert(place, number)
            for column, values in zip(columns, tiles[1:], strict=True):
                values.insert(place, totals[column])
            return
        for column, values in zip(columns, tiles[1:], strict=True):
            before, total = values[place], totals[column]
            if _is_largest(column):
                values[place] = max(before, total)
            else:
                values[place] = min(max(before + total, -_LARGEST), _LARGEST)

    def _reach_of(self, feature: HistoryFeature) -> int:
        """How far back from the latest event a feature reads tiles."""
        delay = self._delay if feature.take == "fraud_rate" else 0
        return feature.window + delay + self._lateness

    def _columns_of(self, features: Sequence[HistoryFeature]) -> tuple[int, ...]:
        """The totals that these features need, by their places in a tick."""
        needed: set[int] = set()
        for feature in features:
            if feature.take == "count":
                needed.add(0)
            elif feature.take == "fraud_rate":
                needed |= {FRAUDS, 0}
            else:
                place = 1 + 3 * self.measured.index(str(feature.field))
                needed |= {"sum": {place + 1}, "mean": {place, place + 1}, "max": {place + 2}}[feature.take]
        return tuple(sorted(needed))

    def _take(self, feature: HistoryFeature) -> Take:
        """The function that computes a feature."""
        makers: dict[str, Callable[[HistoryFeature], Take]] = {
            "since_last": lambda _: self._since_last,
            "since_first": lambda _: self._since_first,
            "distinct": self._distinct,
            "seen": self._seen,
            "fraud_rate": self._fraud_rate,
            "count": self._count,
        }
        return makers.get(feature.take, self._measure)(feature)

    def _count(self, feature: HistoryFeature) -> Take:
        """The function that counts events."""
        events = self._total(feature, 0)
        return lambda state, earlier, event: float(events(state, earlier, event.time))

    def _measure(self, feature: HistoryFeature) -> Take:
        """The function that adds up, averages or finds the largest of a field's values."""
        index = self.measured.index(str(feature.field))
        place, scale = 1 + 3 * index, self.scales[index]
        if feature.take == "max":
            largest = self._total(feature, place + 2)
            return lambda state, earlier, event: (
                nan if (value := largest(state, earlier, event.time)) == NONE else value / scale
            )
        total = self._total(feature, place + 1)
        if feature.take == "sum":
            return lambda state, earlier, event: total(state, earlier, event.time) / scale
        number = self._total(feature, place)
        return lambda state, earlier, event: (
            total(state, earlier, event.time) / (n_values * scale)
            if (n_values := number(state, earlier, event.time))
            else nan
        )

    def _total(self, feature: HistoryFeature, place: int) -> Total:
        """The function that adds up, or finds the largest of, a total of ticks in a feature's window."""
        number, window, step = self._steps.index(feature.step), feature.window, feature.step
        column, is_largest = 1 + self._columns[number].index(place), _is_largest(place)

        def total(state: State, earlier: Sequence[Tick], time: int) -> int:
            tiles = state.tiles[number]
            start = (time - window) // step
            # Only a request that is later than `lateness` reads a tile that also has events after it.
            end = None if state.last < time else bisect_left(tiles[0], -(-time // step))
            values = tiles[column][bisect_left(tiles[0], start) : end]
            for tick in earlier:
                if tick.time >= start * step:
                    values.append(tick.totals[place])
            return max(values, default=NONE) if is_largest else sum(values)

        return total

    def _distinct(self, feature: HistoryFeature) -> Take:
        """The function that counts the different values of a field."""
        index, cap, window, step = self.remembered.index(str(feature.field)), feature.cap, feature.window, feature.step

        def distinct(state: State, earlier: Sequence[Tick], event: Event) -> float:
            begin = (event.time - window) // step * step
            values = {value for value, last in state.seen[index].items() if begin <= last < event.time}
            for tick in earlier:
                if tick.time >= begin:
                    values.update(tick.values[index])
            return float(min(len(values), cap))

        return distinct

    def _seen(self, feature: HistoryFeature) -> Take:
        """The function that says whether a value is among the most recent ones of its field."""
        index, cap = self.remembered.index(str(feature.field)), feature.cap

        def seen(state: State, earlier: Sequence[Tick], event: Event) -> float:
            value = event.values[index]
            if value is None:
                return nan
            last = state.seen[index].copy()
            if state.last >= event.time:
                last = {other: time for other, time in last.items() if time < event.time}
            for tick in earlier:
                last.update(dict.fromkeys(tick.values[index], tick.time))
            if (time := last.get(value, NONE)) < event.time - self._ttl:
                return 0.0
            if len(last) <= cap:
                return 1.0
            more_recent = sum((other_time, other) > (time, value) for other, other_time in last.items())
            return float(more_recent < cap)

        return seen

    def _fraud_rate(self, feature: HistoryFeature) -> Take:
        """The function that computes the share of frauds among events whose labels are known."""
        number, window = self._steps.index(DAY), feature.window
        events, frauds = (1 + self._columns[number].index(place) for place in (0, FRAUDS))

        def fraud_rate(state: State, earlier: Sequence[Tick], event: Event) -> float:
            tiles, known_until = state.tiles[number], event.time - self._delay
            begin, end = (known_until - window) // DAY, known_until // DAY
            days = slice(bisect_left(tiles[0], begin), bisect_left(tiles[0], end))
            n_events = sum(tiles[events][days])
            n_events += sum(tick.totals[0] for tick in earlier if begin * DAY <= tick.time < end * DAY)
            if not n_events:
                return nan
            return (sum(tiles[frauds][days]) + PRIOR_EVENTS * self._usual) / (n_events + PRIOR_EVENTS)

        return fraud_rate

    def _latest(self, state: State, earlier: Sequence[Tick], time: int) -> int:
        """The time of the last event before a time; NONE if there is none, or the entity was forgotten since."""
        latest = earlier[-1].time if earlier else state.last
        return latest if time - self._ttl <= latest < time else NONE

    def _since_last(self, state: State, earlier: Sequence[Tick], event: Event) -> float:
        latest = self._latest(state, earlier, event.time)
        return nan if latest == NONE else float(event.time - latest)

    def _since_first(self, state: State, earlier: Sequence[Tick], event: Event) -> float:
        if self._latest(state, earlier, event.time) == NONE:
            return nan
        first, last = state.first, state.last
        for tick in earlier:
            if last == NONE or tick.time - last > self._ttl:
                first = tick.time
            last = tick.time
        return float(min(event.time - first, self._ttl))


def _fields(declared: Mapping[str, HistoryFeature], takes: Sequence[str]) -> tuple[str, ...]:
    """The fields that features of these kinds read, sorted, so that the order of the declaration does not matter."""
    return tuple(sorted({feature.field for feature in declared.values() if feature.field and feature.take in takes}))


def _remember(state: State, time: int, identifier: int) -> bool:
    """Add an id to the latest ones; returns False if it is among them already."""
    times, ids = state.id_times, state.ids
    if identifier in ids:
        return False
    place = len(ids)
    while place and times[place - 1] >= time and (times[place - 1], ids[place - 1]) > (time, identifier):
        place -= 1
    times.insert(place, time)
    ids.insert(place, identifier)
    if len(ids) > N_IDS:
        del times[0], ids[0]
    return True


def _united(parts: Sequence[Sequence[array[int]]], columns: Sequence[int]) -> list[array[int]]:
    """The tiles of several states as one: sums are added, and of largest values the largest is kept."""
    numbers = sorted({number for tiles in parts for number in tiles[0]})
    place_of = {number: place for place, number in enumerate(numbers)}
    places = [[place_of[number] for number in tiles[0]] for tiles in parts]
    united = [array("q", numbers)]
    for index, column in enumerate(columns, 1):
        is_largest = _is_largest(column)
        totals = [NONE if is_largest else 0] * len(numbers)
        for tiles, of_part in zip(parts, places, strict=True):
            for place, total in zip(of_part, tiles[index], strict=True):
                if not is_largest:
                    totals[place] += total
                elif total > totals[place]:
                    totals[place] = total
        united.append(array("q", totals if is_largest else [min(max(t, -_LARGEST), _LARGEST) for t in totals]))
    return united


def _last_of(parts: Sequence[Mapping[int, int]], cap: int) -> dict[int, int]:
    """The most recent values of several states, with the last time of each."""
    seen: dict[int, int] = {}
    for part in parts:
        for value, last in part.items():
            seen[value] = max(seen.get(value, NONE), last)
    _keep_latest(seen, cap)
    return seen


def _keep_latest(seen: dict[int, int], cap: int) -> None:
    """Forget all but the most recent values."""
    if len(seen) > cap:
        for value, _ in sorted(seen.items(), key=_by_time)[:-cap]:
            del seen[value]


def _copied(tick: Tick) -> Tick:
    return Tick(tick.time, [*tick.totals], [[*values] for values in tick.values])


def _is_largest(place: int) -> bool:
    """Whether the total at a place of a tick is a largest value, not a sum."""
    return place > 0 and place % 3 == 0


def _time(tick: Tick) -> int:
    return tick.time


def _last(state: State) -> int:
    return state.last


def _by_time(item: tuple[int, int]) -> tuple[int, int]:
    return item[1], item[0]
