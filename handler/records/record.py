"""The prediction record: a line of JSON for each prediction and each outcome, from which monitoring reads.

Written to stdout in Lambda, and elsewhere to files of a folder, of which each process has its own and begins a new one
each day and every 64 MB.
"""

import hmac
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import random
from time import gmtime, strftime, time
from typing import Any

from pydantic_core import to_json

from handler.records.telemetry import write
from handler.scoring.scorer import Answered, Scored, Scorer

FORMAT = 1
STDOUT = "stdout"
MAX_FILE_BYTES = 64_000_000
HASH_DIGITS = 16
SECONDS_A_DAY = 86_400

logger = logging.getLogger(__name__)


class Recorder:
    """Writes records."""

    def __init__(self, target: str, *, rate: float = 1.0, key: bytes = b"") -> None:
        """Write to `stdout`, or into a folder of this name, which is made; of predictions only a share, `rate`.

        `key` is what private values are hashed with.
        """
        self._rate, self._key = rate, key
        self._folder = None if target == STDOUT else Path(target)
        self._file, self._left, self._until = sys.stdout.fileno() if self._folder is None else -1, 0, 0.0
        self._is_failing = False

    def record(
        self,
        scorer: Scorer,
        answered: Answered,
        seconds: float,
        shadowed: tuple[str, Sequence[Scored | str]] | None = None,
        metrics: bytes = b"",
    ) -> None:
        """Write the lines of one invocation's predictions, with what the shadow made of the same requests.

        `metrics` goes to stdout, in the same write where the records go there too: each costs as much as a record.
        """
        now, lines = time(), []
        for index, (request, one, answer) in enumerate(zip(*answered, strict=True)):
            if self._rate < 1 and random() >= self._rate:  # noqa: S311 - a sample, no secret
                continue
            line = {
                "record": FORMAT,
                "time": now,
                "scorer": scorer.bundle.scorer,
                "version": scorer.version,
                "id": scorer.id_of(request),
                "features": self._features(scorer, one.vector),
                "probability": one.probability,
                "flagged": one.is_flagged,
                "reasons": [reason["field"] for reason in answer.get("reasons", ())],
                "warnings": [warning["field"] for warning in answer.get("warnings", ())],
                "milliseconds": round(seconds * 1000, 3),
            }
            if self._rate < 1:
                line["rate"] = self._rate
            if shadowed and (made := shadowed[1]):
                line["shadow"] = _shadow_part(shadowed[0], made[min(index, len(made) - 1)])
            lines.append(to_json(line, inf_nan_mode="null"))
        if metrics and self._folder is not None:
            write(metrics)
            metrics = b""
        if lines:
            lines.append(b"")
        if content := metrics + b"\n".join(lines):
            self._write(content)

    def record_outcomes(self, outcomes: Sequence[tuple[str, str, bool]]) -> bool:
        """Write the lines of outcomes: scorer, id, and whether it was fraud; whether they could be written."""
        now = time()
        lines = [
            to_json({"outcome": FORMAT, "time": now, "scorer": scorer, "id": identifier, "label": int(label)})
            for scorer, identifier, label in outcomes
        ]
        return self._write(b"\n".join(lines) + b"\n")

    def _features(self, scorer: Scorer, vector: list[float]) -> dict[str, float | str | None]:
        # As Features.display has it, whose call for each of them would cost three microseconds; NaN is written as null.
        labels = scorer.bundle.features.labels
        found: dict[str, float | str | None] = {}
        for index, name, _ in scorer.recorded:
            value = vector[index]
            of_feature = labels[index]
            found[name] = value if of_feature is None or value != value else of_feature[int(value)]  # noqa: PLR0124 - only NaN differs from itself
        for name in scorer.hashed:
            if not self._key:
                # A version that was swapped in may ask for hashes where this deployment has no key for them.
                del found[name]
            elif isinstance(text := found[name], str):
                found[name] = hashed(text, self._key)
        return found

    def _write(self, content: bytes) -> bool:
        """Whether it was written, past Python's buffers, which Lambda may freeze.

        A full disk is told of once, and fails no request.
        """
        if self._is_failing:
            # What was written last may have been torn: begin a line of one's own.
            content = b"\n" + content
        try:
            if self._folder is not None:
                size = len(content)
                if size > self._left or time() >= self._until:
                    self._turn_page(self._folder)
                self._left -= size
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            if not self._is_failing:
                logger.error("predictions cannot be recorded: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            self._is_failing = True
        else:
            self._is_failing = False
        return not self._is_failing

    def _turn_page(self, folder: Path) -> None:
        """Begin a new file: there is none, the day is over, or the last one is as large as they become."""
        now = time()
        folder.mkdir(parents=True, exist_ok=True)
        if self._file >= 0:
            os.close(self._file)
            # Should no new one open, the next record tries again, however short it is.
            self._file, self._left = -1, 0
        day = strftime("%Y-%m-%d", gmtime(now))
        self._file = _new_file(folder, f"{day}-{os.getpid()}-{now:.3f}")
        self._left, self._until = MAX_FILE_BYTES, (now // SECONDS_A_DAY + 1) * SECONDS_A_DAY


def _new_file(folder: Path, start: str) -> int:
    """A file that nobody else writes to; two containers may have the same process id, and the same moment."""
    for number in count():
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            return os.open(folder / f"{start}-{number}.jsonl", flags, 0o600)
    raise AssertionError  # numbers do not end


def hashed(value: str, key: bytes) -> str:
    """A private value's keyed hash: the same for the same value, and of no use to who does not have the key."""
    return hmac.digest(key, value.encode(), "sha256").hex()[:HASH_DIGITS]


def _shadow_part(version: str, made: Scored | str) -> dict[str, Any]:
    if isinstance(made, str):
        return {"version": version, "error": made}
    return {"version": version, "probability": made.probability, "flagged": made.is_flagged}
