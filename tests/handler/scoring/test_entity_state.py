"""The fold of an entity's past agrees with its definition, in any order of arrival, and its size is bounded."""

from itertools import pairwise
from math import isnan, nan
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.scoring.entity_state import (
    MOST_BYTES,
    N_IDS,
    PRIOR_EVENTS,
    RAW_TICKS,
    EntityPast,
    Event,
    State,
    hash_of,
    whole,
)
from handler.scoring.history import DAY, HOUR, MINUTE, HistoryFeature
from tests.entity_takes import CARD, DELAY, FIELDS, RATE, declared_takes

HISTORY = declared_takes(CARD)
PAST = EntityPast(HISTORY, "card", FIELDS)
START = 1_700_000_000


class Row:
    """One event as the definition reads it."""

    def __init__(
        self, time: int, amount: float | None, weight: float | None, device: str | None, *, fraud: bool
    ) -> None:
        """Keep the values."""
        self.time, self.amount, self.weight, self.device, self.fraud = time, amount, weight, device, fraud

    def event(self, number: int | None = None) -> Event:
        """The row as the fold reads it."""
        measures = {"amount": whole(self.amount, 100), "weight": whole(self.weight, 1_000_000)}
        return Event(
            self.time,
            [measures[name] for name in PAST.measured],
            [None if self.device is None else hash_of(self.device)],
            None if number is None else hash_of(f"id {number}"),
        )


