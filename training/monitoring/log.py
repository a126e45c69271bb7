"""A scorer's prediction log, read from the function's files into columns, in parallel."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import time
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from handler.records.record import INCONCLUSIVE
from handler.scoring.contract import SOURCES
from handler.scoring.fields import SECONDS_A_DAY
from training.monitoring.binning import Binning
from training.monitoring.log_files import read_chunks
from training.monitoring.log_lines import OUTCOMES, PREDICTIONS, broken, merged_kinds, read_records
from training.run.matrix import Floats, Labels, Positions

NO_ID = np.uint64(0)
# 2020-01-01, before any function was deployed; a clock that was never set shows 1970, 1980 or 2000.
EARLIEST = 1_577_836_800.0
# By how much the function's clock may be ahead of this machine's.
CLOCK_SLACK = SECONDS_A_DAY
MISDATED = "lines dated before 2020 or in the future"
NUMERIC_IDS = "ids that are numbers, read as text"
REPEATED = "predictions recorded again, counted once"
ALIKE = "predictions without an id that equal another of the same time"
OUTSIDE = "predictions outside of the window"
# No function records a value beyond these limits, and sums of such values may overflow.
LEAST_RATE, MOST_MILLISECONDS = 1e-9, 1e9
SERVING_LISTS = ("review", "allow")
# The prefix of the audit fields' columns while a log is read.
_AUDIT = "audit "
# Above this, a float may differ from the whole number that was written.
EXACT = 2**53


@dataclass(frozen=True)
class Log:
    """A scorer's predictions and outcomes in columns, each sorted by time."""

    time: Floats
    probability: Floats
    flagged: npt.NDArray[np.bool_]
    blocked: npt.NDArray[np.int8]
    """1 if blocked, 0 if not; -1 if the version's decision had no bands."""
    label_weight: Floats
    """How many requests each stands for when labels are counted, usually 1. Among requests that the model would block
    while there is a control group, those of the group stand for all (1 / its share), and the others for none (0),
    because their outcome is never known."""
    n_warnings: npt.NDArray[np.uint8]
    milliseconds: Floats
    weight: Floats
    """How many predictions each row stands for; above 1 if only a share was recorded."""
    id: npt.NDArray[np.uint64]
    """A hash of the id; NO_ID if there was none."""
    version: Positions
    """The index into `versions`."""
    bins: npt.NDArray[np.uint16]
    """(n_predictions, n_features), in the baseline's order."""
    versions: list[str]
    outcome_time: Floats
    outcome_id: npt.NDArray[np.uint64]
    outcome_label: Labels
    """-1 if it is inconclusive."""
    outcome_source: npt.NDArray[np.uint8]
    """The index into SOURCES."""
    outcome_by: npt.NDArray[np.uint64]
    """A hash of the person who reported it; NO_ID if unknown."""
    counts: dict[str, int]
    """How many lines of each kind were read, unusable ones too."""
    audit: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)
    """By audit field, a hash of each prediction's value; NO_ID if unknown."""
    audit_texts: Mapping[int, str] = field(default_factory=dict)
    """The values of the audit fields by their hashes."""
    listed_as_blocked: npt.NDArray[np.bool_] | None = None
    """Which were held because of a list; None if nothing is known of lists."""
    listed_as_served: npt.NDArray[np.bool_] | None = None
    """Which were reviewed or allowed because of a list, whatever the model decided."""

    @property
    def is_served(self) -> npt.NDArray[np.bool_]:
        """Which requests were not held; only for these can the silence of a customer mean that they were legitimate."""
        served = (self.blocked < 1) | (self.label_weight > 1)
        if self.listed_as_blocked is not None and self.listed_as_served is not None:
            served = (served | self.listed_as_served) & ~self.listed_as_blocked
        return served

    def during(self, since: float, until: float) -> Self:
        """The predictions from `since` to before `until`; all outcomes stay, because they may come later."""
        kept = slice(*np.searchsorted(self.time, [since, until]))
        return self._of(kept, OUTSIDE, len(self.time) - len(self.time[kept]))

    def without_repeats(self) -> Self:
        """Each prediction once, even if a delivery or a caller repeated it.

        A prediction is a repeat if its id, version and probability are those of the id's first one. Equal predictions
        without an id may be different requests, so they are kept and only counted.
        """
        _, first, inverse = np.unique(self.id, return_index=True, return_inverse=True)
        of_id = first[inverse]
        is_repeat = (self.id != NO_ID) & (of_id != np.arange(len(self.id)))
        is_repeat &= (self.probability == self.probability[of_id]) & (self.version == self.version[of_id])
        nameless = self.id == NO_ID
        values = np.stack([self.probability[nameless], self.milliseconds[nameless], self.time[nameless]])
        ordered = values[:, np.lexsort(values)]
        n_alike = int((ordered[:, 1:] == ordered[:, :-1]).all(axis=0).sum())
        once = self._of(np.flatnonzero(~is_repeat), REPEATED, int(is_repeat.sum()))
        return replace(once, counts=once.counts | ({ALIKE: n_alike} if n_alike else {}))

    def _of(self, kept: slice | Positions, why: str, n_others: int) -> Self:
        columns = (
            "time",
            "probability",
            "flagged",
            "blocked",
            "label_weight",
            "n_warnings",
            "milliseconds",
            "weight",
            "id",
            "version",
            "bins",
        )
        changed: dict[str, Any] = {name: getattr(self, name)[kept] for name in columns}
        changed["audit"] = {name: values[kept] for name, values in self.audit.items()}
        for name in ("listed_as_blocked", "listed_as_served"):
            if (values := getattr(self, name)) is not None:
                changed[name] = values[kept]
        return replace(self, **changed, counts=self.counts | ({why: n_others} if n_others else {}))


