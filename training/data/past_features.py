"""The history features of all rows at once, computed on sorted arrays of integers, equal to the fold to the last bit.

`handler.scoring.entity_state` defines the features and computes them one event at a time; tests check that both agree.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from handler.scoring.entity_state import PRIOR_EVENTS, hash_of
from handler.scoring.fields import SECONDS_A_DAY, DeclaredField
from handler.scoring.history import DAY, LARGEST_MEASURE, Entity, History, HistoryFeature, scale_of, seconds_of
from training.data.checked_source import read_checked
from training.data.folded_sample import require_equal_to_fold
from training.data.past_rows import Codes, Integers, PastRows, past_rows
from training.data.split import window_bounds
from training.data.window import GIVEN
from training.declaration import ScorerDeclaration
from training.run.files import rounded_floats
from training.run.matrix import Floats
from training.run.progress import progress

# The share of the training rows in which the past of an entity is made missing, so that the model learns how to score
# when a store does not answer.
BLANKED = 0.01
# The position of a row among all rows has at most this many bits.
PLACE_BITS = 32
# How many rows are computed at once: few enough to fit a processor's cache; with more, the time per row would grow.
BLOCK_ROWS = 250_000


def whole_measures(values: Floats, scale: int) -> Integers:
    """Measured values as a history sums them, in whole units; a missing one is 0."""
    scaled = np.rint(np.where(np.isnan(values), 0.0, values) * scale)
    return np.clip(scaled, -LARGEST_MEASURE, LARGEST_MEASURE).astype(np.int64)


def history_columns(rows: PastRows, history: History, fields: Mapping[str, DeclaredField]) -> dict[str, Floats]:
    """The values of each history feature, (n_rows,), by its name; NaN = missing."""
    columns: dict[str, Floats] = {}
    time = rows.ticks(history)
    # `distinct` and `seen` do not count an empty text as a value.
    remembered = {str(feature.field) for feature in history.features.values() if feature.take in {"distinct", "seen"}}
    values = replace(rows, texts={name: rows.texts[name].without(("",)) for name in remembered})
    for name, entity in progress(history.entities.items(), "entities", total=len(history.entities)):
        features = history.features_of(name)
        # Row-major, because the rows of a block are far apart: the features of each row are then written in one place.
        table = np.full((len(time), len(features)), np.nan)
        for keyed in _blocks(rows.keys(entity)):
            past = _SortedPast(values, time, keyed, entity, history, fields)
            table[past.places] = np.stack([past.feature(feature) for feature in features.values()], axis=1)
        columns |= {feature: table[:, number] for number, feature in enumerate(features)}
    return {name: columns[name] for name in history.features}


def _blocks(codes: Codes) -> Iterator[Integers]:
    """The rows with a key, sorted by key and then by time, in blocks that never split a key.

    Each row is one integer: the code of its key, shifted by PLACE_BITS, and its position.
    """
    n_rows = np.bincount(codes + 1)[1:]
    block = (np.cumsum(n_rows) - n_rows) // BLOCK_ROWS
    # Rows without a key, whose code is -1, are in a last block of their own.
    numbers = np.append(block, block.max(initial=-1) + 1).astype(np.uint16)[codes]
    # numpy sorts numbers of 16 bits in linear time.
    places = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=1))[: block.max(initial=-1) + 1].tolist()
    for start, end in pairwise([0, *ends]):
        # A key with very many rows is followed by empty blocks.
        if start < end:
            keyed = codes[places[start:end]].astype(np.int64) << PLACE_BITS | places[start:end]
            keyed.sort()
            yield keyed


def history_of_rows(
    batches: Iterable[pa.RecordBatch], scorer: ScorerDeclaration, learned: tuple[float, float]
) -> dict[str, Floats]:
    """The `history_columns` of checked rows in order of time; `learned` is the start and end of the training window.

    In a share of its rows, BLANKED, the past of an entity is made missing. Empty if the scorer declares no history.
    Raises DataError if the features of a sample of rows differ from the fold.
    """
    if not scorer.history:
        return {}
    rows = past_rows(batches, scorer.history, scorer.time, scorer.label)
    first, last = np.searchsorted(rows.seconds, learned)
    label = rows.label[first:last]
    history = scorer.history.learned(
        scorer.split.label_delay_days, rounded_floats(int(label.sum()) / max(len(label), 1))
    )
    columns = history_columns(rows, history, scorer.fields)
    require_equal_to_fold(rows, scorer.model_copy(update={"history": history}), columns, scorer.seed)
    for number, entity in enumerate(history.entities):
        is_blank = np.random.default_rng([scorer.seed, number]).random(last - first) < BLANKED
        for name in history.features_of(entity):
            columns[name][first:last][is_blank] = np.nan
    return columns


def add_past_features(rows: pd.DataFrame, scorer: ScorerDeclaration) -> pd.DataFrame:
    """Checked rows in order of time with the features of their past; the same rows if no history is declared."""
    if not scorer.history:
        return rows
    # pandas may hold texts in several chunks, but a batch has only one.
    (batch,) = pa.Table.from_pandas(rows, preserve_index=False).combine_chunks().to_batches()
    seconds = rows[scorer.time].to_numpy()
    _, end = window_bounds(seconds, scorer.split)["train"]
    past = history_of_rows([batch], scorer, (seconds[0] + scorer.history.warmup_days * SECONDS_A_DAY, end))
    return with_past_features(batch, past, 0).to_pandas()


def read_with_past_features(scorer: ScorerDeclaration) -> pd.DataFrame:
    """The checked rows of a scorer's file, in order of time, with the features of their past."""
    return add_past_features(read_checked(scorer).sort_values(scorer.time, kind="stable", ignore_index=True), scorer)