def by_definition(rows: list[Row], row: Row, feature: HistoryFeature) -> float:  # noqa: C901, PLR0911 - one branch for each kind
    """A feature of a row, computed from all rows without any state."""
    earlier = [other for other in rows if other.time < row.time]
    begin = (row.time - feature.window) // feature.step * feature.step if feature.over else 0
    within = [other for other in earlier if other.time >= begin]
    if feature.take == "count":
        return float(len(within))
    if feature.take in {"sum", "mean", "max"}:
        values = [value for other in within if (value := getattr(other, str(feature.field))) is not None]
        if feature.take == "sum":
            return round(sum(round(value * 1e6) for value in values)) / 1e6
        cents = [round(value * 100) for value in values]
        if not cents:
            return nan
        return max(cents) / 100 if feature.take == "max" else sum(cents) / (100 * len(cents))
    if feature.take == "distinct":
        return float(min(len({other.device for other in within if other.device is not None}), feature.cap))
    if feature.take == "seen":
        if row.device is None:
            return nan
        last = {hash_of(other.device): other.time for other in sorted(earlier, key=lambda r: r.time) if other.device}
        newest = sorted(last, key=lambda value: (last[value], value))[-feature.cap :]
        value = hash_of(row.device)
        return float(value in newest and last[value] >= row.time - 90 * DAY)
    if feature.take == "fraud_rate":
        days = ((row.time - DELAY - feature.window) // DAY * DAY, (row.time - DELAY) // DAY * DAY)
        settled = [other for other in rows if days[0] <= other.time < days[1]]
        return (sum(r.fraud for r in settled) + PRIOR_EVENTS * RATE) / (len(settled) + PRIOR_EVENTS) if settled else nan
    times = sorted({other.time for other in earlier})
    if not times or row.time - times[-1] > 90 * DAY:
        return nan
    if feature.take == "since_last":
        return float(row.time - times[-1])
    first = times[0]
    for before, after in pairwise(times):
        if after - before > 90 * DAY:
            first = after
    return float(min(row.time - first, 90 * DAY))


def same(left: float, right: float) -> bool:
    """Whether two features are equal to the last bit, or both missing."""
    return left == right or (isnan(left) and isnan(right))


GAPS = st.sampled_from([0, 1, 30, MINUTE, 5 * MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY, 8 * DAY, 40 * DAY, 100 * DAY])
ROWS = st.lists(
    st.tuples(
        GAPS,
        st.none() | st.integers(0, 10**6).map(lambda cents: cents / 100),
        st.none() | st.floats(-1e3, 1e3).map(lambda value: round(value, 3)),
        st.none() | st.sampled_from("abcdef"),
        st.booleans(),
    ),
    max_size=40,
)


def rows_of(drawn: list[tuple[int, float | None, float | None, str | None, bool]]) -> list[Row]:
    """Rows in order of time, from the gaps between them."""
    times = START + np.cumsum([gap for gap, *_ in drawn], dtype=np.int64)
    return [
        Row(int(time), amount, weight, device, fraud=fraud)
        for time, (_, amount, weight, device, fraud) in zip(times, drawn, strict=True)
    ]


def folded(rows: list[Row], *, mark: bool = True) -> State:
    """The state after the rows, in this order."""
    state = PAST.empty()
    for number, row in enumerate(rows):
        PAST.add(state, row.event(number))
    for row in rows if mark else ():
        if row.fraud:
            PAST.add_fraud(state, row.time)
    return state


@given(ROWS)
@settings(max_examples=300, deadline=None)
def test_features_are_those_of_the_definition(drawn: list[Any]) -> None:
    """Every feature of every row equals, to the last bit, what its definition says of all rows."""
    rows, state = rows_of(drawn), PAST.empty()
    for number, row in enumerate(rows):
        state = PAST.unpack(PAST.pack(state))
        values = dict(zip(PAST.names, PAST.values(state, row.event()), strict=True))
        for name, feature in HISTORY.features.items():
            if feature.take != "fraud_rate":
                assert same(values[name], by_definition(rows, row, feature)), name
        PAST.add(state, row.event())
        if row.fraud:
            PAST.add_fraud(state, row.time)
        # Labels are known only after the delay, so the risk from all rows so far is compared at a later time.
        later = Row(row.time + DELAY + 3 * DAY, None, None, None, fraud=False)
        risk = PAST.values(state, later.event())[PAST.names.index("risk")]
        added = rows[: number + 1]
        assert same(risk, by_definition(added, later, HISTORY.features["risk"]))


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_order_of_arrival_does_not_matter(drawn: list[Any], random: Random) -> None:
    """Rows that arrive within `lateness` in any order, and twice, leave the same bytes."""
    rows = rows_of(drawn)
    numbered = list(enumerate(rows))
    arrival = sorted(numbered, key=lambda item: item[1].time + random.uniform(0, 600))
    expected, state = folded(rows, mark=False), PAST.empty()
    for number, row in arrival:
        assert PAST.add(state, row.event(number))
        assert not PAST.add(state, row.event(number))
    assert PAST.pack(state) == PAST.pack(expected)


FEATURES = st.lists(
    st.tuples(
        st.sampled_from(["count", "sum", "mean", "max", "distinct", "seen", "fraud_rate", "since_last"]),
        st.sampled_from(["5m", "1h", "24h", "7d", "30d", "90d"]),
        st.integers(1, 64),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(FEATURES, st.sampled_from(["1s", "10m", "1d"]), st.sampled_from([1, 60, HOUR, DAY]), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_no_traffic_exceeds_the_bound_of_a_declaration(
    drawn: list[tuple[str, str, int, bool]], lateness: str, gap: int, seed: int
) -> None:
    """Events come in any order and as late as possible, and their labels at any time."""
    features: dict[str, dict[str, Any]] = {}
    for number, (take, over, cap, is_other) in enumerate(drawn):
        feature: dict[str, Any] = {"entity": "card", "take": take}
        if take in {"sum", "mean", "max"}:
            feature["field"] = "weight" if is_other else "amount"
        if take in {"distinct", "seen"}:
            feature |= {"field": "card" if is_other else "device", "cap": cap}
        if take not in {"seen", "since_last"}:
            # The window of a fraud_rate moves in days.
            feature["over"] = "24h" if take == "fraud_rate" and over in {"5m", "1h"} else over
        features[f"f{number}"] = feature
    history = declared_takes(CARD, features=features, lateness=lateness)
    past, draw = EntityPast(history, "card", FIELDS), np.random.default_rng(seed)
    state, times = past.empty(), list[int]()
    for number in range(400):
        time = START + number * gap - int(draw.choice([0, 0, 0, draw.integers(0, 200 * DAY)]))
        times.append(time)
        values = [int(value) for value in draw.integers(0, 10**6, len(past.remembered))]
        past.add(state, Event(time, [5] * len(past.measured), values, number))
        if past.has_frauds and draw.random() < 0.5:
            past.add_fraud(state, int(draw.choice(times)))
        assert len(past.pack(state)) <= past.most_bytes


def test_the_bound_is_near() -> None:
    """A state that is filled by its traffic has more than nine tenths of the bound."""
    history = declared_takes(CARD, features={"n": {"entity": "card", "take": "count", "over": "90d"}}, lateness="1d")
    past = EntityPast(history, "card", FIELDS)
    state = past.empty()
    for number in range(1_000):
        past.add(state, Event(START + number * 3 * HOUR, [], [], number))
    assert 0.9 * past.most_bytes < len(past.pack(state)) <= past.most_bytes


def test_late_labels_do_not_exceed_the_bound() -> None:
    """Labels of days that no feature reads any more leave nothing behind."""
    state, days = PAST.empty(), range(500)
    for day in days:
        PAST.add(state, Event(START + day * DAY, [None, None], [None]))
    before = PAST.pack(state)
    for day in days[:400]:
        PAST.add_fraud(state, START + day * DAY)
    assert PAST.pack(state) == before


def test_what_makes_a_state_smaller_is_said() -> None:
    """The advice is for its largest part: here the lateness, which needs a day of tiles in steps of five minutes."""
    history = declared_takes(CARD, lateness="1d")
    assert max(EntityPast(history, "card", FIELDS).parts()) == (
        8 * 301 * 4,
        "shorten lateness or over of count_1h and mean_1h",
    )


def test_a_fraud_that_was_never_an_event_changes_nothing() -> None:
    """An empty state remains empty."""
    state = PAST.empty()
    PAST.add_fraud(state, START)
    assert state == PAST.empty()


@pytest.mark.parametrize("gap", [0, 1, 7, 60, 3_600, 86_400])
def test_size_is_bounded(gap: int) -> None:
    """A state with every kind of feature has at most the computed size, whatever the traffic."""
    state = PAST.empty()
    for number in range(3_000):
        for same in range(3):
            row = Row(START + number * gap, 1e15, -1e9, f"device {number} {same}", fraud=True)
            PAST.add(state, row.event(number))
    assert len(PAST.pack(state)) <= PAST.most_bytes < MOST_BYTES
    assert PAST.pack(PAST.unpack(PAST.pack(state))) == PAST.pack(state)


@pytest.mark.parametrize("content", [b"", b"1234567", bytes(800), b"\xff" * 800, bytes(8)])
def test_other_bytes_are_no_state(content: bytes) -> None:
    """Bytes that are not a state are refused with a ValueError."""
    with pytest.raises(ValueError, match="not a state of this history"):
        PAST.unpack(content)


def test_a_late_event_of_before_the_entity_was_forgotten_is_not_its_first() -> None:
    """The first event is the first since the entity was forgotten, even if an older event arrives after it."""
    state = PAST.empty()
    old, first, later = (Row(START + days * DAY, None, None, None, fraud=False) for days in (0, 200, 201))
    for row in (first, later, old):
        PAST.add(state, row.event())
    last_row = Row(START + 203 * DAY, None, None, None, fraud=False)
    assert PAST.values(state, last_row.event())[PAST.names.index("age")] == 3 * DAY
    in_order = PAST.empty()
    for row in (old, first, later):
        PAST.add(in_order, row.event())
    assert (state.first, state.last) == (in_order.first, in_order.last)


def test_a_late_event_of_since_the_entity_was_forgotten_is_its_first() -> None:
    """A late event within the ttl before the first one takes its place."""
    state = PAST.empty()
    for days in (200, 201, 120):
        PAST.add(state, Row(START + days * DAY, None, None, None, fraud=False).event())
    assert state.first == START + 120 * DAY


@given(ROWS, st.integers(0, 600))
@settings(max_examples=200, deadline=None)
def test_a_retry_has_the_features_of_its_first_time(drawn: list[Any], later: int) -> None:
    """An event whose id is known does not see itself, whatever its time is now."""
    state = PAST.empty()
    for number, row in enumerate(rows_of(drawn)[-16:]):
        values = PAST.values(state, row.event(number))
        PAST.add(state, row.event(number))
        row.time += later
        again = PAST.values(state, row.event(number))
        assert all(map(same, again, values))
        assert not PAST.add(state, row.event(number))


def added(rows: list[tuple[int, Row]]) -> State:
    """The state after numbered rows, whose labels are known at once."""
    state = PAST.empty()
    for number, row in rows:
        PAST.add(state, row.event(number))
        if row.fraud:
            PAST.add_fraud(state, row.time)
    return state


@given(ROWS, st.integers(0, 40), st.sampled_from([0, 1, 30, 599, HOUR, DAY - 1]), st.none() | st.randoms())
@settings(max_examples=800, deadline=None)
def test_a_merged_state_is_that_of_all_events(drawn: list[Any], cut: int, offset: int, random: Random | None) -> None:
    """The merged state equals the fold of all events, byte for byte.

    The base has the events before a time, and the live state those since. If that time is a midnight, the live state
    may also have some of the events before it, which count once.
    """
    rows = list(enumerate(rows_of(drawn)))
    as_of = rows[cut][1].time if cut < len(rows) else START + 10**8
    if random:
        # Shift the rows so that the midnight at which they are cut is close to one of them.
        shift = -(as_of - offset) % DAY
        for _, row in rows:
            row.time += shift
        as_of = (as_of + shift) // DAY * DAY
    before = [(number, row) for number, row in rows if row.time < as_of]
    since = [(number, row) for number, row in rows if row.time >= as_of]
    remembered = [item for item in before if random.random() < 0.7] if random else []
    base, live = added(before), added(remembered + since)
    packed = PAST.pack(base), PAST.pack(live)
    merged = PAST.merged(base, live, as_of)
    assert PAST.pack(merged) == PAST.pack(added(rows))
    assert (PAST.pack(base), PAST.pack(live)) == packed, "neither is changed"
    if random:
        assert PAST.pack(PAST.merged(base, merged, as_of)) == PAST.pack(merged), "merging again changes nothing"


@given(ROWS, st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_events_that_cannot_be_told_apart_are_not_merged(drawn: list[Any], cut: int) -> None:
    """If the time is no midnight, a live state with an event before it is refused."""
    rows = list(enumerate(rows_of(drawn)))
    as_of = rows[min(cut, len(rows) - 1)][1].time + 1 if rows else START
    # Older events leave no trace in the live state.
    if any(rows[-1][1].time - 80 * DAY < row.time < as_of for _, row in rows) and as_of % DAY:
        with pytest.raises(ValueError, match="must be midnight"):
            PAST.merged(PAST.empty(), added(rows), as_of)


# Some rows lie so close that more than RAW_TICKS, and more ids than a state keeps, are within `lateness`.
CLOSE_ROWS = st.tuples(ROWS, st.integers(0, 3 * RAW_TICKS)).map(
    lambda drawn: drawn[0] + [(7, 5.0, None, "a", False)] * drawn[1]
)


@given(CLOSE_ROWS, st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_united_states_are_that_of_all_events(drawn: list[Any], n_shards: int, random: Random) -> None:
    """The united state equals that of all events, however they are spread and in whatever order they arrive.

    Two things differ: the union has ids that a single state forgets, and shards cannot tell the first event. Features
    are equal at any time, even if a single state can no longer keep the ticks within `lateness` apart: the union
    settles its ticks in the same way.
    """
    rows = rows_of(drawn)
    arrival = sorted(enumerate(rows), key=lambda item: item[1].time + random.uniform(0, 900))
    shards: list[list[tuple[int, Row]]] = [[] for _ in range(n_shards)]
    for item in arrival:
        random.choice(shards).append(item)
    states, expected = [added(shard) for shard in shards], added(arrival)
    packed = [PAST.pack(state) for state in states]
    united = PAST.united(states)
    for _, row in arrival[-4:]:
        for later in (-599, -1, 0, 1, DAY, 9 * DAY):
            later_event = Row(row.time + later, None, None, row.device, fraud=False).event()
            pairs = zip(PAST.names, PAST.values(united, later_event), PAST.values(expected, later_event), strict=True)
            assert all(name == "age" or same(left, right) for name, left, right in pairs)
    assert {*united.ids} >= {*expected.ids}
    assert [*united.ids[-N_IDS:]] == [*expected.ids]
    united.ids, united.id_times, united.first = expected.ids, expected.id_times, expected.first
    assert PAST.pack(united) == PAST.pack(expected)
    PAST.add(united, Event(START + 200 * DAY, [None, None], [None]))
    assert [PAST.pack(state) for state in states] == packed, "none is changed"


def test_a_resent_request_is_known_to_its_shard() -> None:
    """It has the features of its first time, although a single state would have forgotten its id."""
    old, others = PAST.empty(), PAST.empty()
    first = Row(START, None, None, None, fraud=False)
    PAST.add(old, first.event(0))
    for number in range(1, N_IDS + 8):
        PAST.add(others, Row(START + 1, None, None, None, fraud=False).event(number))
    again = Row(START + HOUR // 2, None, None, None, fraud=False).event(0)
    assert PAST.values(PAST.united([old, others]), again)[PAST.names.index("count_24h")] == 0.0


@pytest.mark.parametrize(("gap", "first"), [(80, 0), (100, 100)])
def test_the_first_event_of_shards_is_that_since_all_forgot_it(gap: int, first: int) -> None:
    """A shard whose last event is more than the ttl before those of the others does not count, as far as they tell."""
    states = [
        added([(n, Row(START + days * DAY, None, None, None, fraud=False)) for n, days in enumerate(of)])
        for of in ([0], [gap, gap + 1, gap + 2], [gap + 3])
    ]
    assert PAST.united(states[::-1]).first == START + first * DAY
