"""The threshold that a declared policy picks on labelled probabilities, and warnings if it promises too much."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Context
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import StageError
from training.evaluation.cost import Money, RankedCosts
from training.evaluation.intervals import count_groups, lower_bound
from training.evaluation.metrics import Ranking, rank
from training.params import Decision, Policy
from training.run.matrix import Floats, Labels, Positions

# The probabilities come from exp(), whose last bits differ between processors.
THRESHOLD_DIGITS = 8
# With confidence, precision is tested at this many numbers of alerts, from the fewest to all rows.
N_TESTS, FEWEST_ALERTS = 20, 20
# The report compares the declared policy with these.
RECALLS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
REVIEW_RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)


class PolicyError(StageError):
    """Raised when no threshold satisfies the policy."""


def threshold_for(probability: Floats, label: Labels, policy: Policy, money: Money | None = None) -> float:
    """The threshold that a policy picks on labelled rows; rows with `probability >= threshold` are flagged.

    recall: the largest with at least that recall. precision: the smallest with at least that precision. review_rate:
    the smallest that flags at most that share. cost: the cheapest one that flags no more than can be reviewed.
    Raises PolicyError if no threshold satisfies the policy.
    """
    decision = Decision.model_validate(policy.given)
    threshold: float = decided(probability, label, decision, money)["threshold"]
    return threshold


def decided(probability: Floats, label: Labels, decision: Decision, money: Money | None = None) -> dict[str, Any]:
    """The decision as a bundle has it: `policy`, and `threshold`, from which a request is flagged.

    With two bands it also has `block`: the policy, and the threshold from which a request is blocked. If both policies
    are `cost: lowest`, their thresholds are chosen together. Raises PolicyError if no threshold satisfies a policy, or
    if that of `block` is lower than the other or, unless one of the policies is `cost: lowest`, equal to it.
    """
    ranking = rank(probability, label)
    review, block = decision.flagging, decision.block
    places = {"decision.review" if decision.review else "decision": review}
    places |= {"decision.block": block} if block else {}
    positions = [None if policy.cost else _position(ranking, policy, key) for key, policy in places.items()]
    if None in positions:
        positions = _cheapest(ranking, positions, tuple(places), money)
    thresholds = [_rounded_down(ranking, position) for position in positions if position is not None]
    made: dict[str, Any] = {"policy": review.given, "threshold": thresholds[0]}
    if block:
        is_given = not review.cost and not block.cost
        if thresholds[1] < thresholds[0] or (is_given and thresholds[1] == thresholds[0]):
            raise PolicyError(
                f"decision.block picks the threshold {thresholds[1]:.4g}, which is not above that of decision.review, "
                f"{thresholds[0]:.4g}, so nothing would be reviewed; let block aim at a higher precision or a lower "
                "recall"
            )
        made["block"] = {"policy": block.given, "threshold": thresholds[1]}
    if decision.score:
        made["score"] = decision.score
    if decision.control:
        made["control"] = {"share": decision.control.share}
    return made


def _position(ranking: Ranking, policy: Policy, key: str) -> int:
    """The position of the threshold that a policy picks; errors name the policy by `key`."""
    frauds, legitimate = ranking.counts()
    flagged = frauds + legitimate
    if policy.recall is not None:
        return _first_with_recall(frauds, policy.recall, policy.confidence, key)
    if policy.precision is not None:
        return _last_with_precision(frauds, flagged, policy.precision, policy.confidence, key)
    return _last_within_rate(flagged, policy.review_rate or 0.0, key)


def _cheapest(
    ranking: Ranking, positions: Sequence[int | None], keys: Sequence[str], money: Money | None
) -> list[int | None]:
    """The positions, with the cheapest ones in place of None; raises PolicyError if these flag or block nothing."""
    if money is None:
        raise PolicyError("decision.cost needs costs and the amounts of the rows")
    costs = RankedCosts(ranking, money)
    # Without a band to block, everything that is flagged is reviewed.
    review, block = (*positions, 0)[:2]
    chosen = costs.cheapest(review, block)
    if not chosen[0]:
        if costs.most_reviews < costs.n_flagged[1]:
            raise PolicyError(
                f"{keys[0]}.cost: costs.capacity is {money.costs.capacity:g} reviews a day, too few to review even the "
                f"rows with the highest probability ({costs.n_flagged[1]:,.0f} in {money.days:.1f} days); raise "
                "costs.capacity"
            )
        raise PolicyError(
            f"{keys[0]}.cost: with costs.review {money.costs.review:g} it is cheapest to flag nothing at all; check "
            "costs.review and the unit of costs.amount"
        )
    if block is None and not chosen[1]:
        raise PolicyError(
            "decision.block.cost: with this costs.insult it is cheapest to block nothing; declare one policy, without "
            "review and block, or check costs.insult"
        )
    return list(chosen[: len(positions)])


def _rounded_down(ranking: Ranking, position: int) -> float:
    """The score at a position, rounded down so that its row is still flagged, unless that would flag more rows."""
    score = ranking.threshold_at(position)
    rounded = float(Context(prec=THRESHOLD_DIGITS, rounding=ROUND_DOWN).create_decimal_from_float(score))
    return rounded if ranking.position_of(rounded) == position else score


def _first_with_recall(frauds: Floats, target: float, confidence: float | None, key: str) -> int:
    n_frauds = round(float(frauds[-1]))
    if confidence is None:
        needed = int(np.ceil(target * n_frauds - 1e-9))
    else:
        caught = np.arange(1.0, n_frauds + 1)
        enough = np.flatnonzero(lower_bound(caught, np.full(n_frauds, float(n_frauds)), confidence) >= target)
        if not len(enough):
            need = int(np.ceil(np.log(1 - confidence) / np.log(target)))
            raise PolicyError(
                f"{key}.recall {target:g} with confidence {confidence:g}: the calibration rows hold {n_frauds:,} "
                f"frauds, but at least {need:,} are needed; lower recall or confidence, or bring more rows"
            )
        needed = int(caught[enough[0]])
    return int(np.searchsorted(frauds, needed - 0.5))


def _last_with_precision(frauds: Floats, flagged: Floats, target: float, confidence: float | None, key: str) -> int:
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
            f"{key}.precision is {target:g}, but the highest {what} of any threshold on the calibration rows is "
            f"{reached.max():.3g}; lower {key}.precision"
        )
    return int(positions[enough[-1]])


def _last_within_rate(flagged: Floats, rate: float, key: str) -> int:
    position = int(np.searchsorted(flagged, rate * flagged[-1] + 1e-9, side="right")) - 1
    if not position:
        raise PolicyError(
            f"{key}.review_rate is {rate:g}, but the {flagged[1]:,.0f} rows with the highest probability, "
            f"{flagged[1] / flagged[-1]:.3g} of all, have equal probabilities; raise it"
        )
    return position


def operating_points(
    probability: Floats, label: Labels, declared: float, block: float | None = None
) -> dict[str, float]:
    """The one or two declared thresholds, and others to compare with, by their aims, from the highest to the lowest."""
    points = {"declared": declared} | ({} if block is None else {"block": block})
    for aims, key in ((RECALLS, "recall"), (REVIEW_RATES, "review_rate")):
        for aim in aims:
            try:
                points[f"{key} {aim:g}"] = threshold_for(probability, label, Policy.model_validate({key: aim}))
            except PolicyError:
                continue  # too few rows for so small a rate
    return dict(sorted(points.items(), key=lambda point: -point[1]))


def overstated_confidence(
    key: str, policy: Policy, values: str, cases: npt.NDArray[np.bool_], groups: Positions
) -> str | None:
    """A warning if several of the cases that a policy's confidence counts belong to one group; else None.

    The cases are frauds for a recall, alerts for a precision; `values` says what the groups are. The policy's bound
    (Clopper and Pearson 1934) takes the cases as independent, while the intervals of the test window draw groups.
    """
    n_cases, n_groups = int(cases.sum()), count_groups(cases, groups)
    if n_groups == n_cases:
        return None
    what = "frauds" if policy.recall is not None else "alerts"
    return (
        f"WARNING: {key}.confidence is {policy.confidence:g} for {n_cases:,} independent {what}, but these belong "
        f"to only {n_groups:,} {values}, so the real confidence is lower; raise the target, or rely on the interval of "
        "the test window, which takes this into account"
    )


def beyond_capacity(money: Money, probability: Floats, threshold: float, block: float | None) -> str | None:
    """A warning if the decision sends more requests a day to review than the declared capacity; else None."""
    flagged, blocked = probability >= threshold, probability >= (np.inf if block is None else block)
    a_day = (flagged & ~blocked).sum() / money.days
    if (capacity := money.costs.capacity) is None or a_day <= capacity:
        return None
    return (
        f"WARNING: the decision sends {a_day:,.0f} requests a day to review, more than costs.capacity, {capacity:g}; "
        "declare a policy that flags fewer, raise costs.capacity, or declare cost: lowest, which keeps to it"
    )
