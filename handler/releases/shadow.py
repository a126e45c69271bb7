"""A second version, scored after each answer and never in it.

Under uvicorn the answer is on its way by then. In Lambda the caller waits for it, which is why one that dawdles is
dropped.
"""

import logging
from collections.abc import Sequence
from time import perf_counter

from handler.scoring.scorer import Scored, Scorer

# A shadow that fails or dawdles so often is scored no more until the pointer moves; each success makes up for a little.
PATIENCE = 20
FORGIVEN = 0.25
# Some twenty times what one request should take, and for each of a batch three times.
SLOW_SECONDS, SLOW_SECONDS_EACH = 0.005, 0.0002

logger = logging.getLogger(__name__)


class Shadow:
    """A scorer in another's shadow."""

    def __init__(self, scorer: Scorer) -> None:
        """Begin with patience."""
        self.scorer = scorer
        self.version = scorer.version
        self._strikes = 0.0

    @property
    def is_dropped(self) -> bool:
        """Whether it has failed too often to be scored any more."""
        return self._strikes >= PATIENCE

    def scores(self, body: bytes | bytearray, *, is_batch: bool) -> Sequence[Scored | str]:
        """What it makes of each request of a body, which its own contract reads; where it fails, the failure's name.

        Empty once it is dropped.
        """
        if self.is_dropped:
            return ()
        start = perf_counter()
        try:
            if is_batch:
                found = self.scorer.scores(self.scorer.batch.validate_json(body))
            else:
                found = [self.scorer.score(self.scorer.request_model.model_validate_json(body))]
        except Exception as error:  # noqa: BLE001 - whatever it is, the request has its answer
            self._strike(type(error).__name__)
            return (type(error).__name__,)
        if perf_counter() - start > SLOW_SECONDS + SLOW_SECONDS_EACH * len(found):
            self._strike("too slow")
        else:
            self._strikes = max(self._strikes - FORGIVEN, 0.0)
        return found

    def _strike(self, why: str) -> None:
        self._strikes += 1
        if self.is_dropped:
            logger.warning(
                "%s: the shadow %s failed too often and is scored no more: %s",
                self.scorer.bundle.scorer,
                self.version,
                why,
            )