def read_log(address: str, scorer: str, binning: Binning, audited: Sequence[str] = ()) -> Log:
    """The records of a scorer in a file, a folder or a prefix of S3 (s3://bucket/prefix), compressed by gzip or not.

    `audited` names the audit fields. Raises DataError if there is no file, or if one cannot be read.
    """
    latest = time() + CLOCK_SLACK
    read = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_read)(chunk, scorer, binning, latest, audited) for chunk in read_chunks(address)
    )
    # Reading no lines gives empty columns of the right types.
    parts, counts, versions = [_read(b"", scorer, binning, latest, audited)[0]], Counter[str](), list[str]()
    texts: dict[int, str] = {}
    for columns, named, counted, texts_here in read:
        texts |= texts_here
        versions += [version for version in named if version not in versions]
        places = np.array([versions.index(version) for version in named], dtype=np.intp)
        parts.append(columns | {"version": places[columns["version"]]})
        counts = merged_kinds(counts + counted)
    columns = _joined(parts)
    ordered = sorted(versions)
    places = np.array([ordered.index(version) for version in versions], dtype=np.intp)
    audit = {name: columns.pop(f"{_AUDIT}{name}") for name in audited}
    columns |= {"version": places[columns["version"]], "audit": audit, "audit_texts": texts}
    return Log(**columns, versions=ordered, counts=dict(counts))


def _read(
    chunk: bytes, scorer: str, binning: Binning, latest: float, audited: Sequence[str]
) -> tuple[dict[str, Any], list[str], Counter[str], dict[int, str]]:
    texts: dict[int, str] = {}
    lines = chunk.split(b"\n") if chunk else ()
    columns, versions, counts = read_log_columns(lines, scorer, binning, latest=latest, audited=audited, texts=texts)
    return columns, versions, counts, texts


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns of all parts, sorted by time; joined one by one, so only one at a time is in memory twice."""
    orders = {"": np.argsort(np.concatenate([part["time"] for part in parts]), kind="stable")}
    orders["outcome_"] = np.argsort(np.concatenate([part["outcome_time"] for part in parts]), kind="stable")
    return {
        name: np.concatenate([part.pop(name) for part in parts])[orders["outcome_" * name.startswith("outcome_")]]
        for name in list(parts[0])
    }


class Prediction(NamedTuple):
    """The checked values of a prediction's record."""

    time: float
    probability: float
    flagged: bool
    blocked: int
    """-1 if the version's decision had no bands."""
    label_weight: float
    n_warnings: int
    milliseconds: float
    weight: float
    id: int
    version: str
    features: dict[str, Any]
    audit: dict[str, str | None]
    listed: str | None


