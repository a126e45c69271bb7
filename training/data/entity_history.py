"""The features of all rows' histories at once: integers in sorted arrays, equal to the fold to the last bit.

`handler.scoring.entity_state` defines the features and computes them one event at a time; tests hold both equal.
"""

import json
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from handler.scoring.entity_state import PRIOR_EVENTS, hash_of
from handler.scoring.fields import SECONDS_A_DAY, DeclaredField
from handler.scoring.history import DAY, LARGEST_MEASURE, Entity, History, HistoryFeature, scale_of, seconds_of
from training.data.split import window_bounds
from training.data.window import GIVEN
from training.declaration import ScorerDeclaration
from training.run.files import rounded
from training.run.matrix import Floats, Labels
from training.run.progress import progress

Integers = npt.NDArray[np.int64]
# The share of the training rows in which the past of an entity is missing, so that the model learns what to do when a
# store does not answer.
BLANKED = 0.01


@dataclass(frozen=True)
class Texts:
    """A column of texts: each row's number of its text, -1 where it is missing, and the texts."""

    codes: Integers
    texts: Sequence[str]

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> "Texts":
        """The texts of a column."""
        encoded = (
            pa.chunked_array(column.dictionary_encode().unify_dictionaries().chunks)
            if isinstance(column, pa.ChunkedArray)
            else pa.chunked_array([column.dictionary_encode()])
        )
        if not encoded.num_chunks:
            return cls(np.empty(0, np.int64), [])
        codes = [
            chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) for chunk in encoded.chunks
        ]
        return cls(np.concatenate(codes), encoded.chunk(0).dictionary.to_pylist())

    def without(self, ignored: Sequence[str]) -> "Texts":
        """The same with some texts as missing."""
        is_ignored = np.array([text in ignored for text in self.texts] + [True])
        return Texts(np.where(is_ignored[self.codes], -1, self.codes), self.texts)


@dataclass(frozen=True)
class PastRows:
    """Rows in order of time, as far as a history reads them."""

    seconds: Floats
    label: Labels
    texts: Mapping[str, Texts]
    numbers: Mapping[str, Floats]
    ids: Integers | None = None
    """The hashes of the rows' ids, which the fold alone reads."""

    def at(self, places: Integers) -> "PastRows":
        """The rows at some places, in that order."""
        return PastRows(
            self.seconds[places],
            self.label[places],
            {name: Texts(column.codes[places], column.texts) for name, column in self.texts.items()},
            {name: column[places] for name, column in self.numbers.items()},
            None if self.ids is None else self.ids[places],
        )


def read_columns(history: History) -> tuple[list[str], list[str]]:
    """The columns of texts and of numbers that a history reads."""
    texts = [key for entity in history.entities.values() for key in entity.keys]
    texts += [str(f.field) for f in history.features.values() if f.take in {"distinct", "seen"}]
    numbers = [str(f.field) for f in history.features.values() if f.take in {"sum", "mean", "max"}]
    return list(dict.fromkeys(texts)), list(dict.fromkeys(numbers))


def past_rows(table: pa.Table, history: History, time: str, label: Labels, ids: Integers | None = None) -> PastRows:
    """The rows of a table, as far as a history reads them."""
    texts, numbers = read_columns(history)
    return PastRows(
        table[time].to_numpy(),
        label,
        {name: Texts.of(table[name]) for name in texts},
        {name: table[name].to_numpy() for name in numbers},
        ids,
    )


def key_of(rows: PastRows, entity: Entity) -> Texts:
    """The key of each row's entity, missing where any of its fields is."""
    columns = [rows.texts[name].without(entity.ignore) for name in entity.keys]
    if len(columns) == 1:
        return columns[0]
    is_missing = np.any([column.codes < 0 for column in columns], axis=0)
    pairs, codes = np.unique(np.stack([column.codes for column in columns], axis=1), axis=0, return_inverse=True)
    texts = [
        json.dumps([column.texts[code] for column, code in zip(columns, pair, strict=True)], ensure_ascii=False)
        for pair in pairs.tolist()
    ]
    return Texts(np.where(is_missing, -1, codes.ravel()), texts)


