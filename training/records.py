"""Records: the function's lines -> columns, read over all cores; what is no sound line is counted."""

import gzip
import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import fsspec
import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from pydantic_core import from_json

from handler.record import FORMAT, hashed
from training.stage import StageError

CHUNK_BYTES = 16_000_000
NO_ID = np.uint64(0)
# A feature that the record does not hold, because it is private or the version that scored had another contract.
UNRECORDED = 65_535

PREDICTIONS, OUTCOMES, BROKEN = "predictions", "outcomes", "broken lines"
_ABSENT = object()

Floats = npt.NDArray[np.float64]


class RecordError(StageError):
    """Raised when there is no log to read."""


@dataclass(frozen=True)
class Binning:
    """How values of the baseline's features become bins: 0 where missing, then as `training.baseline` counts them."""

    features: Mapping[str, Mapping[str, Any]]
    hash_key: bytes = b""
    """What private values were hashed with."""
    hashed: frozenset[str] = frozenset()

    def bins(self, name: str, values: Sequence[Any]) -> npt.NDArray[np.uint16]:
        """Each recorded value's bin; a label that the baseline does not have counts as "other", the first one."""
        described = self.features[name]
        if "edges" in described:
            numbers = np.array(
                [value if isinstance(value, float | int) else math.nan for value in values], dtype=np.float64
            )
            places = 1 + np.searchsorted(np.array(described["edges"]), numbers, side="left")
            return np.where(np.isnan(numbers), 0, places).astype(np.uint16)
        labels = described["labels"]
        if name in self.hashed:
            labels = [hashed(label, self.hash_key) for label in labels]
        codes = {label: code for code, label in enumerate(labels, start=1)}
        codes[None] = 0
        return np.array([codes.get(value, 1) for value in values], dtype=np.uint16)


@dataclass(frozen=True)
class Log:
    """What the lines of a scorer hold, in columns, by time."""

    time: Floats
    probability: Floats
    flagged: npt.NDArray[np.bool_]
    n_warnings: npt.NDArray[np.uint8]
    milliseconds: Floats
    weight: Floats
    """How many predictions each stands for, where only a share was recorded."""
    id: npt.NDArray[np.uint64]
    """A hash of the id; NO_ID where there was none."""
    version: npt.NDArray[np.intp]
    """Which of `versions`."""
    bins: npt.NDArray[np.uint16]
    """(n_predictions, n_features), in the baseline's order."""
    versions: list[str]
    outcome_time: Floats
    outcome_id: npt.NDArray[np.uint64]
    outcome_label: npt.NDArray[np.int8]
    counts: dict[str, int]
    """What was read, and what of it could not be used."""

    def during(self, since: float, until: float) -> Self:
        """The predictions of a time, from `since` to before `until`; outcomes may come later, so all stay."""
        kept = slice(*np.searchsorted(self.time, [since, until]))
        columns = ("time", "probability", "flagged", "n_warnings", "milliseconds", "weight", "id", "version", "bins")
        return type(self)(**{**self.__dict__, **{name: getattr(self, name)[kept] for name in columns}})


def read_log(address: str, scorer: str, binning: Binning) -> Log:
    """The records of a scorer in a file, a folder or a prefix of S3 (s3://bucket/prefix), .gz or not.

    Raises RecordError where there is no file.
    """
    names = list(binning.features)
    chunks = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_parsed)(chunk, scorer, binning) for chunk in _chunks(_files(address))
    )
    found = list(chunks)
    counts = Counter[str]()
    for part in found:
        counts.update(part.pop("counts"))
    versions = sorted({version for part in found for version in part["versions"]})
    columns: dict[str, Any] = {}
    for part in found:
        places = np.array([versions.index(version) for version in part.pop("versions")], dtype=np.intp)
        part["version"] = places[part["version"]] if len(places) else part["version"]
    for name in found[0] if found else ():
        columns[name] = np.concatenate([part[name] for part in found])
    if not columns:
        columns = _empty(len(names))
    order = np.argsort(columns["time"], kind="stable")
    by_time = {name: column[order] for name, column in columns.items() if not name.startswith("outcome_")}
    later = np.argsort(columns["outcome_time"], kind="stable")
    outcomes = {name: column[later] for name, column in columns.items() if name.startswith("outcome_")}
    return Log(**by_time, **outcomes, versions=versions, counts=dict(counts))


def read_lines(address: str) -> Iterator[bytes]:
    """The lines of a file, a folder or a prefix of S3, one by one; raises RecordError where there is no file."""
    for chunk in _chunks(_files(address)):
        yield from chunk.split(b"\n")


def _files(address: str) -> list[Any]:
    """The files at an address, to be opened."""
    if not address:
        raise RecordError("LOG= must name a file or folder of prediction records, or s3://bucket/prefix")
    filesystem, path = fsspec.core.url_to_fs(address)
    if not filesystem.exists(path):
        raise RecordError(f"{address} is not there; PREDICTIONS= has the function record its predictions")
    paths = [path] if filesystem.isfile(path) else sorted(filesystem.find(path))
    if not paths:
        raise RecordError(f"{address} holds no file; PREDICTIONS= has the function record its predictions")
    return [(filesystem, one) for one in paths]


def _chunks(files: Sequence[tuple[Any, str]]) -> Iterator[bytes]:
    """The files' content in pieces of whole lines, one file after the other, never a file in memory whole.

    Raises RecordError, naming the file, where its packing is damaged: what is missing would pass for what never was.
    """
    for filesystem, path in files:
        try:
            with filesystem.open(path, "rb") as raw, _unpacked(raw, path) as file:
                rest = b""
                while piece := file.read(CHUNK_BYTES):
                    whole, newline, rest = (rest + piece).rpartition(b"\n")
                    if newline:
                        yield whole
                if rest:
                    yield rest
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise RecordError(f"{path} is no whole gzip file: {error}; mend it, or take it away") from error


