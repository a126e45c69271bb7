"""The threshold that a declared policy picks on the labelled probabilities of calibration rows."""

from decimal import ROUND_DOWN, Context
from typing import Any

import numpy as np
from scipy.stats import beta

from training.errors import StageError
from training.evaluation.metrics import Ranking, rank
from training.params import Costs, Decision, Policy
from training.run.matrix import Floats, Labels

# The probabilities come from exp(), whose last bits differ between processors.
THRESHOLD_DIGITS = 8
# With confidence, precision is tested at this many numbers of alerts, from the fewest to all rows.
N_TESTS, FEWEST_ALERTS = 20, 20
# The report compares the declared policy with these.
RECALLS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
REVIEW_RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)


class PolicyError(StageError):
    """Raised when no threshold satisfies the policy."""


def threshold_for(
    probability: Floats, label: Labels, policy: Policy, amount: Floats | None = None, costs: Costs | None = None
) -> float:
    """The threshold, flagging `probability >= threshold`, that a policy picks on labelled rows.

    recall: the largest with at least that recall. precision: the smallest with at least that precision. review_rate:
    the smallest that flags at most that share. cost: the one at which missed amounts and reviews cost least.
    Raises PolicyError where no threshold satisfies the policy.
    """
    ranking = rank(probability, label)
    frauds, legitimate = ranking.counts()
    flagged = frauds + legitimate
    if policy.recall is not None:
        position = _first_with_recall(frauds, policy.recall, policy.confidence)
    elif policy.precision is not None:
        position = _last_with_precision(frauds, flagged, policy.precision, policy.confidence)
    elif policy.review_rate is not None:
        position = _last_within_rate(flagged, policy.review_rate)
    elif amount is not None and costs is not None:
        position = _cheapest(cost_of(ranking, flagged, amount, costs), costs)
    else:
        raise PolicyError("decision.cost needs costs and the amounts of the rows")
    return _rounded_down(ranking, position)


def decided(
    probability: Floats,
    label: Labels,
    decision: Decision,
    amount: Floats | None = None,
    costs: Costs | None = None,
) -> dict[str, Any]:
    """The decision as a bundle has it: `policy` and `threshold`, from which on a request is flagged.

    With two bands also `block`, the policy and the threshold from which on it is blocked. Raises PolicyError where no
    threshold satisfies a policy, or that of `block` is the lower one.
    """

    def threshold_of(policy: Policy, key: str) -> float:
        try:
            return threshold_for(probability, label, policy, amount, costs)
        except PolicyError as error:
            raise PolicyError(str(error).replace("decision", key)) from error

    threshold = threshold_of(decision.flagging, "decision.review" if decision.review else "decision")
    made: dict[str, Any] = {"policy": decision.flagging.given, "threshold": threshold}
    if decision.block:
        block = threshold_of(decision.block, "decision.block")
        if block < threshold:
            raise PolicyError(
                f"decision.block picks the threshold {block:.4g}, below that of decision.review, {threshold:.4g}, so "
                "that nothing would be reviewed; let block aim at a higher precision or a lower recall"
            )
        made["block"] = {"policy": decision.block.given, "threshold": block}
    return made


def _rounded_down(ranking: Ranking, position: int) -> float:
    """The score at a position, rounded down so that its row is still flagged, unless that flags further rows."""
    score = ranking.threshold_at(position)
    rounded = float(Context(prec=THRESHOLD_DIGITS, rounding=ROUND_DOWN).create_decimal_from_float(score))
    return rounded if ranking.position_of(rounded) == position else score


