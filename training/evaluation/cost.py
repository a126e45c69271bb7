"""The cost of decisions: missed frauds, reviewed requests, and legitimate requests that are blocked."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.scoring.fields import SECONDS_A_DAY
from training.declaration import ScorerDeclaration
from training.evaluation.metrics import Ranking
from training.params import COST_PARTS, Costs, Insult
from training.run.matrix import Floats, Labels

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Money:
    """What decisions on labelled rows cost, and how many of the rows may be reviewed."""

    amount: Floats
    """The amount of each row, which is lost if the row is a fraud and is missed."""
    costs: Costs
    days: float = np.inf
    """How many days of requests the rows amount to."""

    @property
    def most_reviews(self) -> float:
        """How many of the rows the declared capacity can review."""
        return np.inf if self.costs.capacity is None else self.costs.capacity * self.days


def declared_money(scorer: ScorerDeclaration, column: Callable[[str], Floats]) -> Money | None:
    """What decisions on some rows cost; None if no costs are declared. `column` gives the rows' columns by name."""
    if not scorer.costs:
        return None
    days = max(float(np.ptp(column(scorer.time))) / SECONDS_A_DAY, 1.0) * scorer.split.sample
    return Money(column(scorer.costs.amount), scorer.costs, days)


def costs_of(label: Labels, flagged: Mask, blocked: Mask, money: Money) -> dict[str, float]:
    """The COST_PARTS of decisions on labelled rows; a row that is flagged but not blocked is reviewed."""
    is_fraud, amount, costs = label == 1, money.amount, money.costs
    insult = costs.insult or Insult.model_construct()
    stopped, insulted = amount[is_fraud & flagged].sum(), ~is_fraud & blocked
    parts = (
        amount[is_fraud & ~flagged].sum(),
        (1 - costs.recovered) * stopped,
        costs.review * (flagged & ~blocked).sum(),
        insult.flat * insulted.sum() + insult.share * amount[insulted].sum(),
    )
    return dict(zip(COST_PARTS, map(float, parts), strict=True))


class RankedCosts:
    """The cost of decisions on ranked rows, by the positions of the thresholds to review and to block from.

    At position 0 no row is reviewed, or blocked. `parts` takes both positions, or arrays of them.
    """

    def __init__(self, ranking: Ranking, money: Money, weight: Floats | None = None) -> None:
        """Add up the rows; `weight` holds one number per row, in the rows' original order."""
        costs, order = money.costs, ranking.order
        weights = np.ones(len(order)) if weight is None else weight[order]
        amount = money.amount[order] * weights
        insult = costs.insult or Insult.model_construct()
        self._costs, self.most_reviews = costs, money.most_reviews
        self._stopped = ranking.cumulative(np.where(ranking.is_fraud, amount, 0.0))
        self._insults = ranking.cumulative(
            np.where(ranking.is_fraud, 0.0, insult.flat * weights + insult.share * amount)
        )
        self.n_flagged = ranking.cumulative(weights)

    def parts(self, review: Any, block: Any = 0) -> Floats:  # noqa: ANN401 - a position, or an array of them
        """The COST_PARTS, one row each, with the thresholds to flag and to block from at these positions."""
        stopped, n_reviewed = self._stopped[review], self.n_flagged[review] - self.n_flagged[block]
        parts = [
            self._stopped[-1] - stopped,
            (1 - self._costs.recovered) * stopped,
            self._costs.review * n_reviewed,
            self._insults[block],
        ]
        return np.stack(np.broadcast_arrays(*parts))

    def total(self, review: Any, block: Any = 0) -> Any:  # noqa: ANN401 - a number, or an array of them
        """The sum of the `parts`."""
        return self.parts(review, block).sum(axis=0)

    def cheapest(self, review: int | None, block: int | None) -> tuple[int, int]:
        """The cheapest positions to review and to block from; a given position is kept, and one that is None is found.

        No more requests are reviewed than `most_reviews`. At equal costs the higher thresholds are taken.
        """
        if review is not None and block is not None:
            return review, block
        every, most = np.arange(len(self.n_flagged)), self.most_reviews + 1e-9
        if review is not None:
            blocks = every[: review + 1]
            blocks = blocks[self.n_flagged[review] - self.n_flagged[blocks] <= most]
            reviews = np.full(len(blocks), review)
        elif block is not None:
            reviews = every[block:]
            reviews = reviews[self.n_flagged[reviews] - self.n_flagged[block] <= most]
            blocks = np.full(len(reviews), block)
        else:
            reviews, blocks = self._cheapest_reviews(), every
        best = int(np.argmin(self.total(reviews, blocks)))
        return int(reviews[best]), int(blocks[best])

    def _cheapest_reviews(self) -> npt.NDArray[np.intp]:
        """For each position to block from, the cheapest one to review from, at or after it and within the capacity."""
        cost = self.total(np.arange(len(self.n_flagged))).tolist()
        last = np.searchsorted(self.n_flagged, self.n_flagged + self.most_reviews + 1e-9, side="right").tolist()
        # A sliding-window minimum: the queue holds the positions that may still be the cheapest, none of them cheaper
        # than the one before it.
        waiting: deque[int] = deque()
        cheapest, entered = [], 0
        for block, end in enumerate(last):
            for position in range(entered, end):
                while waiting and cost[waiting[-1]] > cost[position]:
                    waiting.pop()
                waiting.append(position)
            entered = max(entered, end)
            while waiting[0] < block:
                waiting.popleft()
            cheapest.append(waiting[0])
        return np.array(cheapest)


def caught_amounts(
    probability: Floats, label: Labels, thresholds: Sequence[float], amount: Floats
) -> dict[str, list[float]]:
    """For each threshold the amount of the flagged frauds: per thousand rows, and as a share of that of all frauds."""
    at_risk = np.where(label == 1, np.nan_to_num(amount), 0.0)
    caught = [float(at_risk[probability >= threshold].sum()) for threshold in thresholds]
    total = max(float(at_risk.sum()), 1e-12)
    return {
        "caught_amount_of_1000": [1000 * amount / len(at_risk) for amount in caught],
        "caught_amount_share": [amount / total for amount in caught],
    }
