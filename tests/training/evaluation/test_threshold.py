"""Policies: each threshold meets its policy, and no other threshold does so better."""

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from training.evaluation.cost import Money
from training.evaluation.intervals import lower_bound
from training.evaluation.threshold import RECALLS, REVIEW_RATES, PolicyError, decided, operating_points, threshold_for
from training.params import Costs, Decision

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Rows = list[tuple[float, bool]]

# Scores with few digits, so that rows tie, and scores as small as fraud rates,
# all far enough apart for the threshold's eight digits.
SCORES = st.one_of(st.integers(1, 40).map(lambda n: n / 40), st.integers(1, 40).map(lambda n: n / 4e6))
ROWS = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=60).map(lambda rows: [*rows, (1.0, True)])
SHARES = st.one_of(st.floats(0.01, 1.0), st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 1.0]))
CONFIDENCES = st.one_of(st.floats(0.5, 0.999), st.sampled_from([0.5, 0.9, 0.95]))


def columns_of(rows: Rows) -> tuple[Floats, Labels]:
    """Probabilities and labels as arrays."""
    probability, is_fraud = zip(*rows, strict=True)
    return np.array(probability), np.array(is_fraud, dtype=np.int8)


def separated(n_frauds: int, n_legitimate: int) -> tuple[Floats, Labels]:
    """Rows in which every fraud has its own score, higher than those of all legitimate rows."""
    probability = np.concatenate([np.linspace(0.5, 0.9, n_frauds), np.linspace(0.1, 0.4, n_legitimate)])
    return probability, np.repeat([1, 0], [n_frauds, n_legitimate]).astype(np.int8)


def recalls_at(probability: Floats, label: Labels, threshold: float) -> float:
    """The share of the frauds at or above a threshold."""
    return float((probability[label == 1] >= threshold).mean())


@given(rows=st.lists(st.tuples(st.one_of(SCORES, st.floats(1e-9, 1.0)), st.booleans()), max_size=60), recall=SHARES)
@example(rows=[(float(np.nextafter(0.68968216, 0)), True)], recall=0.9)
@example(rows=[(0.29, True), (0.29, False), (0.3, True)], recall=0.9)
def test_recall_policy_takes_the_largest_threshold(rows: Rows, recall: float) -> None:
    """The declared recall is reached at the threshold, and missed at the next larger score."""
    probability, label = columns_of([*rows, (1.0, True)])
    threshold = threshold_for(probability, label, Decision(recall=recall))
    assert recalls_at(probability, label, threshold) >= recall - 1e-9
    # The threshold is rounded down to eight digits, so scores within that distance count as the threshold itself.
    larger = probability[probability > threshold * (1 + 1e-7)]
    assert larger.size == 0 or recalls_at(probability, label, larger.min()) < recall + 1e-9


def test_recall_policy_of_a_worked_case() -> None:
    """90 % recall of ten frauds needs nine of them, so the threshold is the ninth largest score of a fraud."""
    probability = np.concatenate([np.arange(1, 11) / 16, np.full(100, 0.01)])
    label = np.repeat([1, 0], [10, 100]).astype(np.int8)
    assert threshold_for(probability, label, Decision(recall=0.9)) == 2 / 16
    assert threshold_for(probability, label, Decision(recall=0.91)) == 1 / 16
    assert threshold_for(probability, label, Decision(recall=0.1)) == 10 / 16


@given(rows=ROWS, precision=SHARES)
def test_precision_policy_takes_the_smallest_threshold(rows: Rows, precision: float) -> None:
    """The precision is reached at the threshold and at no lower score; it is refused only if nothing reaches it."""
    probability, label = columns_of(rows)
    reached = {score: label[probability >= score].mean() for score in np.unique(probability)}
    try:
        threshold = threshold_for(probability, label, Decision(precision=precision))
    except PolicyError:
        assert max(reached.values()) < precision
        return
    assert label[probability >= threshold].mean() >= precision - 1e-9
    assert all(share < precision for score, share in reached.items() if score < threshold)


