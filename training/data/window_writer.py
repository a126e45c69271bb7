"""Checked rows, added chunk by chunk, written as one file per window in time order."""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from handler.scoring.fields import SECONDS_A_DAY, STRING_TYPES
from handler.scoring.history import seconds_of
from training.data.checked_source import CheckedChunk
from training.data.external_sort import Places, RowFile
from training.data.leakage import leakage_warnings
from training.data.past_features import history_of_rows, past_schema, with_past_features
from training.data.split import FEW_FRAUDS, UNLEARNED, WINDOWS, Bounds, require_classes, window_bounds, window_report
from training.data.window import Window
from training.declaration import ScorerDeclaration
from training.errors import DataError, counted
from training.evaluation.intervals import share_interval
from training.run.matrix import Floats
from training.run.progress import progress

# A sample is enough to detect leakage.
LEAKAGE_ROWS = 1_000_000


class WindowWriter:
    """Collects checked rows on disk, then writes the windows."""

    def __init__(self, folder: Path, scorer: ScorerDeclaration) -> None:
        """Use a folder for the files."""
        self._folder, self._scorer = folder, scorer
        self._schema = checked_schema(scorer)
        self._rows = RowFile(folder / "checked", self._schema)
        self._ids = RowFile(folder / "ids", pa.schema([("id", pa.string())]))
        self._left_out = np.empty(0, np.int64)
        self.n_chunks = 0

    def add(self, chunk: CheckedChunk) -> None:
        """Add a chunk's sound rows, and the ids of all its rows."""
        self._rows.add(pa.Table.from_pandas(chunk.clean, self._schema, preserve_index=False), chunk.clean.index)
        if chunk.ids is not None:
            self._ids.add(pa.table({"id": pa.array(chunk.ids, pa.string(), from_pandas=True)}), chunk.ids.index)
        self.n_chunks += 1

    def repeated(self) -> Places:
        """The positions of sound rows whose id occurs at an earlier position."""
        self._rows.finish()
        self._ids.finish()
        repeated = self._ids.repeated()
        return repeated[np.isin(repeated, self._rows.places())]

    def leave_out(self, places: pd.Index) -> None:
        """Leave out rows that were added."""
        self._left_out = np.append(self._left_out, places.to_numpy(np.int64))

    def write_windows(self) -> tuple[dict[str, Any], list[str]]:
        """Write the files of the windows; return a report of each window, and warnings.

        The warnings are about few frauds, a short warm-up and leakage. Raises DataError if a window lacks a class.
        """
        self._rows.finish()
        time = self._scorer.time
        seconds = self._rows.column(time)
        if len(self._left_out):
            seconds = np.delete(seconds, np.searchsorted(self._rows.places(), self._left_out))
        if not len(seconds):
            raise DataError("no row meets the contract")
        bounds = window_bounds(np.sort(seconds), self._scorer.split)
        if self._scorer.history:
            start, end = bounds["train"]
            bounds["train"] = (max(start, seconds.min() + self._scorer.history.warmup_days * SECONDS_A_DAY), end)
        past = history_of_rows(self._in_order() if self._scorer.history else (), self._scorer, bounds["train"])
        in_order = progress(self._in_order(), "rows sorted by time", total=len(seconds), size=len, unit="rows")
        self._write(in_order, bounds, past)
        reports = {}
        for name in bounds:
            window = Window(self._folder / f"{name}.parquet", weight=self._scorer.split.weight)
            label = window.column(self._scorer.label)
            require_classes(name, label, self._scorer)
            reports[name] = window_report(window.column(time), label)
        train = Window(self._folder / "train.parquet", weight=self._scorer.split.weight)
        # Counted without weights, because copies of a fraud show no more than the fraud itself.
        n_frauds = {
            name: int(Window(self._folder / f"{name}.parquet").column(self._scorer.label).sum()) for name in bounds
        }
        warnings = [*_few_frauds(n_frauds), *_short_warmup(self._scorer)]
        return reports, [*warnings, *leakage_warnings(train.spread(LEAKAGE_ROWS), self._scorer)]

    def _in_order(self) -> Iterator[pa.RecordBatch]:
        return self._rows.in_order(self._scorer.time, self._left_out, self._scorer.compute.chunk_rows)

    def _write(self, batches: Iterable[pa.RecordBatch], bounds: Bounds, past: Mapping[str, Floats]) -> None:
        """Write rows, which come in order of time, with the features of their history."""
        # Without a calibration window, its file is written empty, because DVC has no optional dependencies.
        schema = pa.unify_schemas([self._schema, past_schema(self._scorer)])
        names = (*WINDOWS, UNLEARNED)
        files = {name: _InGroups(self._folder / f"{name}.parquet", schema, self._scorer) for name in names}
        n_before = 0
        for rows in batches:
            batch = with_past_features(rows, past, n_before)
            n_before += len(rows)
            seconds = batch.column(self._scorer.time).to_numpy()
            is_learned = np.zeros(len(batch), dtype=bool)
            for name, limits in bounds.items():
                first, last = np.searchsorted(seconds, limits, side="left")
                files[name].add(batch.slice(first, max(last - first, 0)))
                is_learned[first:last] = True
            files[UNLEARNED].add(batch.filter(pa.array(~is_learned)))
        for file in files.values():
            file.close()


