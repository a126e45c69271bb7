"""The prediction record: one line of JSON for each prediction and each outcome, which monitoring reads.

In Lambda the lines go to stdout, elsewhere to files in a folder: each process writes its own file, and starts a new one
every day and every 64 MB.
"""

import hashlib
import hmac
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import gmtime, strftime, time
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from handler.records.logs import write
from handler.scoring.fields import SECONDS_A_DAY
from handler.scoring.scorer import Answered, Scored, Scorer

if TYPE_CHECKING:
    from handler.scoring.history import History
    from handler.scoring.past import KeyedEvent, RequestPast


class Recalled(NamedTuple):
    """What a history was asked for one request, and what it answered."""

    events: Sequence["KeyedEvent | None"]
    """One per entity; None if the request does not name it."""
    features: Sequence[Sequence[float] | None]
    """Those of each entity; None if the history did not answer."""
    began: float
    """When it was asked, in seconds since 1970."""
    ended: float


FORMAT = 1
STDOUT = "stdout"
INCONCLUSIVE = "inconclusive"
MAX_FILE_BYTES = 64_000_000
HASH_DIGITS = 16

logger = logging.getLogger(__name__)


class Recorder:
    """Writes predictions and outcomes."""

    def __init__(self, target: str, *, rate: float = 1.0, key: bytes = b"") -> None:
        """Write to `stdout`, or into the folder of this name, which is created when needed.

        `rate` is the share of predictions that is recorded, `key` the key for hashing private values.
        """
        self._rate = rate
        self.use_key(key)
        self._folder = None if target == STDOUT else Path(target)
        self._file, self._bytes_left, self._end_of_day = sys.stdout.fileno() if self._folder is None else -1, 0, 0.0
        self._is_failing = False

    def use_key(self, key: bytes) -> None:
        """Hash private values and draw samples with this key from now on."""
        # BLAKE2 takes keys of at most 64 bytes.
        self._key, self._draw_key = key, hashlib.sha256(key).digest()

    def record(  # noqa: PLR0913, PLR0917 - all that is known of one invocation
        self,
        scorer: Scorer,
        answered: Answered,
        seconds: float,
        shadowed: tuple[str, Sequence[Scored | str]] | None = None,
        metrics: bytes = b"",
        recalled: Sequence[Recalled] = (),
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """Write the records of one invocation's predictions; `shadowed` has the shadow's version and scores.

        `recalled` is what the history was asked about each request and what it answered, which is recorded only if
        there is a key. `sources` are the ids of the invocation. `metrics` goes to stdout; if the records do too, one
        write takes both, because a write costs as much as a record.
        """
        now, lines = time(), []
        for index, (request, scored, answer) in enumerate(zip(*answered, strict=True)):
            identifier = scorer.id_of(request)
            if self._rate < 1 and self._drawn(identifier, b"recorded") >= self._rate:
                continue
            line = {
                "record": FORMAT,
                "time": now,
                "scorer": scorer.bundle.scorer,
                "version": scorer.version,
                "id": identifier,
                "features": self._features(scorer, scored.vector),
                "probability": scored.probability,
                "flagged": scored.is_flagged,
                "threshold": scorer.threshold,
                "reasons": _reasons(scorer, scored, answer),
                "warnings": [warning["field"] for warning in answer.get("warnings", ())],
                "milliseconds": round(seconds * 1000, 3),
            }
            self._add_decision(line, scorer, scored, request, answer.get("list"))
            if sources:
                line |= sources
            if self._rate < 1:
                line["rate"] = self._rate
            if shadowed and (shadow_scores := shadowed[1]):
                line["shadow"] = _shadow_part(shadowed[0], shadow_scores[min(index, len(shadow_scores) - 1)])
            if recalled and self._key and scorer.past and (history := scorer.recorded_history):
                line["past"] = past_part(scorer.past, history, recalled[index], self._key)
            lines.append(to_json(line, inf_nan_mode="null"))
        if metrics and self._folder is not None:
            write(metrics)
            metrics = b""
        if lines:
            lines.append(b"")
        if content := metrics + b"\n".join(lines):
            self._write(content)

    def _add_decision(
        self, line: dict[str, Any], scorer: Scorer, scored: Scored, request: BaseModel, listed: Mapping[str, str] | None
    ) -> None:
        """Add the parts of a decision that not every scorer or request has; `listed` is what a list decided, if any."""
        identifier = scorer.id_of(request)
        if scorer.recorded_groups:
            line["audit"] = self._groups(scorer, request)
        if scored.band:
            line["band"], line["block"] = scored.band, scorer.block
            # A listed request is never drawn for the control group.
            if scorer.control and scored.band == "block" and identifier is not None and self._key and not listed:
                line["control"] = {"share": scorer.control, "let_through": self.is_let_through(scorer, identifier)}
        if listed:
            # The line keeps the model's own decision, by which the model is judged.
            line["list"] = listed["name"]
        if scored.score is not None:
            line["score"] = scored.score
        if (contributions := scored.contributions) is not None:
            shown = {name: contributions[place] for place, name, _ in scorer.recorded_features}
            # The base includes the contributions that are not recorded; otherwise the sum would reveal them.
            line["base"] = scorer.base_log_odds(scored.margin, shown.values())
            line["contributions"] = shown

    def record_outcomes(
        self, outcomes: Sequence[tuple[str, str, bool | None]], details: Sequence[Mapping[str, Any]] = ()
    ) -> bool:
        """Write outcomes (scorer, request id, whether it was fraud); returns whether that succeeded.

        None stands for an inconclusive outcome. `details` has what else is known about each.
        """
        now = time()
        lines = [
            to_json(
                {
                    "outcome": FORMAT,
                    "time": now,
                    "scorer": scorer,
                    "id": identifier,
                    "label": INCONCLUSIVE if label is None else int(label),
                }
                | (dict(details[index]) if details else {})
            )
            for index, (scorer, identifier, label) in enumerate(outcomes)
        ]
        return self._write(b"\n".join(lines) + b"\n")

    def is_let_through(self, scorer: Scorer, identifier: str | None) -> bool:
        """Whether a request to be blocked belongs to the control group; the same whenever the id is sent again.

        Without a key none does, because callers could then choose ids that are let through.
        """
        if identifier is None or not self._key:
            return False
        return self._drawn(f"{scorer.bundle.scorer}\0{identifier}", b"control") < scorer.control

    def _drawn(self, identifier: str | None, purpose: bytes) -> float:
        """A number in [0, 1) that depends only on id, purpose and key; without an id, a random one from the kernel.

        Never from `random`: a snapshot restores its state, and all environments would draw the same numbers.
        """
        if identifier is None:
            drawn = os.urandom(8)
        else:
            drawn = hashlib.blake2b(identifier.encode(), digest_size=8, key=self._draw_key, person=purpose).digest()
        return int.from_bytes(drawn, "big") / 2**64

    def _features(self, scorer: Scorer, vector: list[float]) -> dict[str, float | str | None]:
        # Same as Features.display, whose calls would cost three microseconds a request; NaN is written as null.
        labels = scorer.bundle.features.labels
        recorded: dict[str, float | str | None] = {}
        for index, name, _ in scorer.recorded_features:
            value = vector[index]
            feature_labels = labels[index]
            recorded[name] = value if feature_labels is None or value != value else feature_labels[int(value)]  # noqa: PLR0124 - only NaN differs from itself
        for name in scorer.hashed_features:
            if not self._key:
                # A version loaded from the store may declare hashing although this deployment has no key.
                del recorded[name]
            elif isinstance(text := recorded[name], str):
                recorded[name] = keyed_hash(text, self._key)
        return recorded

    def _groups(self, scorer: Scorer, request: BaseModel) -> dict[str, str | None]:
        """The values by which a monitor compares decisions; those to be hashed only if there is a key."""
        values = {
            name: getattr(request, name) for name, is_hashed in scorer.recorded_groups if self._key or not is_hashed
        }
        for name, is_hashed in scorer.recorded_groups:
            if is_hashed and values.get(name) is not None:
                values[name] = keyed_hash(values[name], self._key)
        return values

    def _write(self, content: bytes) -> bool:
        """Write without Python's buffers, which Lambda may freeze; returns whether that succeeded.

        A failure, such as a full disk, is logged once and fails no request.
        """
        if self._is_failing:
            # The last write may have been cut off within a line: start a new one.
            content = b"\n" + content
        try:
            if self._folder is not None:
                size = len(content)
                if size > self._bytes_left or time() >= self._end_of_day:
                    self._start_file(self._folder)
                self._bytes_left -= size
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            if not self._is_failing:
                logger.error("predictions cannot be recorded: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            self._is_failing = True
        else:
            self._is_failing = False
        return not self._is_failing

    def _start_file(self, folder: Path) -> None:
        """Start a new file, because there is none yet, the day is over, or the last one is full."""
        now = time()
        folder.mkdir(parents=True, exist_ok=True)
        if self._file >= 0:
            os.close(self._file)
            # If the new file cannot be opened, the next record tries again, however short it is.
            self._file, self._bytes_left = -1, 0
        day = strftime("%Y-%m-%d", gmtime(now))
        self._file = _new_file(folder, f"{day}-{os.getpid()}-{now:.3f}")
        self._bytes_left, self._end_of_day = MAX_FILE_BYTES, (now // SECONDS_A_DAY + 1) * SECONDS_A_DAY


def _new_file(folder: Path, start: str) -> int:
    """Create a file that only this recorder writes; two containers may have the same process id and timestamp."""
    for number in count():
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            return os.open(folder / f"{start}-{number}.jsonl", flags, 0o600)
    raise AssertionError  # numbers do not end


def keyed_hash(value: str | bytes, key: bytes) -> str:
    """A private value's keyed hash: equal for equal values, and not reversible without the key."""
    content = value.encode() if isinstance(value, str) else value
    return hmac.digest(key, content, "sha256").hex()[:HASH_DIGITS]


def past_part(past: "RequestPast", history: "History", recalled: Recalled, key: bytes) -> dict[str, Any]:
    """What a history was asked and what it answered, by entity; `make history-check` computes it again from this.

    Keys and remembered values are hashed with `key`.
    """
    entities: dict[str, Any] = {}
    part: dict[str, Any] = {"history": past.id, "began": recalled.began, "ended": recalled.ended, "entities": entities}
    if past.has_frauds:
        part["usual"] = history.usual_fraud_rate
    part["time"] = 0
    for name, keyed, features in zip(history.entities, recalled.events, recalled.features, strict=True):
        if keyed is not None:
            event, fold = keyed.event, keyed.past
            part["time"] = event.time
            entities[name] = {
                "key": keyed_hash(keyed.key, key),
                "measures": dict(zip(fold.measured, event.measures, strict=True)),
                "values": {
                    field: None if value is None else keyed_hash(value.to_bytes(8, "big", signed=True), key)
                    for field, value in zip(fold.remembered, event.values, strict=True)
                },
                "features": None if features is None else dict(zip(fold.names, features, strict=True)),
            }
    return part


def _reasons(scorer: Scorer, scored: Scored, answer: dict[str, Any]) -> list[str]:
    """The fields of the answer's reasons; for a request that was let through, those that the answer withheld."""
    if scored.is_flagged and "reasons" not in answer and scored.contributions is not None:
        return scorer.reason_fields(scored.contributions)
    return [reason["field"] for reason in answer.get("reasons", ())]


def _shadow_part(version: str, scored: Scored | str) -> dict[str, Any]:
    if isinstance(scored, str):
        return {"version": version, "error": scored}
    part: dict[str, Any] = {"version": version, "probability": scored.probability, "flagged": scored.is_flagged}
    return part | ({"band": scored.band} if scored.band else {})
