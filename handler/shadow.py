"""A second version, scored after each answer and never in it; whatever it does, no caller notices."""

import logging
from collections.abc import Sequence
from time import perf_counter

from handler.scorer import Scored, Scorer

# A shadow that fails or dawdles so many times in a row is scored no more until the pointer moves.
PATIENCE = 20
# Lambda's caller waits for it: at once some 20 times what it should take, and for each further request of a batch more.
SLOW_SECONDS, SLOW_SECONDS_EACH = 0.005, 0.001

logger = logging.getLogger(__name__)


class Shadow:
    """A scorer in another's shadow."""

    def __init__(self, scorer: Scorer) -> None:
        """Begin with patience."""
        self.scorer = scorer
        self.version = scorer.version
        self._strikes = 0

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
            self._strikes = 0
        return found

    def _strike(self, why: str) -> None:
        self._strikes += 1
        if self.is_dropped:
            logger.warning(
                "%s: the shadow %s is scored no more: %s, %d times in a row",
                self.scorer.bundle.scorer,
                self.version,
                why,
                PATIENCE,
            )