def ticks(seconds: Floats, history: History) -> Integers:
    """Times rounded down to the resolution, in seconds."""
    resolution = seconds_of(history.resolution)
    whole: Integers = (np.floor_divide(seconds, resolution) * resolution).astype(np.int64)
    return whole


def whole_measures(values: Floats, scale: int) -> Integers:
    """Measured values in whole units; a missing one is 0."""
    scaled = np.rint(np.where(np.isnan(values), 0.0, values) * scale)
    return np.clip(scaled, -LARGEST_MEASURE, LARGEST_MEASURE).astype(np.int64)


def history_columns(rows: PastRows, history: History, fields: Mapping[str, DeclaredField]) -> dict[str, Floats]:
    """Per feature of the history its value in each row, (n_rows,); NaN is missing."""
    columns = {name: np.full(len(rows.seconds), np.nan) for name in history.features}
    for name, entity in progress(history.entities.items(), "entities", total=len(history.entities)):
        past = _SortedPast(rows, entity, history, fields)
        for feature_name, values in past.features(history.features_of(name)):
            columns[feature_name][past.places] = values
    return columns


def history_of_rows(
    batches: Iterable[pa.RecordBatch], scorer: ScorerDeclaration, learned: tuple[float, float]
) -> dict[str, Floats]:
    """As `history_columns`, of checked rows in order of time; `learned` are the bounds of the training window.

    Empty where the scorer declares no history.
    """
    if not scorer.history:
        return {}
    texts, numbers = read_columns(scorer.history)
    kept = [scorer.time, scorer.label, *texts, *numbers]
    table = pa.Table.from_batches([batch.select(list(dict.fromkeys(kept))) for batch in batches])
    rows = past_rows(table, scorer.history, scorer.time, table[scorer.label].to_numpy())
    first, last = np.searchsorted(rows.seconds, learned)
    label = rows.label[first:last]
    history = scorer.history.learned(scorer.split.label_delay_days, rounded(int(label.sum()) / max(len(label), 1)))
    columns = history_columns(rows, history, scorer.fields)
    for number, entity in enumerate(history.entities):
        is_blank = np.random.default_rng([scorer.seed, number]).random(last - first) < BLANKED
        for name in history.features_of(entity):
            columns[name][first:last][is_blank] = np.nan
    return columns


def add_past(rows: pd.DataFrame, scorer: ScorerDeclaration) -> pd.DataFrame:
    """Checked rows in order of time with the features of their past; the same rows where no history is declared."""
    if not scorer.history:
        return rows
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    seconds = rows[scorer.time].to_numpy()
    _, end = window_bounds(seconds, scorer.split)["train"]
    past = history_of_rows([batch], scorer, (seconds[0] + scorer.history.warmup_days * SECONDS_A_DAY, end))
    return with_past(batch, past, 0).to_pandas()


def past_schema(scorer: ScorerDeclaration) -> pa.Schema:
    """The columns that `with_past` adds."""
    features = scorer.history.features if scorer.history else ()
    return pa.schema([(f"{name}{GIVEN}" if name in scorer.fields else name, pa.float64()) for name in features])


