"""The prediction record: one JSON line for each prediction, from which drift, agreement and outcomes are read."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from handler.scorer import Scored, Scorer
from handler.shadow import Shadow

FORMAT = 1
STDOUT = "stdout"

logger = logging.getLogger(__name__)


class Recorder:
    """Writes records to stdout, or to the end of a file."""

    def __init__(self, target: str) -> None:
        """Write to `stdout`, or to a file of this name, whose folder is made."""
        if target == STDOUT:
            self._file = sys.stdout.fileno()
        else:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            # Appending in one write keeps the lines of several processes apart.
            self._file = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._is_failing = False

    def record(
        self,
        scorer: Scorer,
        requests: Sequence[BaseModel],
        scored: Sequence[Scored],
        shadow: Shadow | None,
        shadowed: Sequence[Scored | str],
    ) -> None:
        """Write the lines of one invocation's predictions, with what the shadow made of the same requests."""
        now = time()
        lines = []
        for index, (request, one) in enumerate(zip(requests, scored, strict=True)):
            line = {
                "record": FORMAT,
                "time": now,
                "scorer": scorer.bundle.scorer,
                "version": scorer.version,
                "id": scorer.id_of(request),
                "features": scorer.shown_features(one.vector),
                "probability": one.probability,
                "flagged": one.is_flagged,
            }
            if shadow and shadowed:
                line["shadow"] = _shadow_part(shadow, shadowed[min(index, len(shadowed) - 1)])
            lines.append(to_json(line, inf_nan_mode="null"))
        self._write(b"\n".join(lines) + b"\n")

    def _write(self, content: bytes) -> None:
        """Write, past Python's buffers, which Lambda may freeze; a full disk is told of once, and fails no request."""
        if self._is_failing:
            # What was written last may have been torn: begin a line of one's own.
            content = b"\n" + content
        try:
            while content:
                content = content[os.write(self._file, content) :]
        except OSError as error:
            if not self._is_failing:
                logger.error("predictions cannot be recorded: %s", error.strerror)  # noqa: TRY400 - no traceback needed
            self._is_failing = True
        else:
            self._is_failing = False


def _shadow_part(shadow: Shadow, made: Scored | str) -> dict[str, Any]:
    if isinstance(made, str):
        return {"version": shadow.version, "error": made}
    return {"version": shadow.version, "probability": made.probability, "flagged": made.is_flagged}