@given(rows=ROWS, review_rate=SHARES)
def test_review_rate_policy_flags_as_much_as_it_may(rows: Rows, review_rate: float) -> None:
    """The flagged share is within the declared one, and would exceed it at the next lower score."""
    probability, label = columns_of(rows)
    try:
        threshold = threshold_for(probability, label, Decision(review_rate=review_rate))
    except PolicyError:
        assert (probability == probability.max()).mean() > review_rate
        return
    assert (probability >= threshold).mean() <= review_rate + 1e-9
    lower = probability[probability < threshold]
    assert lower.size == 0 or (probability >= lower.max()).mean() > review_rate


@settings(max_examples=50)
@given(rows=ROWS, quarters=st.lists(st.integers(0, 400), min_size=61, max_size=61), review=st.integers(1, 200))
def test_cost_policy_is_cheapest(rows: Rows, quarters: list[int], review: int) -> None:
    """No score is a cheaper threshold than the chosen one; it is refused only if flagging nothing is as cheap."""
    probability, label = columns_of(rows)
    amount = np.array(quarters[: len(rows)]) / 4

    def cost(threshold: float) -> float:
        flagged = probability >= threshold
        return float(amount[(label == 1) & ~flagged].sum() + review / 4 * flagged.sum())

    cheapest = min(map(cost, np.unique(probability)))
    costs = Costs(amount="amount", review=review / 4)
    try:
        threshold = threshold_for(probability, label, Decision(cost="lowest"), Money(amount, costs))
    except PolicyError:
        assert cost(2.0) <= cheapest
        return
    assert cost(threshold) == cheapest < cost(2.0)


@pytest.mark.parametrize("policy", [{"precision": 1.0}, {"review_rate": 0.25}])
def test_rounding_flags_no_further_row(policy: dict[str, Any]) -> None:
    """Scores that differ in their ninth digit stay apart: rounding the threshold does not break the policy."""
    probability, label = np.array([0.123456789, 0.123456781, 0.1, 0.05]), np.array([1, 0, 0, 0], dtype=np.int8)
    threshold = threshold_for(probability, label, Decision.model_validate(policy))
    assert (probability >= threshold).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("key", "direction"), [("recall", -1), ("precision", 1)])
@settings(max_examples=50)
@given(rows=ROWS, target=SHARES, confidence=CONFIDENCES)
def test_confidence_moves_the_threshold(key: str, direction: int, rows: Rows, target: float, confidence: float) -> None:
    """With confidence, a recall policy never flags less, and a precision policy never more, than without."""
    probability, label = columns_of(rows)
    try:
        sure = threshold_for(probability, label, Decision.model_validate({key: target, "confidence": confidence}))
    except (PolicyError, ValidationError):
        return
    assert direction * sure >= direction * threshold_for(probability, label, Decision.model_validate({key: target}))


@settings(max_examples=50)
@given(n_frauds=st.integers(1, 200), recall=st.floats(0.3, 0.95), confidence=CONFIDENCES)
def test_sure_recall_is_the_largest_threshold_whose_bound_reaches_it(
    n_frauds: int, recall: float, confidence: float
) -> None:
    """With one fraud fewer above the threshold, recall's lower bound would miss the target."""

    def bound(caught: int) -> float:
        return float(lower_bound(np.array([caught]), np.array([n_frauds]), confidence)[0])

    probability, label = separated(n_frauds, 50)
    try:
        threshold = threshold_for(probability, label, Decision(recall=recall, confidence=confidence))
    except PolicyError:
        assert bound(n_frauds) < recall
        return
    caught = int((probability >= threshold).sum())
    assert bound(caught - 1) < recall <= bound(caught)


def test_sure_precision_of_a_worked_case() -> None:
    """80 flagged frauds and no false alarm are enough for 90 % with 95 % confidence, 40 are not."""
    policy = Decision(precision=0.9, confidence=0.95)
    assert threshold_for(*separated(80, 50), policy) == 0.5
    with pytest.raises(PolicyError):
        threshold_for(*separated(40, 50), policy)


