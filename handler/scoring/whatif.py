"""What would have passed: the smallest change of one field, else of two, after which a request leaves its band.

Exact, because the answer of a sum of trees moves only at the thresholds of its nodes: of each stretch of values between
two of them the nearest one is tried, through the features that are computed from the field too. Imported by the first
request that asks.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched, combinations, product
from math import ceil, floor, inf, isnan
from operator import attrgetter
from struct import pack, unpack
from time import monotonic
from typing import Any, NamedTuple

from pydantic import BaseModel

from handler.scoring.contract import OTHER
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import Scored, Scorer
from handler.scoring.sentence import value_text

# So many rows are scored by one call.
ROWS_AT_ONCE = 1_000
# Another category, or a value in place of a missing one, counts as a way past all training rows.
WHOLE = 1.0


class Change(NamedTuple):
    """Another value of a field, and how far it is away: the share of the training rows between both values."""

    distance: float
    difference: float
    """In the unit of the field, which tells values apart that no training row lies between."""
    value: Any


@dataclass(frozen=True)
class _Changeable:
    """A field that a change may touch."""

    name: str
    place: int
    """Among the contract's columns, and so among the features."""
    field: DeclaredField
    derived: tuple[int, ...]
    """The features that are computed from it."""


class WhatIf:
    """Finds the smallest changes for one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        """Read the thresholds of the model's nodes."""
        contract, self._scorer = scorer.contract, scorer
        self._features, self._booster = scorer.bundle.features, scorer.bundle.booster
        columns = list(contract.columns.items())
        self._n_columns = len(columns)
        operands = [{left, right} for _, left, right in self._features.derived]
        self._changeable = [
            _Changeable(
                name, place, field, tuple(self._n_columns + at for at, read in enumerate(operands) if place in read)
            )
            for place, (name, field) in enumerate(columns)
            if field.changeable
        ]
        self._thresholds = _thresholds_of(self._booster.model_json(), len(self._features.names))
        names = contract.inputs
        values = attrgetter(*names)
        self._values = values if len(names) > 1 else lambda request: (values(request),)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that a change may touch."""
        return tuple(changeable.name for changeable in self._changeable)

    def answer(self, request: BaseModel, scored: Scored, ends: float = inf) -> dict[str, Any]:
        """The smallest change, and what the answer would be after it; without one a sentence that says so.

        Where not everything was tried when the clock (`time.monotonic`) reached `ends`, it is the smallest of what was,
        and `complete` is False.
        """
        values = dict(zip(self._scorer.contract.inputs, self._values(request), strict=True))
        for n_fields in (1, 2):
            found, is_complete = self._smallest(values, scored, n_fields, ends)
            if found:
                answer = self._found(values, scored, *found)
                if not is_complete:
                    answer["sentence"] += "; a smaller change may exist, because the search ended early"
                return answer if is_complete else answer | {"complete": False}
            if not is_complete:
                text = "no change was found until the search ended early; not every one was tried"
                return {"changes": [], "sentence": text, "complete": False}
        names = " and ".join(self.names) if len(self.names) < 3 else f"one or two of {', '.join(self.names)}"  # noqa: PLR2004
        return {"changes": [], "sentence": f"no change of {names} alone would lead to another decision"}

    def _smallest(
        self, values: Mapping[str, Any], scored: Scored, n_fields: int, ends: float
    ) -> tuple[tuple[tuple[_Changeable, ...], tuple[Change, ...], Scored] | None, bool]:
        """The nearest change of so many fields that leaves the band with its result, and whether all were tried."""
        best, nearest = None, (inf, inf)
        # Those that share a feature take longest: by then something near may be known.
        for fields in sorted(combinations(self._changeable, n_fields), key=_share_a_feature):
            for least, group in self._groups(values, scored.vector, fields):
                if least >= nearest:
                    break
                if monotonic() >= ends:
                    return best, False
                nearer = (changes for changes in group if _distance(changes) < nearest)
                try:
                    found = self._first(scored, fields, sorted(nearer, key=_distance), ends)
                except TimeoutError:
                    return best, False
                if found:
                    nearest, best = _distance(found[0]), (fields, *found)
        return best, True

    def _first(
        self, scored: Scored, fields: Sequence[_Changeable], tried: Sequence[tuple[Change, ...]], ends: float
    ) -> tuple[tuple[Change, ...], Scored] | None:
        """The first of several changes that leaves the band, and its result; raises TimeoutError when time is up."""
        scorer = self._scorer
        limit = scorer.block if scored.band == "block" else scorer.threshold
        for some in batched(tried, ROWS_AT_ONCE, strict=False):
            if monotonic() >= ends:
                raise TimeoutError
            vectors = [self._moved(scored.vector, fields, changes) for changes in some]
            for changes, vector, margin in zip(some, vectors, self._booster.margins(vectors), strict=True):
                if scorer.probability(margin) < limit:  # type: ignore[operator]  # a band to block has a threshold
                    return changes, scorer.scored(vector, margin)
        return None

    def _moved(self, vector: list[float], fields: Sequence[_Changeable], changes: Sequence[Change]) -> list[float]:
        """The vector of a request after changes: their features, and those that are computed from them."""
        moved = vector.copy()
        for changeable, change in zip(fields, changes, strict=True):
            moved[changeable.place] = self._features.encoders[changeable.place](change.value)
        for changeable in fields:
            for feature in changeable.derived:
                operation, left, right = self._features.derived[feature - self._n_columns]
                moved[feature] = operation(moved[left], moved[right])
        return moved

    def _groups(
        self, values: Mapping[str, Any], vector: list[float], fields: Sequence[_Changeable]
    ) -> Iterator[tuple[tuple[float, float], Iterable[tuple[Change, ...]]]]:
        """Every change of these fields, one for each stretch of values between which the answer cannot move.

        In groups, each with a distance that none of its changes is below, in ascending order.
        """
        first, *others = fields
        changes = self._changes_of(values, vector, first)
        if not others:
            yield (0.0, 0.0), ((change,) for change in changes)
        elif not _share_a_feature(fields):
            yield (0.0, 0.0), product(changes, self._changes_of(values, vector, others[0]))
        else:
            for change in sorted(changes, key=lambda change: (change.distance, change.difference)):
                yield _distance((change,)), self._pairs(values, vector, fields, change)

    def _pairs(
        self, values: Mapping[str, Any], vector: list[float], fields: Sequence[_Changeable], change: Change
    ) -> Iterator[tuple[Change, ...]]:
        """The changes of a second field beside one of the first, which a feature of both depends on."""
        first, second = fields
        moved = self._moved(vector, (first,), (change,))
        yield from ((change, other) for other in self._changes_of(values, moved, second))

    def _changes_of(self, values: Mapping[str, Any], vector: list[float], changeable: _Changeable) -> list[Change]:
        """The changes of one field, the other features being as in the vector."""
        field, now = changeable.field, values[changeable.name]
        if field.type == "flag":
            return [Change(WHOLE, WHOLE, value) for value in (False, True) if value is not now]
        if field.type == "category":
            labels = [label for label in self._features.labels[changeable.place] or () if label not in {OTHER, now}]
            return [Change(WHOLE, WHOLE, label) for label in labels]
        nearest: dict[tuple[int, ...], Change] = {}
        for value in self._candidates(vector, changeable):
            change = self._change(now, value, changeable)
            cell = self._cell(self._moved(vector, (changeable,), (change,)), changeable)
            if cell not in nearest or change < nearest[cell]:
                nearest[cell] = change
        nearest.pop(self._cell(vector, changeable), None)
        return list(nearest.values())

    def _candidates(self, vector: list[float], changeable: _Changeable) -> set[float]:
        """Values on either side of each threshold of the field's feature and of those computed from it."""
        place, field = changeable.place, changeable.field
        edges = list(self._thresholds[place])
        for feature in changeable.derived:
            _, left, right = self._features.derived[feature - self._n_columns]
            other = vector[right if place == left else left]
            edges += (
                _solved(self._scorer, feature, is_left=place == left, other=other, threshold=threshold)
                for threshold in self._thresholds[feature]
            )
        step = {"money": 0.01, "count": 1.0}.get(field.type)
        values = {0.0}
        for edge in edges:
            if not isnan(edge) and abs(edge) < inf:
                values |= _around(edge, step)
        return {value for value in values if field.lowest <= value <= field.highest}

    def _cell(self, vector: list[float], changeable: _Changeable) -> tuple[int, ...]:
        """Between which thresholds a vector lies in the features that the field decides; -1 for a missing one."""
        return tuple(
            -1 if isnan(value := vector[at]) else _n_reached(self._thresholds[at], value)
            for at in (changeable.place, *changeable.derived)
        )

    def _change(self, now: Any, value: float, changeable: _Changeable) -> Change:  # noqa: ANN401 - a request's value
        shown = int(value) if changeable.field.type == "count" else value
        if now is None:
            return Change(WHOLE, abs(value), shown)
        percentiles = self._scorer.bundle.reference[changeable.name].get("percentiles") or [0.0]
        distance = abs(_position(percentiles, value) - _position(percentiles, now))
        return Change(distance, abs(value - now), shown)

    def _found(
        self,
        values: Mapping[str, Any],
        scored: Scored,
        fields: Sequence[_Changeable],
        changes: Sequence[Change],
        result: Scored,
    ) -> dict[str, Any]:
        """The answer that tells a change."""
        features = self._features
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


