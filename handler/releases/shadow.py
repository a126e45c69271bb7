"""The shadow: a second version that scores each request after it is answered, without influence on the answer.

Under uvicorn the answer has been sent by then. In Lambda the caller waits for the shadow, which is why one that
exceeds its time budget too often is disabled.
"""

import logging
from collections.abc import Sequence
from time import perf_counter

from pydantic import BaseModel

from handler.scoring.scorer import Scored, Scorer

# Failures or slow answers that disable a shadow until the pointer is updated; a success takes back a quarter of one.
MAX_STRIKES = 20
STRIKES_PER_SUCCESS = 0.25
# The time budget of a call: a fixed part of at least twenty times what one request takes, and a part for each request.
SLOW_SECONDS, SLOW_SECONDS_EACH = 0.005, 0.0002

logger = logging.getLogger(__name__)


class Shadow:
    """A version that scores requests beside the one that serves."""

    def __init__(self, scorer: Scorer) -> None:
        """Start without strikes."""
        self.scorer = scorer
        self.version = scorer.version
        self._strikes = 0.0

    @property
    def is_disabled(self) -> bool:
        """Whether it failed, or was too slow, too often."""
        return self._strikes >= MAX_STRIKES

    def scores(
        self, body: bytes | bytearray, *, is_batch: bool, completed: Sequence[BaseModel] = (), history: str = ""
    ) -> Sequence[Scored | str]:
        """The shadow's scores of a body's requests, parsed by its own contract; the exception's name if it fails.

        `completed` are the same requests as the serving version read them, whose history has the id `history`. A shadow
        with the same history takes the features of the past from them; a shadow with another history has none. The
        result is empty once the shadow is disabled.
        """
        if self.is_disabled:
            return ()
        start = perf_counter()
        try:
            if is_batch:
                requests = self.scorer.batch.validate_json(body)
            else:
                requests = [self.scorer.request_model.model_validate_json(body)]
            if (past := self.scorer.past) and past.id == history:
                for request, other in zip(requests, completed, strict=True):
                    past.complete_like(request, other)
            scored = self.scorer.scores(requests)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is answered already
            self._strike(type(error).__name__)
            return (type(error).__name__,)
        if perf_counter() - start > SLOW_SECONDS + SLOW_SECONDS_EACH * len(scored):
            self._strike("too slow")
        else:
            self._strikes = max(self._strikes - STRIKES_PER_SUCCESS, 0.0)
        return scored

    def _strike(self, reason: str) -> None:
        self._strikes += 1
        if self.is_disabled:
            logger.warning(
                "%s: the shadow %s is disabled after too many failures or slow answers; the last one: %s",
                self.scorer.bundle.scorer,
                self.version,
                reason,
            )
