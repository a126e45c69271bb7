"""Recomputes the answers of a history about one key from the recorded exchanges, and explains recorded differences.

Each answer is computed twice: from all earlier events, as in training, and, in the order in which requests came, from
what the history may have held when it was asked.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import compress, product
from operator import itemgetter
from typing import NamedTuple

from handler.scoring.entity_state import EntityPast, State
from handler.scoring.history import DAY, Entity, History, HistoryFeature, seconds_of
from training.monitoring.past_log import Exchange

# Why a recorded feature differs from the one computed from all earlier events; the last cause means unexplained.
STORE, LATE, REPEATED, BEFORE, TIED, UNKNOWN = "store", "late", "repeated", "before the log", "tied", "unknown"
CAUSES = (STORE, LATE, REPEATED, BEFORE, TIED, UNKNOWN)
# With at most MOST_TRIED events that the history may or may not have held, every subset is tried, else likely ones.
MOST_TRIED, MOST_PREFIXES = 10, 50
# A history counts a fraud at most this many seconds before the function writes the outcome's line.
OUTCOME_SECONDS = 5.0

Features = Sequence[float]


class Compared(NamedTuple):
    """One feature of one exchange, as recorded and as computed from all earlier events."""

    recorded: float
    computed: float
    cause: str
    """Why they differ; "" if they are equal."""


class CheckedFeature(NamedTuple):
    """What the comparison needs to know about one feature."""

    take: str
    cap: int
    place: int
    """The position of its field among the remembered ones; -1 if it reads none."""
    known_from: float
    """The time from which on the log has every event that the feature depends on."""


def checked_feature(name: str, history: History, fold: EntityPast, begins: float) -> CheckedFeature:
    """The description of a feature for a log in which nothing is known from before `begins`."""
    feature = history.features[name]
    place = fold.remembered.index(feature.field) if feature.field in fold.remembered else -1
    return CheckedFeature(
        feature.take, feature.cap, place, begins + _seconds_read(feature, history.entities[feature.entity], history)
    )


def _seconds_read(feature: HistoryFeature, entity: Entity, history: History) -> float:
    """The greatest age, in seconds, of an event that a feature depends on."""
    if not feature.over:
        # An event is the first since the entity was forgotten if the whole ttl before it has no event.
        return seconds_of(entity.ttl) * (2 if feature.take == "since_first" else 1)
    delay = history.label_delay_days * DAY + DAY if feature.take == "fraud_rate" else 0
    return feature.window + feature.step + delay


class KeyReplay:
    """Recomputes the exchanges of one key."""

    def __init__(
        self,
        fold_of: Callable[[float], EntityPast],
        base: bytes | None,
        frauds: Mapping[int, Sequence[float]],
        features: Sequence[CheckedFeature],
        since: float = -math.inf,
    ) -> None:
        """Begin with `base`, a state of the events before `since`, or with an empty state.

        `fold_of` returns the fold for a usual share of frauds; this share affects features, but not states.
        """
        self._fold_of, self._fold, self._features, self._since = fold_of, fold_of(0.0), features, since
        self._frauds = frauds if self._fold.has_frauds else {}
        self._base = base or self._fold.pack(self._fold.empty())

    def compare(self, exchanges: Sequence[Exchange]) -> Iterator[tuple[Exchange, list[Compared]]]:
        """For each exchange, in the order in which they began, its features as recorded and as computed."""
        exchanges = [exchange for exchange in exchanges if max(exchange.event.time, exchange.ended) >= self._since]
        compared = [exchange for exchange in exchanges if exchange.event.time >= self._since]
        by_time = sorted(compared, key=lambda exchange: (exchange.event.time, exchange.began))
        computed = {id(exchange): values for exchange, values in zip(by_time, self._by_time(by_time), strict=True)}
        held = _Held(self._fold, self._fold.unpack(self._base), exchanges, self._frauds, self._since)
        values_before: list[set[int]] = [set() for _ in self._fold.remembered]
        for exchange in sorted(compared, key=lambda exchange: exchange.began):
            held.move_to(exchange)
            n_values = [len(values) for values in values_before]
            causes = [_open_cause(feature, exchange.event.time, n_values) for feature in self._features]
            yield exchange, self._compared(exchange, computed[id(exchange)], held, causes)
            for values, value in zip(values_before, exchange.event.values, strict=True):
                if value is not None:
                    values.add(value)

    def _by_time(self, exchanges: Sequence[Exchange]) -> Iterator[Features]:
        """The features of each exchange from all strictly earlier events, and the frauds reported by then."""
        state = self._fold.unpack(self._base)
        waiting = self._outcomes(exchanges)
        for exchange in exchanges:
            n_known = bisect_right(waiting, exchange.began, key=itemgetter(0))
            due = [outcome for outcome in waiting[:n_known] if outcome[1] < exchange.event.time]
            for outcome in due:
                waiting.remove(outcome)
                self._fold.add_fraud(state, outcome[1])
            yield self._fold_of(exchange.usual).values(state, exchange.event)
            self._fold.add(state, exchange.event)

    def _outcomes(self, exchanges: Sequence[Exchange]) -> list[tuple[float, int]]:
        """When each fraud became known, and the time of its event."""
        firsts: dict[int, Exchange] = {}
        for exchange in sorted(exchanges, key=lambda exchange: exchange.ended):
            if (identifier := exchange.event.id) is not None and identifier in self._frauds:
                firsts.setdefault(identifier, exchange)
        later = (
            ([at for at in self._frauds[identifier] if at >= first.ended], first.event.time)
            for identifier, first in firsts.items()
        )
        return sorted((min(times), time) for times, time in later if times)

    def _compared(
        self, exchange: Exchange, computed: Features, held: "_Held", open_causes: Sequence[str]
    ) -> list[Compared]:
        """Each feature as recorded and as computed from all earlier events, and why they differ.

        A feature with an open cause cannot be determined from the log alone: it fits whenever that cause may explain
        the difference.
        """
        recorded = exchange.features
        if recorded is None:
            return [Compared(math.nan, value, STORE) for value in computed]

        def fits(values: Features) -> bool:
            return all(
                _equal(own, value) or open_cause == TIED or (open_cause and _may_add(feature.take, own, value))
                for feature, own, value, open_cause in zip(self._features, recorded, values, open_causes, strict=True)
            )

        answer = held.answer(exchange, self._fold_of(exchange.usual), fits)
        explained, cause = answer or (computed, UNKNOWN)
        if answer is None and fits(computed):
            cause = BEFORE
        return [
            Compared(own, value, "" if _equal(own, value) else cause if _equal(own, other) else open_cause or cause)
            for own, value, other, open_cause in zip(recorded, computed, explained, open_causes, strict=True)
        ]


class _Held:
    """What a history may have held for a key, as requests come one after the other."""

    def __init__(
        self,
        fold: EntityPast,
        state: State,
        exchanges: Sequence[Exchange],
        frauds: Mapping[int, Sequence[float]],
        since: float,
    ) -> None:
        self._fold, self._state, self._since = fold, state, since
        self._by_end = sorted(exchanges, key=lambda exchange: exchange.ended)
        self._longest = max((exchange.ended - exchange.began for exchange in exchanges), default=0.0)
        self._n_ended = 0
        # Ended exchanges that may or may not have been written, and the latest event time of those surely not written.
        self._unsure: list[Exchange] = []
        self._lost_until = -math.inf
        self._firsts: dict[int, Exchange] = {}
        ids = {exchange.event.id for exchange in exchanges} & frauds.keys()
        self._outcomes = sorted((at, identifier) for identifier in ids if identifier for at in frauds[identifier])
        # Outcomes so far of requests not known to be written, the number of outcomes so far, and the frauds counted.
        self._due: list[tuple[float, int]] = []
        self._n_due, self._frauds = 0, set[int]()

    def move_to(self, exchange: Exchange) -> None:
        """Add the exchanges that ended before an exchange began."""
        while self._n_ended < len(self._by_end) and self._by_end[self._n_ended].ended <= exchange.began:
            ended = self._by_end[self._n_ended]
            self._n_ended += 1
            if ended.features is None or ended.event.time < self._since or self._is_forgotten(ended):
                self._unsure.append(ended)
            else:
                self._write(ended)
        horizon = exchange.event.time - self._fold.kept_seconds
        self._unsure = [unsure for unsure in self._unsure if unsure.event.time >= horizon]
        while self._n_due < len(self._outcomes) and self._outcomes[self._n_due][0] <= exchange.began:
            self._due.append(self._outcomes[self._n_due])
            self._n_due += 1
        self._due = [outcome for outcome in self._due if not self._is_done(*outcome)]

    def _is_done(self, at: float, identifier: int) -> bool:
        """Count an outcome, once per request; returns whether it needs no further handling."""
        first = self._firsts.get(identifier)
        if first is None:
            return identifier in self._frauds
        if at >= first.ended and identifier not in self._frauds:
            self._frauds.add(identifier)
            self._fold.add_fraud(self._state, first.event.time)
        return True

    def answer(
        self, exchange: Exchange, fold: EntityPast, fits: Callable[[Features], bool]
    ) -> tuple[Features, str] | None:
        """Features that fit and that the history may have answered, and why they differ from those of all events.

        None if nothing fits. What the fitting answers reveal about the unsure exchanges is kept.
        """
        event, beside = exchange.event, self._beside(exchange)
        events = [event]
        if is_repeated := event.id is not None and event.id in self._firsts:
            events.append(event._replace(time=self._firsts[event.id or 0].event.time))
        unsure = [other for other in self._unsure if other.event.time < event.time]
        optional = [*beside, *unsure]
        answers: list[tuple[Features, Collection[int]]] = []
        n_earlier = sum(other.event.time < event.time for other in beside)
        for chosen in _choices(len(beside), len(unsure), n_earlier):
            state = self._with([optional[place] for place in chosen]) if chosen else self._state
            for frauds in (False, True) if self._recent_outcomes(exchange) else (False,):
                held = self._with_frauds(state, exchange) if frauds else state
                answers += [(values, chosen) for timed in events if fits(values := fold.values(held, timed))]
            if answers and (not unsure or len(optional) > MOST_TRIED):
                break
        if not answers:
            return None
        self._settle(unsure, [{place - len(beside) for place in chosen} for _, chosen in answers])
        answered, placed = answers[0]
        is_unwritten = len([place for place in placed if place >= len(beside)]) < len(unsure)
        lacks = is_unwritten or self._lost_until >= event.time - self._fold.kept_seconds
        return answered, REPEATED if is_repeated else STORE if lacks else LATE

    def _beside(self, exchange: Exchange) -> list[Exchange]:
        """The exchanges that were under way at the same time as an exchange.

        They include those with later events, because a state that has later events keeps earlier ones in less detail.
        """
        beside = []
        for other in self._by_end[self._n_ended :]:
            if other.ended - self._longest > exchange.ended:
                break
            if other is not exchange and other.began < exchange.ended and other.event.time != exchange.event.time:
                beside.append(other)
        return sorted(beside, key=lambda other: (other.event.time, other.ended))

    def _settle(self, unsure: Sequence[Exchange], choices: Sequence[Collection[int]]) -> None:
        """Note what all fitting choices have in common: which exchanges were written, and which were not."""
        for place, other in enumerate(unsure):
            is_written = {place in chosen for chosen in choices}
            if len(is_written) == 1 and len(unsure) <= MOST_TRIED:
                self._unsure.remove(other)
                if is_written.pop():
                    self._write(other)
                else:
                    self._lost_until = max(self._lost_until, other.event.time)

    def _write(self, exchange: Exchange) -> None:
        self._fold.add(self._state, exchange.event)
        if exchange.event.id is not None:
            self._firsts.setdefault(exchange.event.id, exchange)

    def _is_forgotten(self, exchange: Exchange) -> bool:
        """Whether a repeated id is no longer among the latest: a file's history knows it, but a table's does not."""
        identifier = exchange.event.id
        return identifier is not None and identifier in self._firsts and identifier not in self._state.ids

    def _with(self, exchanges: Sequence[Exchange]) -> State:
        state = self._fold.unpack(self._fold.pack(self._state))
        for exchange in exchanges:
            self._fold.add(state, exchange.event)
        return state

    def _recent_outcomes(self, exchange: Exchange) -> list[int]:
        """The times of events whose outcome arrived while an exchange was under way."""
        latest, recent = exchange.ended + OUTCOME_SECONDS, []
        for at, identifier in self._outcomes[self._n_due :]:
            if at > latest:
                break
            if identifier in self._firsts and identifier not in self._frauds:
                recent.append(self._firsts[identifier].event.time)
        return recent

    def _with_frauds(self, state: State, exchange: Exchange) -> State:
        state = self._fold.unpack(self._fold.pack(state))
        for time in self._recent_outcomes(exchange):
            self._fold.add_fraud(state, time)
        return state


def _choices(n_beside: int, n_unsure: int, n_earlier: int) -> Iterator[tuple[int, ...]]:
    """The choices of optional events to try, as positions: first the concurrent events, by time, then the unsure ones.

    Of the concurrent events: none, all earlier ones (as in a batch), all, and every subset, or only prefixes if there
    are more than MOST_TRIED; each first with none and then with all of the unsure events. Finally, every other choice
    if there are at most MOST_TRIED events.
    """
    beside, unsure = tuple(range(n_beside)), tuple(range(n_beside, n_beside + n_unsure))
    others = (
        _subsets(beside) if n_beside <= MOST_TRIED else (beside[:n] for n in range(1, min(n_beside, MOST_PREFIXES)))
    )
    parts = [(), beside[:n_earlier], beside, *others]
    likely = dict.fromkeys((*part, *rest) for rest in ((), unsure) for part in parts)
    yield from likely
    if n_beside + n_unsure <= MOST_TRIED:
        yield from (chosen for chosen in _subsets((*beside, *unsure)) if chosen not in likely)


def _subsets(places: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for is_chosen in product((False, True), repeat=len(places)):
        yield tuple(compress(places, is_chosen))


def _open_cause(feature: CheckedFeature, time: int, n_values: Sequence[int]) -> str:
    """Why the log cannot determine a feature at a time; "" if it can.

    If there are more values than are remembered, hashes decide which of those of one tick are kept, and the log has
    other hashes.
    """
    if feature.take == "seen" and n_values[feature.place] > feature.cap:
        return TIED
    return BEFORE if time < feature.known_from else ""


def _may_add(take: str, recorded: float, computed: float) -> bool:
    """Whether events from before the log may turn the computed feature into the recorded one."""
    if take in {"count", "distinct", "max", "since_first", "seen"}:
        return math.isnan(computed) or recorded >= computed
    return math.isnan(computed) if take == "since_last" else True


def _equal(left: float, right: float) -> bool:
    """Whether two features are equal to the last bit; missing ones equal each other."""
    return left == right or (math.isnan(left) and math.isnan(right))