def _share_a_feature(fields: Sequence[_Changeable]) -> bool:
    """Whether a feature is computed from two of these fields."""
    return any(set(one.derived) & set(other.derived) for one, other in combinations(fields, 2))


def _distance(changes: Sequence[Change]) -> tuple[float, float]:
    """How far all changes together are."""
    return sum(change.distance for change in changes), sum(change.difference for change in changes)


def _thresholds_of(model: Mapping[str, Any], n_features: int) -> list[list[float]]:
    """Per feature the values from which on nodes send a number to the right, ascending."""
    thresholds: list[set[float]] = [set() for _ in range(n_features)]
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        nodes = zip(
            tree["left_children"], tree["split_type"], tree["split_indices"], tree["split_conditions"], strict=True
        )
        for left, kind, index, condition in nodes:
            if left != -1 and kind == 0:
                thresholds[index].add(_float32(condition))
    return [sorted(of_feature) for of_feature in thresholds]


def _float32(value: float) -> float:
    return float(unpack("<f", pack("<f", value))[0])


def _n_reached(thresholds: Sequence[float], value: float) -> int:
    """How many thresholds a value reaches, as XGBoost compares them: in float32."""
    value = _float32(value)
    place = bisect_left(thresholds, value)
    return place + (place < len(thresholds) and thresholds[place] == value)


def _solved(scorer: Scorer, feature: int, *, is_left: bool, other: float, threshold: float) -> float:
    """The value of an operand at which a ratio or a product has a value; NaN where there is none."""
    name = scorer.bundle.features.names[feature]
    if scorer.contract.features[name].product:
        return threshold / other if other else float("nan")
    if is_left:
        return threshold * other
    return other / threshold if threshold else float("nan")


def _around(edge: float, step: float | None) -> set[float]:
    """The values on either side of an edge that a field can have."""
    if step is None:
        # A few steps of float32, in which the model compares, and the edge itself.
        return {
            edge,
            *(edge + sign * scale * max(abs(edge), 1e-30) * 2**-23 for sign in (-1, 1) for scale in (0.5, 1, 2)),
        }
    near = floor(edge / step), ceil(edge / step)
    return {round(number * step, 2) for number in range(near[0] - 1, near[1] + 2)}


def _position(percentiles: Sequence[float], value: float) -> float:
    """Which share of the training rows lies below a value, going on evenly beyond the first and the last one."""
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