def test_sure_precision_allows_for_many_thresholds() -> None:
    """If no threshold has the precision, at most 5 of 100 samples give one that seems to."""
    rng, policy = np.random.default_rng(4), Decision(precision=0.5, confidence=0.95)
    n_thresholds = 0
    for _ in range(200):
        label = (rng.random(2_000) < 0.495).astype(np.int8)
        with suppress(PolicyError):
            threshold_for(rng.random(2_000), label, policy)
            n_thresholds += 1
    assert n_thresholds / 200 <= 0.05


def test_sure_recall_holds_for_rows_to_come() -> None:
    """In at least 95 of 100 calibration samples, the threshold reaches the declared recall in the population."""
    rng, policy = np.random.default_rng(8), Decision(recall=0.8, confidence=0.95)
    label, samples = np.ones(150, dtype=np.int8), 1_000
    # Frauds' scores are uniform, so a threshold t has a recall of 1 - t in the population.
    held = sum(1 - threshold_for(rng.random(150), label, policy) >= 0.8 for _ in range(samples))
    noise = 3 * np.sqrt(0.95 * 0.05 / samples)
    assert 0.95 - noise <= held / samples <= 0.99


def test_28_frauds_are_too_few() -> None:
    """28 of 28 frauds do not prove a recall of 0.9; the message asks for 29, and 29 are enough."""
    policy = Decision(recall=0.9, confidence=0.95)
    with pytest.raises(PolicyError) as caught:
        threshold_for(*separated(28, 100), policy)
    assert str(caught.value) == (
        "decision.recall 0.9 with confidence 0.95: the calibration rows hold 28 frauds, but at least 29 are needed; "
        "lower recall or confidence, or bring more rows"
    )
    assert threshold_for(*separated(29, 100), policy) == 0.5


@settings(max_examples=50)
@given(recall=st.floats(0.3, 0.97), confidence=st.floats(0.5, 0.99))
def test_the_number_of_frauds_it_takes_is_enough(recall: float, confidence: float) -> None:
    """With as many frauds as the message asks for, there is a threshold."""
    policy = Decision(recall=recall, confidence=confidence)
    try:
        threshold_for(*separated(1, 5), policy)
    except PolicyError as error:
        needed = int(str(error).split("at least ")[1].split(" are")[0].replace(",", ""))
        assert needed > 1
        assert threshold_for(*separated(needed, 5), policy) == 0.5


def test_recall_of_1_is_never_sure() -> None:
    """No sample proves that every future fraud is caught; the declaration is refused before anything is trained."""
    with pytest.raises(ValidationError, match="recall is 1, which no number of frauds can ensure"):
        Decision(recall=1.0, confidence=0.95)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {"precision": 0.9},
            ("precision is 0.9, but the highest precision of any threshold on {rows} is 0.5; lower decision.precision"),
        ),
        (
            {"precision": 0.9, "confidence": 0.95},
            (
                "precision is 0.9, but the highest lower bound of precision, with confidence 0.95, of any threshold "
                "on {rows} is 0.0127; lower decision.precision"
            ),
        ),
        (
            {"review_rate": 0.1},
            (
                "review_rate is 0.1, but the 2 rows with the highest probability, 0.5 of all, have equal "
                "probabilities; raise it"
            ),
        ),
        (
            {"cost": "lowest"},
            (
                "cost: with costs.review 7.5 it is cheapest to flag nothing at all; check costs.review and the unit of "
                "costs.amount"
            ),
        ),
    ],
)
def test_policy_that_no_threshold_keeps_is_refused(policy: dict[str, Any], message: str) -> None:
    """The message names the key, the value that was found and a remedy."""
    probability, label = np.array([0.9, 0.9, 0.2, 0.1]), np.array([1, 0, 0, 0], dtype=np.int8)
    amount, costs = np.full(4, 10.0), Costs(amount="amount", review=7.5)
    with pytest.raises(PolicyError) as caught:
        threshold_for(probability, label, Decision.model_validate(policy), Money(amount, costs))
    assert str(caught.value) == f"decision.{message.format(rows='the calibration rows')}"