def past_schema(scorer: ScorerDeclaration) -> pa.Schema:
    """The columns that `with_past_features` adds."""
    features = scorer.history.features if scorer.history else ()
    return pa.schema([(f"{name}{GIVEN}" if name in scorer.fields else name, pa.float64()) for name in features])


def with_past_features(batch: pa.RecordBatch, past: Mapping[str, Floats], first: int) -> pa.RecordBatch:
    """Rows with the features of their past, which fill in the missing values of a field of the same name.

    What such a field held before is kept in a column of its own, as a caller would send it. `first` is the position of
    the first row among all rows.
    """
    for name, values in past.items():
        computed = values[first : first + len(batch)]
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.array(computed, pa.float64(), from_pandas=True))
            continue
        place = batch.schema.get_field_index(name)
        given = batch.column(place)
        filled = pc.coalesce(given, pa.array(computed, pa.float64(), from_pandas=True))
        batch = batch.set_column(place, name, filled).append_column(f"{name}{GIVEN}", given)
    return batch


class _SortedPast:
    """Rows of one kind of entity, sorted by entity and then by time."""

    def __init__(  # noqa: PLR0913, PLR0917 - what all blocks share, and the block
        self,
        rows: PastRows,
        time: Integers,
        keyed: Integers,
        entity: Entity,
        history: History,
        fields: Mapping[str, DeclaredField],
    ) -> None:
        self._rows, self._history, self._fields = rows, history, fields
        self._ttl = seconds_of(entity.ttl)
        self.places = keyed & (1 << PLACE_BITS) - 1
        self._key = (keyed >> PLACE_BITS) - (keyed[0] >> PLACE_BITS)
        self._start = int(time[0])
        self._time = time[self.places] - self._start
        self._span = int(time[-1]) - self._start + 1
        self._ordered = self._key * self._span + self._time
        n_rows = len(self.places)
        is_first = np.ones(n_rows, dtype=bool)
        is_first[1:] = self._ordered[1:] != self._ordered[:-1]
        # The position of the first row in each row's own tick; the entity's rows before it are strictly earlier.
        self._end = np.maximum.accumulate(np.where(is_first, np.arange(n_rows), 0))

    def feature(self, feature: HistoryFeature) -> Floats:
        """A feature's values, in the order of `places`."""
        if feature.take == "distinct":
            return self._distinct(feature)
        if feature.take == "seen":
            return self._seen(feature)
        if feature.take in {"since_last", "since_first"}:
            return self._since(feature)
        return self._risk(feature) if feature.take == "fraud_rate" else self._measured(feature)

    def _from(self, begin: Integers) -> Integers:
        """For each row, the position of its entity's first row at or after a time."""
        first: Integers = np.searchsorted(self._ordered, self._key * self._span + np.maximum(begin, 0))
        return first

    def _begin(self, feature: HistoryFeature, time: Integers) -> Integers:
        begin: Integers = (time + self._start - feature.window) // feature.step * feature.step - self._start
        return begin

    def _measured(self, feature: HistoryFeature) -> Floats:
        begin, end = self._from(self._begin(feature, self._time)), self._end
        if feature.take == "count":
            return (end - begin).astype(np.float64)
        name = str(feature.field)
        values = self._rows.numbers[name][self.places]
        scale = scale_of(self._fields[name])
        whole, is_given = whole_measures(values, scale), ~np.isnan(values)
        if feature.take == "max":
            largest = _largest(np.where(is_given, whole, _NONE), begin, end)
            return np.where(largest == _NONE, np.nan, largest / scale)
        total = _between(whole, begin, end)
        if feature.take == "sum":
            return _quotient(total, np.full(len(total), scale))
        number = _between(is_given.astype(np.int64), begin, end)
        return _quotient(total, number * scale)

    def _risk(self, feature: HistoryFeature) -> Floats:
        delay = round(self._history.label_delay_days * DAY)
        known_until = self._time - delay
        first = (known_until + self._start - feature.window) // DAY * DAY - self._start
        last = (known_until + self._start) // DAY * DAY - self._start
        begin, end = self._from(first), np.where(last > 0, self._from(last), 0)
        end = np.maximum(end, begin)
        frauds = _between((self._rows.label[self.places] == 1).astype(np.int64), begin, end)
        n_events = end - begin
        risk = (frauds + PRIOR_EVENTS * self._history.usual_fraud_rate) / (n_events + PRIOR_EVENTS)
        return np.where(n_events > 0, risk, np.nan)

    def _since(self, feature: HistoryFeature) -> Floats:
        before = np.maximum(self._end - 1, 0)
        gap = self._time - self._time[before]
        has_past = (self._end > 0) & (self._key[before] == self._key) & (gap <= self._ttl)
        if feature.take == "since_last":
            return np.where(has_past, gap, np.nan)
        # A run of rows begins where an entity is new or was forgotten.
        positions = np.arange(len(self._time))
        begins = np.where((self._end == positions) & ~has_past, positions, 0)
        first = self._time[np.maximum.accumulate(begins)]
        return np.where(has_past, np.minimum(self._time - first, self._ttl), np.nan)

    def _distinct(self, feature: HistoryFeature) -> Floats:
        """How many different values there were in the window, at most `cap`.

        A row counts in a later row's window if no row between them has the same value. The rows whose windows count it
        are therefore consecutive: from the tick after its own, until its value recurs or the window has moved past it.
        """
        n_rows = len(self.places)
        value = _SameValues(self._key, self._rows.texts[str(feature.field)].codes[self.places])
        again = value.next_places()
        # The position at which the rows of the next tick begin.
        after = np.append(np.searchsorted(self._end, np.arange(n_rows), side="right"), n_rows)
        begin = self._from(self._begin(feature, self._time))
        last = np.minimum(after[again], np.searchsorted(begin, np.arange(n_rows), side="right"))
        counts = value.is_given & (after[:-1] < last)
        steps = np.bincount(after[:-1][counts], minlength=n_rows + 1)
        steps -= np.bincount(last[counts], minlength=n_rows + 1)
        return np.minimum(np.cumsum(steps)[:-1], feature.cap).astype(np.float64)

    def _seen(self, feature: HistoryFeature) -> Floats:
        """Whether the row's value is among its entity's `cap` most recent ones, and occurred within the ttl."""
        texts = self._rows.texts[str(feature.field)]
        codes = texts.codes[self.places]
        value = _SameValues(self._key, codes)
        before = value.places_before(self._end)
        is_seen = (before >= 0) & (self._time - self._time[before] <= self._ttl)
        seen = np.where(value.is_given, is_seen, np.nan)
        # Only these entities had more values than are remembered; their rows are computed one by one.
        if len(forgetful := np.flatnonzero(value.n_values()[self._key] > feature.cap)):
            rows = self._rows_of(forgetful, codes, texts.texts)
            seen[forgetful] = np.fromiter(_is_recent(rows, feature.cap), np.float64, len(forgetful))
        return seen

    def _rows_of(self, places: Integers, codes: Integers, texts: Sequence[str]) -> "Iterator[Row]":
        """The rows at some positions, one by one; for each of them, values count within the ttl."""
        distinct, numbers = np.unique(codes[places], return_inverse=True)
        hashes = np.array([hash_of(texts[code]) if code >= 0 else 0 for code in distinct.tolist()])[numbers]
        time = self._time[places]
        columns = (self._key[places], time, codes[places], hashes, time - self._ttl)
        return zip(*(column.tolist() for column in columns), strict=True)