def _first_with_recall(frauds: Floats, target: float, confidence: float | None) -> int:
    n_frauds = round(float(frauds[-1]))
    if confidence is None:
        needed = int(np.ceil(target * n_frauds - 1e-9))
    else:
        caught = np.arange(1.0, n_frauds + 1)
        enough = np.flatnonzero(lower_bound(caught, np.full(n_frauds, float(n_frauds)), confidence) >= target)
        if not len(enough):
            need = int(np.ceil(np.log(1 - confidence) / np.log(target)))
            raise PolicyError(
                f"decision.recall {target:g} with confidence {confidence:g}: the calibration rows hold {n_frauds:,} "
                f"frauds, it takes {need:,}; lower recall or confidence, or bring more rows"
            )
        needed = int(caught[enough[0]])
    return int(np.searchsorted(frauds, needed - 0.5))


def _last_with_precision(frauds: Floats, flagged: Floats, target: float, confidence: float | None) -> int:
    positions = np.arange(1, len(flagged))
    if confidence is None:
        reached = frauds[1:] / flagged[1:]
    else:
        # The best of many thresholds looks better than it is. So only a few are tested, at numbers of alerts fixed
        # beforehand, and each at the confidence at which all of them hold together (Bonferroni).
        sizes = np.minimum(np.geomspace(min(FEWEST_ALERTS, flagged[-1]), flagged[-1], N_TESTS), flagged[-1])
        positions = np.unique(np.searchsorted(flagged[1:], sizes) + 1)
        reached = lower_bound(frauds[positions], flagged[positions], 1 - (1 - confidence) / len(positions))
    enough = np.flatnonzero(reached >= target - 1e-12)
    if not len(enough):
        what = "precision" if confidence is None else f"lower bound of precision, with confidence {confidence:g},"
        raise PolicyError(
            f"decision.precision is {target:g}; the highest {what} of any threshold on the calibration rows is "
            f"{reached.max():.3g}: lower it"
        )
    return int(positions[enough[-1]])


def _last_within_rate(flagged: Floats, rate: float) -> int:
    position = int(np.searchsorted(flagged, rate * flagged[-1] + 1e-9, side="right")) - 1
    if not position:
        raise PolicyError(
            f"decision.review_rate is {rate:g}, but the {flagged[1]:,.0f} rows with the highest probability, "
            f"{flagged[1] / flagged[-1]:.3g} of all, have equal probabilities; raise it"
        )
    return position


def lower_bound(successes: Floats, trials: Floats, confidence: float) -> Floats:
    """The one-sided lower confidence bound of each share (Clopper and Pearson 1934)."""
    shifted = np.maximum(successes, 1)
    bound: Floats = np.where(successes > 0, beta.ppf(1 - confidence, shifted, trials - shifted + 1), 0.0)
    return bound


def cost_of(ranking: Ranking, flagged: Floats, amount: Floats, costs: Costs, weight: Floats | None = None) -> Floats:
    """The total cost, missed frauds' amounts and reviews, at each position of the ranking's counts.

    `flagged` is the number of flagged rows at each position; `amount` and `weight` are in the rows' original order.
    """
    at_risk = amount if weight is None else amount * weight
    stopped = ranking.cumulative(np.where(ranking.is_fraud, at_risk[ranking.order], 0.0))
    cost: Floats = stopped[-1] - stopped + costs.review * flagged
    return cost


def _cheapest(cost: Floats, costs: Costs) -> int:
    position = int(np.argmin(cost))
    if not position:
        raise PolicyError(
            f"decision.cost: with costs.review {costs.review:g} it is cheapest to flag nothing at all; check "
            "costs.review and the unit of costs.amount"
        )
    return position


def operating_points(
    probability: Floats, label: Labels, declared: float, block: float | None = None
) -> dict[str, float]:
    """The declared threshold, or both, and others to compare with, by their aims, from the highest to the lowest."""
    points = {"declared": declared} | ({} if block is None else {"block": block})
    for aims, key in ((RECALLS, "recall"), (REVIEW_RATES, "review_rate")):
        for aim in aims:
            try:
                points[f"{key} {aim:g}"] = threshold_for(probability, label, Policy.model_validate({key: aim}))
            except PolicyError:
                continue  # too few rows for so small a rate
    return dict(sorted(points.items(), key=lambda point: -point[1]))