class _Outcome(NamedTuple):
    time: float
    id: int
    label: int
    source: int
    by: int


class UnusableError(ValueError):
    """Raised when a record has no usable value for a key; its text is the kind under which the line is counted."""


def read_log_columns(  # noqa: PLR0913 - half of them are keyword-only
    lines: Iterable[bytes],
    scorer: str,
    binning: Binning,
    *,
    latest: float,
    audited: Sequence[str] = (),
    texts: dict[int, str] | None = None,
) -> tuple[dict[str, Any], list[str], Counter[str]]:
    """The columns of a `Log`, the versions that its `version` column indexes, and the counts of lines by kind.

    A line dated after `latest` (seconds) is not used, because it would stay the newest line forever. Each of the
    `audited` fields adds a column of hashes, and the values behind these are added to `texts`.
    """
    counts = Counter[str]()
    predictions: list[Prediction] = []
    outcomes: list[_Outcome] = []
    for kind, record in read_records(lines, scorer):
        try:
            if kind == PREDICTIONS:
                predictions.append(prediction_of(record, latest))
            elif kind == OUTCOMES:
                renamed = {"time": record["at"]} if record.get("at") is not None else {}
                outcomes.append(_Outcome(*_parsed(record | renamed, _OUTCOME, latest)))
        except UnusableError as error:
            counts[str(error)] += 1
        else:
            counts[kind] += 1
            if isinstance(record.get("id"), int | float) and kind in {PREDICTIONS, OUTCOMES}:
                counts[NUMERIC_IDS] += 1
    versions = sorted({prediction.version for prediction in predictions})
    columns = _prediction_columns(predictions, versions) | _outcome_columns(outcomes)
    bins = binning.matrix([prediction.features for prediction in predictions])
    audit = {f"{_AUDIT}{name}": _hashes([p.audit.get(name) for p in predictions], texts) for name in audited}
    return columns | {"bins": bins} | audit, versions, merged_kinds(counts)


def _hashes(values: Sequence[str | None], texts: dict[int, str] | None) -> npt.NDArray[np.uint64]:
    """The hashes of values, NO_ID for unknown ones; the values are added to `texts` by their hashes."""
    hash_of = {value: _id_hash(value) for value in set(values) if value is not None}
    if texts is not None:
        texts |= {number: value for value, number in hash_of.items()}
    return np.array([int(NO_ID) if value is None else hash_of[value] for value in values], dtype=np.uint64)


def _prediction_columns(predictions: Sequence[Prediction], versions: Sequence[str]) -> dict[str, Any]:
    places = {version: place for place, version in enumerate(versions)}
    return {
        "time": np.array([prediction.time for prediction in predictions], dtype=np.float64),
        "probability": np.array([prediction.probability for prediction in predictions], dtype=np.float64),
        "milliseconds": np.array([prediction.milliseconds for prediction in predictions], dtype=np.float64),
        "weight": np.array([prediction.weight for prediction in predictions], dtype=np.float64),
        "flagged": np.array([prediction.flagged for prediction in predictions], dtype=bool),
        "blocked": np.array([prediction.blocked for prediction in predictions], dtype=np.int8),
        "label_weight": np.array([prediction.label_weight for prediction in predictions], dtype=np.float64),
        "listed_as_blocked": np.array([prediction.listed == "block" for prediction in predictions], dtype=bool),
        "listed_as_served": np.array([prediction.listed in SERVING_LISTS for prediction in predictions], dtype=bool),
        "n_warnings": np.array([prediction.n_warnings for prediction in predictions], dtype=np.uint8),
        "id": np.array([prediction.id for prediction in predictions], dtype=np.uint64),
        "version": np.array([places[prediction.version] for prediction in predictions], dtype=np.intp),
    }