class _SameValues:
    """Finds the rows of an entity with the same value of a field, among rows sorted by entity and time."""

    def __init__(self, key: Integers, codes: Integers) -> None:
        self.is_given = codes >= 0
        self._key = key
        self._same = key * (int(codes.max(initial=-1)) + 2) + codes + 1
        self._order = np.argsort(self._same, kind="stable")
        ordered = self._same[self._order]
        self._is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]

    def next_places(self) -> Integers:
        """The position of the entity's next row with the same value; the number of rows if there is none."""
        places = np.full(len(self._order), len(self._order))
        is_followed = ~self._is_first[1:]
        places[self._order[:-1][is_followed]] = self._order[1:][is_followed]
        return places

    def places_before(self, begins: Integers) -> Integers:
        """The last row with the same value before the row's tick, which begins at `begins`; -1 if there is none."""
        tick = begins[self._order]
        is_new = self._is_first.copy()
        is_new[1:] |= tick[1:] != tick[:-1]
        first = np.maximum.accumulate(np.where(is_new, np.arange(len(tick)), 0))
        places = np.empty(len(tick), np.int64)
        places[self._order] = np.where(self._is_first[first], -1, self._order[first - 1])
        return places

    def n_values(self) -> Integers:
        """The number of different values of each entity."""
        first = self._order[self._is_first]
        n_values: Integers = np.bincount(self._key[first][self.is_given[first]], minlength=int(self._key[-1]) + 1)
        return n_values


