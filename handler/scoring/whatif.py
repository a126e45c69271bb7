"""What would have passed: the smallest change of one field, else of two, after which a request leaves its band.

The search is exact, because a sum of trees changes only at the thresholds of its nodes. It tries the nearest value
beyond each threshold that a field can cross, by itself or through a feature computed from it, unless a lower bound of
the sum shows that none would pass. For two fields that one feature reads, it finds a pair whenever one would pass, but
not always the nearest. Imported by the first request that asks.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched, combinations, permutations
from math import ceil, floor, inf, nan
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple

from pydantic import BaseModel

from handler.scoring.contract import OTHER
from handler.scoring.features import LARGEST_FLOAT32
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import Scored, Scorer
from handler.scoring.sentence import value_text
from handler.scoring.trees import Sum, float32, resolved, sum_of, trees_of

# How many rows one call scores.
ROWS_AT_ONCE = 1_000
# The distance of another category, or of a value in place of a missing one: as if past all training rows.
WHOLE = 1.0
# The difference between two neighbouring values of a field, by type.
STEPS = {"money": 0.01, "count": 1.0}
# How far XGBoost's sum of float32 leaves may be from the sum of the same leaves here.
TOLERANCE = 1e-3


NOT_TRIED = {
    "changes": [],
    "sentence": "the search ran out of time before it found a change; not every change was tried",
    "complete": False,
}


class Change(NamedTuple):
    """Another value of a field; its distance is the share of the training rows between both values."""

    distance: float
    difference: float
    """The distance in the field's unit, which ranks values that no training row lies between."""
    value: Any


@dataclass(frozen=True)
class _Changeable:
    """A field that a change may touch."""

    name: str
    place: int
    """Its place among the contract's columns, and so among the features."""
    field: DeclaredField
    derived: tuple[int, ...]
    """The features that are computed from it."""

    @property
    def features(self) -> tuple[int, ...]:
        """All features that move with it."""
        return self.place, *self.derived


class _Found(NamedTuple):
    """A change that leaves the band, and its result."""

    distance: tuple[float, float]
    fields: tuple[_Changeable, ...]
    changes: tuple[Change, ...]
    result: Scored