def _few_frauds(n_frauds_of: Mapping[str, int]) -> Iterator[str]:
    """A warning of how little the frauds can show, if the windows together have fewer than FEW_FRAUDS."""
    n_frauds, n_tested = sum(n_frauds_of.values()), n_frauds_of["test"]
    if n_frauds < FEW_FRAUDS:
        n_caught = -(-n_tested // 2)
        low, high = share_interval(n_caught, n_tested)
        yield (
            f"the windows have {counted(n_frauds, 'fraud')}, {n_tested} of them in the test window: this shows that "
            "the steps work, but neither how good the model is nor which variant is better (a recall of "
            f"{n_caught} in {n_tested} may be anything from {low:.0%} to {high:.0%}); collect at least {FEW_FRAUDS} "
            "frauds before you trust a threshold"
        )


class _InGroups:
    """A Parquet file whose row groups, except the last, have the declared number of rows."""

    def __init__(self, path: Path, schema: pa.Schema, scorer: ScorerDeclaration) -> None:
        self._writer, self._schema = pq.ParquetWriter(path, schema), schema
        self._size = scorer.compute.chunk_rows
        self._waiting: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        # An empty slice would keep all of its batch in memory.
        if len(batch):
            self._waiting.append(batch)
        while sum(map(len, self._waiting)) >= self._size:
            self._write(self._size)

    def _write(self, n_rows: int) -> None:
        table = pa.Table.from_batches(self._waiting)
        self._writer.write_table(table.slice(0, n_rows).cast(self._schema), row_group_size=self._size)
        self._waiting = table.slice(n_rows).to_batches()

    def close(self) -> None:
        if n_rows := sum(map(len, self._waiting)):
            self._write(n_rows)
        self._writer.close()


def checked_schema(scorer: ScorerDeclaration) -> pa.Schema:
    """The columns of checked rows, without the features of their past (`past_schema`)."""
    kinds = {name: pa.string() for name in filter(None, (scorer.id, scorer.entity))}
    kinds |= dict.fromkeys(filter(None, (scorer.split.weight, scorer.time)), pa.float64())
    for name, field in scorer.fields.items():
        kinds[name] = pa.string() if field.type in STRING_TYPES else pa.float64()
    return pa.schema([*kinds.items(), (scorer.label, pa.int8())])


def _short_warmup(scorer: ScorerDeclaration) -> list[str]:
    """A warning if, after a short warm-up, the first learned rows know less of the past than later ones."""
    history = scorer.history
    if history is None:
        return []
    reaches = {
        name: feature.window or seconds_of(history.entities[feature.entity].ttl)
        for name, feature in history.features.items()
    }
    longest = max(reaches, key=lambda name: reaches[name])
    days = reaches[longest] / SECONDS_A_DAY
    text = (
        f"{longest} looks back {days:g} days, but warmup_days is {history.warmup_days:g}: in the first training rows "
        "it knows less of the past than later, which the monitor takes for drift; raise warmup_days to "
        f"{ceil(days)}, or shorten over and ttl"
    )
    return [] if history.warmup_days >= days else [text]