def _unpacked(raw: Any, path: str) -> Any:  # noqa: ANN401 - a file of any kind
    return gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw


class _Prediction(NamedTuple):
    time: float
    probability: float
    flagged: bool
    n_warnings: int
    milliseconds: float
    weight: float
    id: int
    version: str
    features: dict[str, Any]


class _Outcome(NamedTuple):
    time: float
    id: int
    label: int


def _parsed(chunk: bytes, scorer: str, binning: Binning) -> dict[str, Any]:
    """The columns of some whole lines."""
    counts = Counter[str]()
    predictions: list[_Prediction] = []
    outcomes: list[_Outcome] = []
    for line in chunk.split(b"\n"):
        kind, record = _sorted(line, scorer)
        try:
            if kind == PREDICTIONS:
                predictions.append(_prediction(record))
            elif kind == OUTCOMES:
                outcomes.append(_outcome(record))
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            kind = BROKEN
        counts[kind] += 1
    versions = sorted({one.version for one in predictions})
    places = {version: place for place, version in enumerate(versions)}
    values = [[one.features.get(name, _ABSENT) for one in predictions] for name in binning.features]
    bins = [_binned(binning, name, column) for name, column in zip(binning.features, values, strict=True)]
    return {
        "counts": counts,
        "versions": versions,
        "time": _floats(one.time for one in predictions),
        "probability": _floats(one.probability for one in predictions),
        "milliseconds": _floats(one.milliseconds for one in predictions),
        "weight": _floats(one.weight for one in predictions),
        "flagged": np.array([one.flagged for one in predictions], dtype=bool),
        "n_warnings": np.array([one.n_warnings for one in predictions], dtype=np.uint8),
        "id": np.array([one.id for one in predictions], dtype=np.uint64),
        "version": np.array([places[one.version] for one in predictions], dtype=np.intp),
        "bins": np.stack(bins, axis=1) if bins else np.zeros((len(predictions), 0), dtype=np.uint16),
        "outcome_time": _floats(one.time for one in outcomes),
        "outcome_id": np.array([one.id for one in outcomes], dtype=np.uint64),
        "outcome_label": np.array([one.label for one in outcomes], dtype=np.int8),
    }


def _prediction(record: dict[str, Any]) -> _Prediction:
    """A record's values; raises, whatever is wrong with one of them."""
    features = record["features"]
    for value in features.values():
        if not (value is None or isinstance(value, str) or math.isfinite(value)):
            raise ValueError(value)
    rate, probability = _finite(record.get("rate", 1)), _finite(record["probability"])
    if not (0 < rate <= 1 and 0 <= probability <= 1 and isinstance(record["flagged"], bool)):
        raise ValueError(record)
    if not isinstance(record["version"], str):
        raise TypeError(record)
    return _Prediction(
        time=_finite(record["time"]),
        probability=probability,
        flagged=record["flagged"],
        n_warnings=min(len(record.get("warnings", ())), 255),
        milliseconds=_finite(record.get("milliseconds", 0.0)),
        weight=1 / rate,
        id=_id_hash(record.get("id")),
        version=record["version"],
        features=features,
    )


def _outcome(record: dict[str, Any]) -> _Outcome:
    """A record's values; raises, whatever is wrong with one of them."""
    label = record["label"]
    if label not in (0, 1) or record["id"] is None:
        raise ValueError(record)
    return _Outcome(_finite(record["time"]), _id_hash(record["id"]), int(label))


def _finite(value: float) -> float:
    found = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(found):
        raise ValueError(value)
    return found


def _sorted(line: bytes, scorer: str) -> tuple[str, dict[str, Any]]:
    """What a line is, and its record."""
    try:
        record = from_json(line)
    except ValueError:
        return (BROKEN if line.strip() else "empty lines"), {}
    if not isinstance(record, dict):
        return BROKEN, {}
    for kind, key in ((PREDICTIONS, "record"), (OUTCOMES, "outcome")):
        if key in record:
            if record[key] != FORMAT:
                return f"lines of format {record[key]!r}", {}
            return (kind if record.get("scorer") == scorer else "lines of other scorers"), record
    return "other lines, such as metrics", {}


def _binned(binning: Binning, name: str, values: list[Any]) -> npt.NDArray[np.uint16]:
    """A feature's bins; UNRECORDED where a line does not hold it."""
    is_there = np.array([value is not _ABSENT for value in values], dtype=bool)
    found = np.full(len(values), UNRECORDED, dtype=np.uint16)
    if is_there.any():
        found[is_there] = binning.bins(name, [value for value in values if value is not _ABSENT])
    return found


def _floats(values: Iterator[float]) -> Floats:
    return np.fromiter(values, dtype=np.float64)


def _id_hash(identifier: str | None) -> int:
    """64 bits of an id, by which a million of them take 8 MB; two of a million are the same once in 37 million logs."""
    if identifier is None:
        return 0
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little") or 1


def _empty(n_features: int) -> dict[str, Any]:
    """The columns of nothing."""
    return {
        **{name: np.zeros(0) for name in ("time", "probability", "milliseconds", "weight", "outcome_time")},
        "flagged": np.zeros(0, dtype=bool),
        "n_warnings": np.zeros(0, dtype=np.uint8),
        "id": np.zeros(0, dtype=np.uint64),
        "version": np.zeros(0, dtype=np.intp),
        "bins": np.zeros((0, n_features), dtype=np.uint16),
        "outcome_id": np.zeros(0, dtype=np.uint64),
        "outcome_label": np.zeros(0, dtype=np.int8),
    }