class WhatIf:
    """Finds the smallest changes for one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        """Read the model's trees."""
        contract, self._scorer = scorer.contract, scorer
        columns = list(contract.columns.items())
        operands = [{left, right} for _, left, right in scorer.bundle.features.derived]
        self._changeable = [
            _Changeable(
                name, place, field, tuple(len(columns) + at for at, read in enumerate(operands) if place in read)
            )
            for place, (name, field) in enumerate(columns)
            if field.changeable
        ]
        self._trees = trees_of(scorer.bundle.booster.model_json())
        names = contract.inputs
        values = attrgetter(*names)
        self._values = values if len(names) > 1 else lambda request: (values(request),)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that a change may touch."""
        return tuple(changeable.name for changeable in self._changeable)

    def answer(self, request: BaseModel, scored: Scored, ends: float = inf) -> dict[str, Any]:
        """The smallest change, and what the answer would be after it; if there is none, a sentence that says so.

        If the clock (`time.monotonic`) reaches `ends` before everything was tried, it is the smallest change found
        until then, and `complete` is False.
        """
        values = dict(zip(self._scorer.contract.inputs, self._values(request), strict=True))
        if monotonic() >= ends:
            return NOT_TRIED.copy()
        moving = {feature for changeable in self._changeable for feature in changeable.features}
        row = [float32(value) for value in scored.vector]
        trees = sum_of(resolved(tree, row, moving) for tree in self._trees)
        # The margin exceeds the sum of the leaves that the present values reach by the model's base score.
        base = self._scorer.bundle.booster.margin(scored.vector) - trees.resolved(row, ()).rest
        search = _Search(self._scorer, values, scored, trees._replace(rest=trees.rest + base), ends)
        for n_fields in (1, 2):
            nearest, is_complete = search.smallest(combinations(self._changeable, n_fields))
            if nearest:
                answer = self._found(values, scored, nearest.fields, nearest.changes, nearest.result)
                if not is_complete:
                    answer["sentence"] += "; a smaller change may exist, because the search ran out of time"
                return answer if is_complete else answer | {"complete": False}
            if not is_complete:
                return NOT_TRIED.copy()
        names = " and ".join(self.names) if len(self.names) < 3 else f"one or two of {', '.join(self.names)}"  # noqa: PLR2004
        return {"changes": [], "sentence": f"no change of {names} alone would lead to another decision"}

    def _found(
        self,
        values: Mapping[str, Any],
        scored: Scored,
        fields: Sequence[_Changeable],
        changes: Sequence[Change],
        result: Scored,
    ) -> dict[str, Any]:
        """The answer that describes a change."""
        features = self._scorer.bundle.features
        texts, shown = [], []
        for changeable, change in zip(fields, changes, strict=True):
            key = changeable.field.alias or changeable.name
            now = values[changeable.name]
            shown.append({"field": key, "value": now, "to": change.value})
            text = _value_text(features, changeable.place, change.value)
            texts.append(f"{key} {text} in place of {_value_text(features, changeable.place, now)}")
        became = result.band or "not flagged"
        answer: dict[str, Any] = {"changes": shown, "probability": result.probability}
        if result.band:
            answer["band"] = result.band
        was = scored.band or "flagged"
        return answer | {"sentence": f"with {' and '.join(texts)} it would have been: {became}, not {was}"}


class _Search:
    """The search for one request."""

    def __init__(self, scorer: Scorer, values: Mapping[str, Any], scored: Scored, trees: Sum, ends: float) -> None:
        """Take the request's values, its result, the trees that changeable fields affect, and when to end."""
        self._scorer, self._features, self._booster = scorer, scorer.bundle.features, scorer.bundle.booster
        self._n_columns = len(scorer.contract.columns)
        self._values, self._vector, self._trees, self._ends = values, scored.vector, trees, ends
        # The values beyond a threshold, by (feature, threshold, whether at both ends). Only for features that are a
        # field's own, because no other field moves these values.
        self._crossed: dict[tuple[int, float, bool], Sequence[float]] = {}
        limit = scorer.block if scored.band == "block" else scorer.threshold
        self._limit: float = limit  # type: ignore[assignment]  # a band to block has a threshold

    def smallest(self, combined: Iterable[tuple[_Changeable, ...]]) -> tuple[_Found | None, bool]:
        """The nearest change of some combination of fields that leaves the band, and whether all were tried."""
        best, nearest = None, (inf, inf)
        # Combinations that share a feature take longest, so they come last, when something near may be known.
        try:
            for fields in sorted(combined, key=_share_a_feature):
                self._watch_the_clock()
                for ordered, least, changes in self._groups(fields):
                    if least < nearest and (candidate := self._first(ordered, changes, nearest)):
                        best, nearest = candidate, candidate.distance
        except TimeoutError:
            return best, False
        return best, True

    def _groups(
        self, fields: tuple[_Changeable, ...]
    ) -> Iterator[tuple[tuple[_Changeable, ...], tuple[float, float], Iterable[tuple[Change, ...]]]]:
        """The changes of these fields that may leave the band, in groups: fields in order, least distance, changes."""
        first, *others = fields
        trees = self._trees_of(self._trees, self._vector, fields)
        if not self._may_leave(trees):
            return
        if not others:
            yield fields, (0.0, 0.0), ((change,) for change in self._changes_of(first, self._vector, trees))
            return
        # A feature computed from both moves with either. Then each field takes a turn as the first, with the values at
        # both ends of each stretch, next to which the other is changed. If any pair of a stretch passes, one of these
        # does.
        is_shared = _share_a_feature(fields)
        for ordered in permutations(fields) if is_shared else (fields,):
            for change in sorted(self._changes_of(ordered[0], self._vector, trees, both_ends=is_shared)):
                yield ordered, change[:2], self._pairs(ordered, change, trees)

    def _pairs(self, fields: tuple[_Changeable, ...], change: Change, trees: Sum) -> Iterator[tuple[Change, ...]]:
        """A change of the first field together with each of the second; none if no value of the second would pass."""
        first, second = fields
        vector = _applied(self._vector, self._moved((first,), (change,)))
        trees = self._trees_of(trees, vector, (second,))
        if self._may_leave(trees):
            yield from ((change, other) for other in self._changes_of(second, vector, trees))

    def _trees_of(self, trees: Sum, vector: Sequence[float], fields: Iterable[_Changeable]) -> Sum:
        """What is left of the trees if only some fields move, and the others are as in a vector."""
        moving = {feature for field in fields for feature in field.features}
        return trees.resolved([float32(value) for value in vector], moving)

    def _may_leave(self, trees: Sum) -> bool:
        return self._scorer.probability(trees.least() - TOLERANCE) < self._limit

    def _first(
        self, fields: tuple[_Changeable, ...], tried: Iterable[tuple[Change, ...]], nearest: tuple[float, float]
    ) -> _Found | None:
        """The nearest change that leaves the band, if nearer than `nearest`; raises TimeoutError when time is up."""
        self._watch_the_clock()
        nearer = [(distance, changes) for changes in tried if (distance := _distance(changes)) < nearest]
        nearer.sort(key=lambda pair: pair[0])
        for some in batched(nearer, ROWS_AT_ONCE, strict=False):
            self._watch_the_clock()
            moved = [self._moved(fields, changes) for _, changes in some]
            margins = self._booster.changed_margins(self._vector, moved)
            for (distance, changes), features, margin in zip(some, moved, margins, strict=True):
                if self._scorer.probability(margin) < self._limit:
                    result = self._scorer.scored(_applied(self._vector, features), margin)
                    return _Found(distance, fields, changes, result)
        return None

    def _watch_the_clock(self) -> None:
        if monotonic() >= self._ends:
            raise TimeoutError

    def _moved(self, fields: Sequence[_Changeable], changes: Sequence[Change]) -> dict[int, float]:
        """The features that changes move: those of their fields, and those that are computed from them."""
        encoders, derived, vector = self._features.encoders, self._features.derived, self._vector
        moved = {
            changeable.place: encoders[changeable.place](change.value)
            for changeable, change in zip(fields, changes, strict=True)
        }
        for changeable in fields:
            for feature in changeable.derived:
                operation, left, right = derived[feature - self._n_columns]
                moved[feature] = operation(
                    moved[left] if left in moved else vector[left], moved[right] if right in moved else vector[right]
                )
        return moved

    def _changes_of(
        self, changeable: _Changeable, vector: Sequence[float], trees: Sum, *, both_ends: bool = False
    ) -> list[Change]:
        """The changes of one field that may move the trees, with the other features as in the vector.

        For each stretch of values between two thresholds: the nearest value, or with `both_ends` those at both ends.
        """
        field, now = changeable.field, self._values[changeable.name]
        if field.type == "flag":
            return [Change(WHOLE, WHOLE, value) for value in (False, True) if value is not now]
        if field.type == "category":
            labels = [label for label in self._features.labels[changeable.place] or () if label not in {OTHER, now}]
            return [Change(WHOLE, WHOLE, label) for label in labels]
        # Also the value nearest to 0, where a quotient has a pole, and those next to it if the field has steps.
        step, least = STEPS.get(field.type), min(max(0.0, field.lowest), field.highest)
        tried = {
            least,
            *(_around(least, step) if step else ()),
            *self._beyond(changeable, vector, trees, both_ends=both_ends),
        }
        valid = [value for value in tried if field.lowest <= value <= field.highest and value != now]
        shown = [int(value) if field.type == "count" else value for value in valid]
        if now is None:
            return [Change(WHOLE, abs(value), value) for value in shown]
        percentiles = self._scorer.bundle.reference[changeable.name].get("percentiles") or [0.0]
        position = _position(percentiles, now)
        return [Change(abs(_position(percentiles, value) - position), abs(value - now), value) for value in shown]

    def _beyond(
        self, changeable: _Changeable, vector: Sequence[float], trees: Sum, *, both_ends: bool
    ) -> Iterator[float]:
        """The nearest value beyond each of the trees' thresholds that a field can cross, or those on both sides."""
        thresholds = trees.thresholds()
        for threshold in thresholds.get(changeable.place, ()):
            crossing = changeable.place, threshold, both_ends
            if crossing not in self._crossed:
                across = self._across(changeable, vector, changeable.place, threshold, both_ends=both_ends)
                self._crossed[crossing] = across
            yield from self._crossed[crossing]
        for feature in changeable.derived:
            for threshold in thresholds.get(feature, ()):
                yield from self._across(changeable, vector, feature, threshold, both_ends=both_ends)

    def _across(
        self, changeable: _Changeable, vector: Sequence[float], feature: int, threshold: float, *, both_ends: bool
    ) -> Sequence[float]:
        """The value nearest to the present one for which a feature is on the other side of a threshold.

        There is also one on the same side with `both_ends`, or if its sign differs from the present value's, because a
        quotient has a pole at 0.
        """
        edge = self._solved(changeable, vector, feature, threshold)
        if not abs(edge) <= LARGEST_FLOAT32:
            return ()
        now = self._values[changeable.name] or 0.0
        by_side: dict[bool, float] = {}
        for value in sorted(_around(edge, STEPS.get(changeable.field.type)), key=lambda value: abs(value - now)):
            by_side.setdefault(self._feature_at(changeable, vector, feature, value) >= threshold, value)
            if len(by_side) > 1:
                break
        if edge * now > 0 and not both_ends:
            by_side.pop(self._feature_at(changeable, vector, feature, now) >= threshold, None)
        return tuple(by_side.values())

    def _feature_at(self, changeable: _Changeable, vector: Sequence[float], feature: int, value: float) -> float:
        """A feature's value, as the model compares it, if a field has a value."""
        place = changeable.place
        encoded = self._features.encoders[place](value)
        if feature != place:
            operation, left, right = self._features.derived[feature - self._n_columns]
            encoded = operation(
                encoded if left == place else vector[left], encoded if right == place else vector[right]
            )
        return float32(encoded)

    def _solved(self, changeable: _Changeable, vector: Sequence[float], feature: int, threshold: float) -> float:
        """The value of a field at which a feature reaches a threshold; NaN if there is none."""
        if feature == changeable.place:
            return threshold
        _, left, right = self._features.derived[feature - self._n_columns]
        is_left = left == changeable.place
        other = vector[right if is_left else left]
        if self._scorer.contract.features[self._features.names[feature]].product:
            return threshold / other if other else nan
        if is_left:
            return threshold * other
        return other / threshold if threshold else nan