_NONE = np.iinfo(np.int64).min


def _between(values: Integers, begin: Integers, end: Integers) -> Integers:
    """The sums of the values from `begin` to before `end`."""
    sums = np.concatenate([[0], np.cumsum(values)])
    total: Integers = sums[end] - sums[begin]
    return total


def _quotient(total: Integers, number: Integers) -> Floats:
    """The quotients, correctly rounded as by Python even if totals exceed 2**53; NaN where `number` is 0."""
    is_exact = np.abs(total) < 2**53
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(number > 0, total / number, np.nan)
    for place in np.flatnonzero(~is_exact & (number > 0)):
        quotient[place] = int(total[place]) / int(number[place])
    return quotient


def _largest(values: Integers, begin: Integers, end: Integers) -> Integers:
    """The largest of the values from `begin` to before `end`; _NONE where there are no values.

    Uses a sparse table (Bender and Farach-Colton 2000), of which only one level is in memory at a time.
    """
    length = end - begin
    largest = np.full(len(begin), _NONE)
    level, width = values, 1
    while width <= (length.max() if len(length) else 0):
        at = np.flatnonzero((length >= width) & (length < 2 * width))
        largest[at] = np.maximum(level[begin[at]], level[end[at] - width])
        level = np.maximum(level[:-width], level[width:]) if len(level) > width else level[:0]
        width *= 2
    return largest


Row = tuple[int, int, int, int, int]
"""A row's entity, time, value (-1: missing), the value's hash, and the time from which values count."""


def _recent(rows: Iterable[Row], cap: int) -> Iterator[tuple[Row, list[tuple[int, int]], dict[int, int]]]:
    """Each row with its entity's most recent values, at most `cap`: as ascending (time, hash), and time by hash."""
    recent: list[tuple[int, int]] = []
    last: dict[int, int] = {}
    waiting: set[int] = set()
    before, tick = -1, -1
    for row in rows:
        key, time, code, value, _ = row
        if key != before:
            recent, last, waiting, before, tick = [], {}, set(), key, time
        elif time != tick:
            for other in waiting:
                if other in last:
                    del recent[bisect_left(recent, (last[other], other))]
                insort(recent, (tick, other))
                last[other] = tick
            for _, other in recent[:-cap]:
                del last[other]
            del recent[:-cap]
            waiting, tick = set(), time
        yield row, recent, last
        if code >= 0:
            waiting.add(value)


def _is_recent(rows: Iterable[Row], cap: int) -> Iterator[float]:
    """For each row, whether its value is among its entity's most recent ones; NaN if it has no value."""
    for (_, _, code, value, begin), _, last in _recent(rows, cap):
        yield np.nan if code < 0 else float(last.get(value, begin - 1) >= begin)