def with_past(batch: pa.RecordBatch, past: Mapping[str, Floats], first: int) -> pa.RecordBatch:
    """Rows with the features of their past, which fill a field of the same name where it is missing.

    What such a field held is kept beside it, as a caller would send it. `first` is the number of the first row.
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
    """The rows of the entities of one kind, sorted by entity and time."""

    def __init__(self, rows: PastRows, entity: Entity, history: History, fields: Mapping[str, DeclaredField]) -> None:
        self._rows, self._history, self._fields = rows, history, fields
        key = key_of(rows, entity)
        self._ttl = seconds_of(entity.ttl)
        with_key = np.flatnonzero(key.codes >= 0)
        self.places = with_key[np.argsort(key.codes[with_key], kind="stable")]
        self._key = key.codes[self.places]
        time = ticks(rows.seconds, history)
        self._start = int(time[0]) if len(time) else 0
        self._time = time[self.places] - self._start
        self._span = int(time[-1]) - self._start + 1 if len(time) else 1
        self._ordered = self._key * self._span + self._time
        n_rows = len(self.places)
        is_first = np.ones(n_rows, dtype=bool)
        is_first[1:] = self._ordered[1:] != self._ordered[:-1]
        # The first row of each row's own tick: rows before it are strictly earlier.
        self._end = np.maximum.accumulate(np.where(is_first, np.arange(n_rows), 0))

    def features(self, declared: Mapping[str, HistoryFeature]) -> Iterator[tuple[str, Floats]]:
        """Each feature's values, in the order of `places`."""
        for name, feature in declared.items():
            if feature.take in {"distinct", "seen"}:
                yield name, self._of_values(feature)
            elif feature.take in {"since_last", "since_first"}:
                yield name, self._since(feature)
            elif feature.take == "fraud_rate":
                yield name, self._risk(feature)
            else:
                yield name, self._measured(feature)

    def _from(self, begin: Integers) -> Integers:
        """The position of each entity's first row at or after a time."""
        return np.searchsorted(self._ordered, self._key * self._span + np.maximum(begin, 0))

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
        known = self._time - delay
        first = (known + self._start - feature.window) // DAY * DAY - self._start
        last = (known + self._start) // DAY * DAY - self._start
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
        # A run of an entity's rows begins where it was forgotten.
        positions = np.arange(len(self._time))
        begins = np.where((self._end == positions) & ~has_past, positions, 0)
        first = self._time[np.maximum.accumulate(begins)]
        return np.where(has_past, np.minimum(self._time - first, self._ttl), np.nan)

    def _of_values(self, feature: HistoryFeature) -> Floats:
        texts = self._rows.texts[str(feature.field)]
        hashes = np.array([hash_of(text) for text in texts.texts] + [0])
        codes = texts.codes[self.places]
        begin = self._time - self._ttl if feature.take == "seen" else self._begin(feature, self._time)
        rows = zip(*(column.tolist() for column in (self._key, self._time, codes, hashes[codes], begin)), strict=True)
        taken = _n_recent if feature.take == "distinct" else _is_recent
        return np.fromiter(taken(rows, feature.cap), np.float64, len(codes))


_NONE = np.iinfo(np.int64).min


def _between(values: Integers, begin: Integers, end: Integers) -> Integers:
    """The sums of the values from `begin` to before `end`."""
    sums = np.concatenate([[0], np.cumsum(values)])
    total: Integers = sums[end] - sums[begin]
    return total


def _quotient(total: Integers, number: Integers) -> Floats:
    """The quotient as Python rounds it, which is exact for sums above 2**53 too; NaN where there is nothing."""
    is_exact = np.abs(total) < 2**53
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(number > 0, total / number, np.nan)
    for place in np.flatnonzero(~is_exact & (number > 0)):
        quotient[place] = int(total[place]) / int(number[place])
    return quotient


def _largest(values: Integers, begin: Integers, end: Integers) -> Integers:
    """The largest of the values from `begin` to before `end`; _NONE where there is none.

    By a sparse table (Bender and Farach-Colton 2000), of which one level is in memory.
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
"""Of a row its entity, time, value (-1: missing), the value's hash, and the time from which values count."""


def _recent(rows: Iterable[Row], cap: int) -> Iterator[tuple[Row, list[tuple[int, int]], dict[int, int]]]:
    """Each row with its entity's most recent values, at most `cap`, as time and hash, ascending, and as a dict."""
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


def _n_recent(rows: Iterable[Row], cap: int) -> Iterator[float]:
    """Per row how many different values its entity had."""
    for row, recent, _ in _recent(rows, cap):
        yield float(len(recent) - bisect_left(recent, (row[-1],)))


def _is_recent(rows: Iterable[Row], cap: int) -> Iterator[float]:
    """Per row whether its value is among its entity's most recent ones; NaN where it has none."""
    for (_, _, code, value, begin), _, last in _recent(rows, cap):
        yield np.nan if code < 0 else float(last.get(value, begin - 1) >= begin)
