"""Lines: some of the function's lines -> columns; what is no sound line of the scorer is counted."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json

from handler.records.record import FORMAT
from training.monitoring.binning import Binning

NO_ID = np.uint64(0)
# 2020-01-01. No function recorded anything before it, but a clock that was never set says 1970, 1980 or 2000.
EARLIEST = 1_577_836_800.0

PREDICTIONS, OUTCOMES, BROKEN = "predictions", "outcomes", "broken lines"
MISDATED = "lines dated before 2020 or in the future"
# Far above what a record can hold.
LONGEST_LINE_BYTES = 1_000_000
# A line of garbage may hold anything where its format should stand.
FORMAT_CHARACTERS = 20


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


class _MisdatedError(ValueError):
    """Raised when a line's clock was wrong."""


def read_columns(
    lines: Iterable[bytes], scorer: str, binning: Binning, *, latest: float
) -> tuple[dict[str, Any], list[str], Counter[str]]:
    """The columns of `training.monitoring.log.Log`, the versions that `version` counts through, and counts of lines.

    A line that is dated after `latest` (seconds) is not used: it would be the newest of all for good.
    """
    counts = Counter[str]()
    predictions: list[_Prediction] = []
    outcomes: list[_Outcome] = []
    for line in lines:
        kind, record = _sorted(line, scorer)
        try:
            if kind == PREDICTIONS:
                predictions.append(_prediction(record, latest))
            elif kind == OUTCOMES:
                outcomes.append(_outcome(record, latest))
        except _MisdatedError:
            kind = MISDATED
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            kind = BROKEN
        counts[kind] += 1
    versions = sorted({one.version for one in predictions})
    columns = _prediction_columns(predictions, versions) | _outcome_columns(outcomes)
    return columns | {"bins": binning.matrix([one.features for one in predictions])}, versions, counts


def _prediction_columns(predictions: Sequence[_Prediction], versions: Sequence[str]) -> dict[str, Any]:
    places = {version: place for place, version in enumerate(versions)}
    return {
        "time": np.array([one.time for one in predictions], dtype=np.float64),
        "probability": np.array([one.probability for one in predictions], dtype=np.float64),
        "milliseconds": np.array([one.milliseconds for one in predictions], dtype=np.float64),
        "weight": np.array([one.weight for one in predictions], dtype=np.float64),
        "flagged": np.array([one.flagged for one in predictions], dtype=bool),
        "n_warnings": np.array([one.n_warnings for one in predictions], dtype=np.uint8),
        "id": np.array([one.id for one in predictions], dtype=np.uint64),
        "version": np.array([places[one.version] for one in predictions], dtype=np.intp),
    }


def _outcome_columns(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    return {
        "outcome_time": np.array([one.time for one in outcomes], dtype=np.float64),
        "outcome_id": np.array([one.id for one in outcomes], dtype=np.uint64),
        "outcome_label": np.array([one.label for one in outcomes], dtype=np.int8),
    }


def _sorted(line: bytes, scorer: str) -> tuple[str, dict[str, Any]]:
    """What a line is, and its record."""
    if len(line) > LONGEST_LINE_BYTES:
        return BROKEN, {}
    try:
        record = from_json(line)
    except ValueError:
        return (BROKEN if line.strip() else "empty lines"), {}
    if not isinstance(record, dict):
        return BROKEN, {}
    for kind, key in ((PREDICTIONS, "record"), (OUTCOMES, "outcome")):
        if key in record:
            if record[key] != FORMAT:
                return f"lines of format {record[key]!r:.{FORMAT_CHARACTERS}}", {}
            return (kind if record.get("scorer") == scorer else "lines of other scorers"), record
    return "other lines, such as metrics", {}


def _prediction(record: dict[str, Any], latest: float) -> _Prediction:
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
        time=_moment(record, latest),
        probability=probability,
        flagged=record["flagged"],
        n_warnings=min(len(record.get("warnings", ())), 255),
        milliseconds=_finite(record.get("milliseconds", 0.0)),
        weight=1 / rate,
        id=_id_hash(record.get("id")),
        version=record["version"],
        features=features,
    )


def _outcome(record: dict[str, Any], latest: float) -> _Outcome:
    """A record's values; raises, whatever is wrong with one of them."""
    label = record["label"]
    if label not in (0, 1) or record["id"] is None:
        raise ValueError(record)
    return _Outcome(_moment(record, latest), _id_hash(record["id"]), int(label))


def _moment(record: dict[str, Any], latest: float) -> float:
    found = _finite(record["time"])
    if not EARLIEST <= found <= latest:
        raise _MisdatedError(found)
    return found


def _finite(value: float) -> float:
    found = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(found):
        raise ValueError(value)
    return found


def _id_hash(identifier: str | None) -> int:
    """64 bits of an id, by which a million of them take 8 MB; two of a million are the same once in 37 million logs."""
    if identifier is None:
        return 0
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little") or 1
