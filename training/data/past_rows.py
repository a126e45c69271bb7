"""The parts of rows that a history reads: times, labels, texts as codes, and measures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from handler.scoring.history import Entity, History, seconds_of
from training.run.matrix import Floats, Labels

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Texts:
    """A column of texts: for each row the code of its text, -1 if it is missing, and the texts by code."""

    codes: Codes
    texts: Sequence[str]

    @classmethod
    def of(cls, chunks: Sequence[pa.Array]) -> "Texts":
        """The texts of a column, given in chunks."""
        # Arrow gives all chunks the dictionary of the whole column. The cast is for texts from pandas, which are large.
        encoded = (
            pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks], pa.string()).dictionary_encode().chunks
        )
        codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded]
        return cls(
            np.concatenate([np.empty(0, np.int32), *codes]), encoded[0].dictionary.to_pylist() if encoded else []
        )

    def without(self, ignored: Sequence[str]) -> "Texts":
        """The column with some texts taken as missing."""
        is_ignored = np.array([text in ignored for text in self.texts] + [True])
        if not is_ignored[:-1].any():
            return self
        return Texts(np.where(is_ignored[self.codes], np.int32(-1), self.codes), self.texts)


_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def _encoded(chunk: pa.Array) -> pa.DictionaryArray:
    """Texts as a dictionary; the cast is for texts from pandas, which are Arrow's large ones."""
    if pa.types.is_dictionary(chunk.type):
        return chunk.cast(_DICTIONARY)
    return chunk.cast(pa.string()).dictionary_encode()


@dataclass(frozen=True)
class PastRows:
    """What a history reads of rows, in order of time."""

    seconds: Floats
    label: Labels
    texts: Mapping[str, Texts]
    numbers: Mapping[str, Floats]
    ids: Integers | None = None
    """The hashes of the rows' ids, which only the fold reads."""

    def at(self, places: Integers) -> "PastRows":
        """The rows at some positions, in that order."""
        return PastRows(
            self.seconds[places],
            self.label[places],
            {name: Texts(column.codes[places], column.texts) for name, column in self.texts.items()},
            {name: column[places] for name, column in self.numbers.items()},
            None if self.ids is None else self.ids[places],
        )

    def ticks(self, history: History, places: Integers | None = None) -> Integers:
        """The times of all rows, or of those at some positions, in seconds, rounded down to the resolution."""
        resolution = seconds_of(history.resolution)
        seconds = self.seconds if places is None else self.seconds[places]
        whole: Integers = (np.floor_divide(seconds, resolution) * resolution).astype(np.int64)
        return whole

    def keys(self, entity: Entity) -> Codes:
        """The code of each row's entity, -1 if any field of its key is missing."""
        columns = [self.texts[name].without(entity.ignore).codes for name in entity.keys]
        codes = columns[0]
        for column in columns[1:]:
            is_missing = (codes < 0) | (column < 0)
            both = codes * (int(column.max(initial=-1)) + np.int64(2)) + column
            codes = np.unique(both, return_inverse=True)[1].astype(np.int32)
            codes[is_missing] = -1
        return codes

    def named_keys(self, entity: Entity) -> Texts:
        """The `keys` with their texts, written as in a request; the text of a code that no row has may be empty."""
        codes = self.keys(entity)
        if len(entity.keys) == 1:
            return Texts(codes, self.texts[entity.keys[0]].texts)
        numbers, places = np.unique(codes, return_index=True)
        columns = [self.texts[name] for name in entity.keys]
        texts = [""] * (int(codes.max(initial=-1)) + 1)
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True):
            if number >= 0:
                key = [column.texts[column.codes[place]] for column in columns]
                texts[number] = json.dumps(key, ensure_ascii=False)
        return Texts(codes, texts)


def past_rows(
    batches: Iterable[pa.RecordBatch],
    history: History,
    time: str,
    label: str | None = None,
    ids: Integers | None = None,
) -> PastRows:
    """What a history reads of rows, which must be in order of time; without `label` no row is a fraud."""
    texts, numbers = past_row_columns(history)
    chunks: dict[str, list[pa.Array]] = {name: [] for name in filter(None, (time, label, *texts, *numbers))}
    for batch in batches:
        for name, parts in chunks.items():
            parts.append(batch.column(name))
    # Each column's chunks are released before those of the next column are joined.
    texts_of = {name: Texts.of(chunks.pop(name)) for name in texts}
    joined = {
        name: np.concatenate([part.to_numpy(zero_copy_only=False) for part in chunks.pop(name)])
        for name in list(chunks)
    }
    # Arrow keeps memory that it has freed; this would be a third of a history's peak memory.
    pa.default_memory_pool().release_unused()
    labels = joined[label] if label else np.zeros(len(joined[time]), np.int8)
    return PastRows(joined[time], labels, texts_of, {name: joined[name] for name in numbers}, ids)


def past_row_columns(history: History) -> tuple[list[str], list[str]]:
    """The columns of texts and of numbers that a history reads."""
    texts = [key for entity in history.entities.values() for key in entity.keys]
    texts += [str(f.field) for f in history.features.values() if f.take in {"distinct", "seen"}]
    numbers = [str(f.field) for f in history.features.values() if f.take in {"sum", "mean", "max"}]
    return list(dict.fromkeys(texts)), list(dict.fromkeys(numbers))
