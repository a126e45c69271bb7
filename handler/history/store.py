"""The interface of every history store, and how long a store that does not answer is left alone."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import monotonic
from typing import Self

from handler.scoring.history import DAY
from handler.scoring.past import KeyedEvent, RequestPast

# The version of the states' bytes and of the stores' own layout; data of another version is refused, or not found.
LAYOUT = 3

# After MAX_FAILURES in a row a store is left alone for PAUSE_SECONDS, so that requests do not wait in vain.
MAX_FAILURES, PAUSE_SECONDS = 5, 10.0

WEEK = 7 * DAY

Values = list[list[float] | None]

logger = logging.getLogger(__name__)


class PastStore(ABC):
    """A store of the states of entities."""

    def __init__(self) -> None:
        """Begin as a store that answers."""
        self._failures, self._paused_until, self._is_troubled = 0, 0.0, False
        self.n_failed = 0
        """How many requests were not answered."""

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @abstractmethod
    def exchange(self, requests: Sequence[Sequence[KeyedEvent | None]], *, is_written: bool = True) -> list[Values]:
        """Per request and entity, the features from strictly earlier events; None if the store did not answer.

        Without `is_written`, nothing is stored, and the requests of a batch do not see each other. An entity that a
        request does not name has no features: an empty list.
        """

    @abstractmethod
    def add_outcomes(self, past: RequestPast, ids: Sequence[str]) -> bool:
        """Count the requests with these ids as frauds, each once; returns whether the store answered.

        An id that was never added, or is forgotten, changes nothing.
        """

    @abstractmethod
    def close(self) -> None:
        """Close what is open; a later request opens it again."""

    @property
    def is_answering(self) -> bool:
        """Whether the last request was answered."""
        return self._failures == 0

    def _is_asked(self) -> bool:
        """Whether the store is asked now: False while it is left alone."""
        return self._failures < MAX_FAILURES or monotonic() >= self._paused_until

    def _fail(self, error: Exception) -> None:
        """Log the first failure, and after several leave the store alone for a while."""
        if not self._failures:
            logger.error("the history does not answer: %s", error)
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._paused_until = monotonic() + PAUSE_SECONDS

    def _succeed(self, trouble: Exception | None = None) -> None:
        """Log that the store answers again, if it did not, and the first failure that concerns only some keys."""
        if self._failures:
            logger.warning("the history answers again")
            self._failures = 0
        if trouble and not self._is_troubled:
            logger.error("the history does not answer for some keys: %s", trouble)
        self._is_troubled = trouble is not None


def week_end(seconds: int) -> int:
    """The end of a time's week; a store rounds expiry times up to it, so that they seldom change."""
    return -(-seconds // WEEK) * WEEK


def unanswered(requests: Sequence[Sequence[KeyedEvent | None]]) -> list[Values]:
    """The values of requests that a history's store has not answered."""
    return [[None if event else [] for event in events] for events in requests]
