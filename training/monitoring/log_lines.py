"""Lines of the function's log read into columns; lines that cannot be used are counted by kind."""

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
# 2020-01-01, before the first function; a clock that was never set says 1970, 1980 or 2000.
EARLIEST = 1_577_836_800.0

PREDICTIONS, OUTCOMES, BROKEN = "predictions", "outcomes", "broken lines"
MISDATED = "lines dated before 2020 or in the future"
# Far longer than any record.
LONGEST_LINE_BYTES = 1_000_000
# How much of an unknown format is shown, because a broken line may hold anything there.
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
    """Raised when the clock that dated a line was wrong."""


def read_columns(
    lines: Iterable[bytes], scorer: str, binning: Binning, *, latest: float
) -> tuple[dict[str, Any], list[str], Counter[str]]:
    """The columns of `training.monitoring.log.Log`, the versions that `version` counts through, and counts of lines.

    A line that is dated after `latest` (seconds) is not used, because it would stay the newest line forever.
    """
    counts = Counter[str]()
    predictions: list[_Prediction] = []
    outcomes: list[_Outcome] = []
    for line in lines:
        kind, record = _classified(line, scorer)
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
    versions = sorted({prediction.version for prediction in predictions})
    columns = _prediction_columns(predictions, versions) | _outcome_columns(outcomes)
    return columns | {"bins": binning.matrix([prediction.features for prediction in predictions])}, versions, counts


def _prediction_columns(predictions: Sequence[_Prediction], versions: Sequence[str]) -> dict[str, Any]:
    places = {version: place for place, version in enumerate(versions)}
    return {
        "time": np.array([prediction.time for prediction in predictions], dtype=np.float64),
        "probability": np.array([prediction.probability for prediction in predictions], dtype=np.float64),
        "milliseconds": np.array([prediction.milliseconds for prediction in predictions], dtype=np.float64),
        "weight": np.array([prediction.weight for prediction in predictions], dtype=np.float64),
        "flagged": np.array([prediction.flagged for prediction in predictions], dtype=bool),
        "n_warnings": np.array([prediction.n_warnings for prediction in predictions], dtype=np.uint8),
        "id": np.array([prediction.id for prediction in predictions], dtype=np.uint64),
        "version": np.array([places[prediction.version] for prediction in predictions], dtype=np.intp),
    }


def _outcome_columns(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    return {
        "outcome_time": np.array([outcome.time for outcome in outcomes], dtype=np.float64),
        "outcome_id": np.array([outcome.id for outcome in outcomes], dtype=np.uint64),
        "outcome_label": np.array([outcome.label for outcome in outcomes], dtype=np.int8),
    }


def _classified(line: bytes, scorer: str) -> tuple[str, dict[str, Any]]:
    """The kind of a line, and its record."""
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
    """A record's values; raises if one of them is invalid."""
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
        time=_timestamp(record, latest),
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
    """A record's values; raises if one of them is invalid."""
    label = record["label"]
    if label not in (0, 1) or record["id"] is None:
        raise ValueError(record)
    return _Outcome(_timestamp(record, latest), _id_hash(record["id"]), int(label))


def _timestamp(record: dict[str, Any], latest: float) -> float:
    seconds = _finite(record["time"])
    if not EARLIEST <= seconds <= latest:
        raise _MisdatedError(seconds)
    return seconds


def _finite(value: float) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _id_hash(identifier: str | None) -> int:
    """A 64-bit hash of an id: a million take 8 MB, and one log of a million in 37 million has a collision."""
    if identifier is None:
        return 0
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little") or 1