def _applied(vector: Sequence[float], moved: Mapping[int, float]) -> list[float]:
    """A vector with other values of some features."""
    applied = list(vector)
    for feature, value in moved.items():
        applied[feature] = value
    return applied


def _share_a_feature(fields: Sequence[_Changeable]) -> bool:
    """Whether a feature is computed from two of these fields."""
    return any(set(field.derived) & set(other.derived) for field, other in combinations(fields, 2))


def _distance(changes: Sequence[Change]) -> tuple[float, float]:
    """The distance and the difference of all changes together."""
    return sum(change.distance for change in changes), sum(change.difference for change in changes)


def _around(edge: float, step: float | None) -> set[float]:
    """The values on either side of an edge that a field can have."""
    # The model compares in float32, which is coarser than cents from about 131,000 on.
    spacing = max(abs(edge), 1e-30) * 2**-23
    near = [edge]
    if step is None or 4 * spacing > step:
        near += [edge + sign * scale * spacing for sign in (-1, 1) for scale in (0.5, 1, 2)]
    if step is None:
        return set(near)
    return {
        round(number * step, 2) for value in near for number in range(floor(value / step) - 1, ceil(value / step) + 2)
    }


def _position(percentiles: Sequence[float], value: float) -> float:
    """The share of the training rows below a value, continued linearly beyond the smallest and the largest row."""
    lowest, highest = percentiles[0], percentiles[-1]
    width = (highest - lowest) or max(abs(highest), 1.0)
    if value <= lowest:
        return (value - lowest) / width
    if value >= highest:
        return 1.0 + (value - highest) / width
    place = bisect_left(percentiles, value)
    low, high = percentiles[place - 1], percentiles[place]
    return (place - 1 + (value - low) / (high - low)) / (len(percentiles) - 1)


def _value_text(features: Any, place: int, value: Any) -> str:  # noqa: ANN401 - a request's value
    if value is None:
        return "a missing value"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value_text(features, place, float(value)) if is_number else str(value)