def test_cost_policy_needs_amounts() -> None:
    """Without costs there is no cheapest threshold."""
    with pytest.raises(PolicyError, match=r"decision\.cost needs costs and the amounts of the rows"):
        threshold_for(*separated(5, 5), Decision(cost="lowest"))


@settings(max_examples=50)
@given(rows=ROWS, declared=st.floats(0, 1))
def test_operating_points_fall_and_hold_the_declared_one(rows: Rows, declared: float) -> None:
    """The points go from the highest threshold to the lowest, and include the declared one and every recall."""
    points = operating_points(*columns_of(rows), declared)
    assert list(points.values()) == sorted(points.values(), reverse=True)
    assert points["declared"] == declared
    assert {f"recall {aim:g}" for aim in RECALLS} <= set(points)


def test_operating_points_are_what_they_aim_at() -> None:
    """Each point is the threshold of the policy in its name; a review rate of less than one row has no point."""
    probability, label = separated(40, 3_960)
    points = operating_points(probability, label, 0.45)
    aims = [*(("recall", aim) for aim in RECALLS), *(("review_rate", aim) for aim in REVIEW_RATES)]
    assert set(points) == {"declared", *(f"{key} {aim:g}" for key, aim in aims)}
    for key, aim in aims:
        assert points[f"{key} {aim:g}"] == threshold_for(probability, label, Decision.model_validate({key: aim}))
    rates = [name for name in operating_points(*separated(5, 95), 0.45) if name.startswith("review_rate")]
    assert sorted(rates) == ["review_rate 0.01", "review_rate 0.02", "review_rate 0.05", "review_rate 0.1"]


def test_two_bands_have_two_thresholds() -> None:
    """Each band has its own policy's threshold, and the lower one flags."""
    probability, label = separated(80, 120)
    review, block = {"recall": 0.9}, {"recall": 0.25}
    decision = Decision.model_validate({"review": review, "block": block})
    assert decided(probability, label, decision) == {
        "policy": review,
        "threshold": threshold_for(probability, label, Decision.model_validate(review)),
        "block": {"policy": block, "threshold": threshold_for(probability, label, Decision.model_validate(block))},
    }
    assert decided(probability, label, Decision(recall=0.9)).keys() == {"policy", "threshold"}


def test_nothing_is_blocked_that_is_not_flagged() -> None:
    """A block threshold that is not above the review threshold is refused with both: nothing would be reviewed."""
    decision = {"review": {"recall": 0.25}, "block": {"recall": 0.9}}
    probability, label = separated(80, 120)
    with pytest.raises(PolicyError, match=r"decision.block picks the threshold 0\.54.*, which is not above .* 0\.80"):
        decided(probability, label, Decision.model_validate(decision))
    for band in ("review", "block"):
        hopeless = {"review": {"recall": 0.9}, "block": {"recall": 0.25}} | {
            band: {"precision": 0.9, "confidence": 0.9}
        }
        with pytest.raises(PolicyError, match=rf"decision\.{band}\.precision is 0\.9, but the highest lower bound"):
            decided(np.linspace(0, 1, 50), np.repeat([1, 0], 25).astype(np.int8), Decision.model_validate(hopeless))
    same = Decision.model_validate({"review": {"recall": 0.5}, "block": {"recall": 0.5}})
    with pytest.raises(PolicyError, match=r"picks the threshold 0\.70.*, which is not above that of .* 0\.70"):
        decided(probability, label, same)


def test_the_threshold_to_block_is_an_operating_point() -> None:
    """It is listed beside the declared threshold."""
    points = operating_points(*separated(80, 120), 0.3, 0.7)
    assert (points["declared"], points["block"]) == (0.3, 0.7)
    assert "block" not in operating_points(*separated(80, 120), 0.3)