def _outcome_columns(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    return {
        "outcome_time": np.array([outcome.time for outcome in outcomes], dtype=np.float64),
        "outcome_id": np.array([outcome.id for outcome in outcomes], dtype=np.uint64),
        "outcome_label": np.array([outcome.label for outcome in outcomes], dtype=np.int8),
        "outcome_source": np.array([outcome.source for outcome in outcomes], dtype=np.uint8),
        "outcome_by": np.array([outcome.by for outcome in outcomes], dtype=np.uint64),
    }


def prediction_of(record: Mapping[str, Any], latest: float) -> Prediction:
    """A log record's values; raises UnusableError if one cannot be used, or if it is dated after `latest` (seconds)."""
    return Prediction(*_parsed(record, _PREDICTION, latest))


def _parsed(record: Mapping[str, Any], parsers: Mapping[str, Callable[[Any], Any]], latest: float) -> list[Any]:
    values, key = [], ""
    try:
        for key, parse in parsers.items():
            values.append(parse(record.get(key)))
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UnusableError(broken(f"no usable {key}")) from error
    if not EARLIEST <= values[0] <= latest:
        raise UnusableError(MISDATED)
    return values


def _finite(value: Any) -> float:  # noqa: ANN401 - any JSON, as in the functions below
    return _within(value, -math.inf, math.inf)


def _within(value: Any, least: float, most: float) -> float:  # noqa: ANN401
    number = float(value) if isinstance(value, int | float) else math.nan
    if not (math.isfinite(number) and least <= number <= most):
        raise ValueError(value)
    return number


def _of_type[Value](kind: type[Value], value: Any) -> Value:  # noqa: ANN401
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def _features(features: Any) -> dict[str, Any]:  # noqa: ANN401
    for value in _of_type(dict, features).values():
        if not (value is None or isinstance(value, str) or math.isfinite(value)):
            raise ValueError(value)
    return dict(features)


def _groups(groups: Any) -> dict[str, str | None]:  # noqa: ANN401
    given = {} if groups is None else _of_type(dict, groups)
    return {name: None if value is None else _of_type(str, value) for name, value in given.items()}


def _milliseconds(value: Any) -> float:  # noqa: ANN401
    return 0.0 if value is None else _within(value, 0.0, MOST_MILLISECONDS)


def _weight(rate: Any) -> float:  # noqa: ANN401
    return 1.0 if rate is None else 1 / _within(rate, LEAST_RATE, 1.0)


def _label_weight(control: Any) -> float:  # noqa: ANN401
    if control is None:
        return 1.0
    share = _within(control["share"], LEAST_RATE, 1.0)
    return 1 / share if _of_type(bool, control["let_through"]) else 0.0


def _source(value: Any) -> int:  # noqa: ANN401
    """The index into SOURCES; a source that is missing or unknown here counts as "other"."""
    return SOURCES.index(value if value in SOURCES else "other")


def _label(value: Any) -> int:  # noqa: ANN401
    if value == INCONCLUSIVE:
        return -1
    if value not in (0, 1):
        raise ValueError(value)
    return int(value)


def _id_hash(identifier: Any) -> int:  # noqa: ANN401
    """A 64-bit hash of an id: a million take 8 MB, and collide with a probability of one in 37 million."""
    if isinstance(identifier, float) and identifier.is_integer() and abs(identifier) <= EXACT:
        identifier = int(identifier)
    text = _of_type(str, str(identifier) if type(identifier) is int else identifier)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") or 1


_PREDICTION: dict[str, Callable[[Any], Any]] = {
    "time": _finite,
    "probability": partial(_within, least=0.0, most=1.0),
    "flagged": partial(_of_type, bool),
    "band": lambda band: -1 if band is None else int(band == "block"),
    "control": _label_weight,
    "warnings": lambda names: min(len(names or ()), 255),
    "milliseconds": _milliseconds,
    "rate": _weight,
    "id": lambda identifier: int(NO_ID) if identifier is None else _id_hash(identifier),
    "version": partial(_of_type, str),
    "features": _features,
    "audit": _groups,
    "list": lambda name: None if name is None else _of_type(str, name),
}
# `time` is when the outcome became known, if the outcome says so (`at`), else when it arrived.
_OUTCOME: dict[str, Callable[[Any], Any]] = {
    "time": _finite,
    "id": _id_hash,
    "label": _label,
    "source": _source,
    "by": lambda by: int(NO_ID) if by is None else _id_hash(by),
}
