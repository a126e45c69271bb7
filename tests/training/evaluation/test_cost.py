"""Costs: each position of a ranking costs what its decisions cost, and none is cheaper than the chosen ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.training.evaluation.test_measure import labels
from training.declaration import ScorerDeclaration
from training.evaluation.cost import Money, RankedCosts, caught_amounts, costs_of, declared_money
from training.evaluation.metrics import rank
from training.evaluation.threshold import PolicyError, decided
from training.params import COST_PARTS, Costs, Decision
from training.run.matrix import Floats, Labels

# Scores tie; amounts and costs are multiples of a quarter, so that sums are exact.
SCORES, QUARTERS = st.integers(1, 12).map(lambda n: n / 16), st.integers(0, 400).map(lambda n: n / 4)
ROWS = st.lists(st.tuples(SCORES, st.booleans(), QUARTERS), min_size=1, max_size=25)
COSTS = st.builds(
    Costs,
    amount=st.just("amount"),
    review=st.integers(1, 80).map(lambda n: n / 4),
    insult=st.sampled_from([1, 7.5, 60, {"share": 0.5}, {"flat": 2, "share": 0.25}]),
    recovered=st.sampled_from([1.0, 0.75, 0.5]),
    capacity=st.sampled_from([None, 0.5, 2, 5]),
)
BOTH_CHEAPEST = Decision.model_validate({"review": {"cost": "lowest"}, "block": {"cost": "lowest"}})


def columns_of(rows: list[tuple[float, bool, float]]) -> tuple[Floats, Labels, Floats]:
    """Probabilities, labels and amounts as arrays."""
    probability, is_fraud, amount = zip(*rows, strict=True)
    return np.array(probability), np.array(is_fraud, dtype=np.int8), np.array(amount)


def cost_at(probability: Floats, label: Labels, money: Money, review: float, block: float) -> float:
    """The cost of flagging and blocking from these thresholds on; infinite beyond the capacity for reviews."""
    flagged, blocked = probability >= review, probability >= block
    if (flagged & ~blocked).sum() > money.most_reviews:
        return np.inf
    return sum(costs_of(label, flagged, blocked, money).values())


@given(rows=ROWS, costs=COSTS, weights=st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_positions_cost_what_their_decisions_cost(
    rows: list[tuple[float, bool, float]], costs: Costs, weights: list[int]
) -> None:
    """Every part of the cost is right at every pair of positions, and a row of weight 2 costs as much as two rows."""
    probability, label, amount = columns_of(rows)
    weight = np.array(weights[: len(rows)], dtype=float)
    ranked = RankedCosts(rank(probability, label), Money(amount, costs), weight)
    ranking, times = rank(probability, label), weight.astype(int)
    for review in range(len(ranking.ends) + 1):
        for block in range(review + 1):
            flagged, blocked = (
                np.repeat(probability >= (ranking.threshold_at(position) if position else 2.0), times)
                for position in (review, block)
            )
            expected = costs_of(np.repeat(label, times), flagged, blocked, Money(np.repeat(amount, times), costs))
            assert dict(zip(COST_PARTS, ranked.parts(review, block), strict=True)) == pytest.approx(expected)


def test_costs_of_a_worked_case() -> None:
    """A fraud of 100 is missed, a tenth of one of 40 is lost, two rows are reviewed, and a legitimate 50 is blocked."""
    costs = Costs.model_validate(
        {"amount": "amount", "review": 4, "insult": {"flat": 10, "share": 0.02}, "recovered": 0.9}
    )
    label, flagged = np.array([1, 1, 0, 0, 0], dtype=np.int8), np.array([False, True, True, True, False])
    money = Money(np.array([100.0, 40, 50, 60, 70]), costs)
    blocked = np.array([False, False, True, False, False])
    assert costs_of(label, flagged, blocked, money) == pytest.approx(
        {"missed": 100, "not_recovered": 4, "reviews": 8, "insults": 11}
    )


@settings(max_examples=200)
@given(rows=ROWS, costs=COSTS)
def test_no_pair_of_thresholds_is_cheaper(rows: list[tuple[float, bool, float]], costs: Costs) -> None:
    """Two thresholds chosen together, or one beside a given one, cost the least that the capacity allows."""
    probability, label, amount = columns_of([*rows, (0.8, True, 50.0)])
    money = Money(amount, costs, days=2.0)
    thresholds = [*np.unique(probability), 2.0]
    pairs = {
        (review, block): cost_at(probability, label, money, review, block)
        for review in thresholds
        for block in thresholds
        if review <= block
    }
    ranked = RankedCosts(rank(probability, label), money)
    given_place = len(ranked.n_flagged) // 2
    for review, block in ((None, None), (None, given_place), (given_place, None)):
        cheapest = ranked.cheapest(review, block)
        at = [2.0 if not place else rank(probability, label).threshold_at(place) for place in cheapest]
        fixed = [None if place is None else at[number] for number, place in enumerate((review, block))]
        possible = [
            cost
            for pair, cost in pairs.items()
            if all(wanted in {None, got} for wanted, got in zip(fixed, pair, strict=True))
        ]
        assert pairs[at[0], at[1]] == pytest.approx(min(possible))


@given(rows=ROWS, costs=COSTS)
def test_decision_that_costs_least(rows: list[tuple[float, bool, float]], costs: Costs) -> None:
    """The chosen thresholds cost the least; the policy is refused only if blocking nothing is as cheap."""
    probability, label, amount = columns_of([*rows, (0.8, True, 50.0)])
    money = Money(amount, costs, days=2.0)
    possible = [
        cost_at(probability, label, money, review, block)
        for review in [*np.unique(probability), 2.0]
        for block in [*np.unique(probability), 2.0]
        if review <= block
    ]
    try:
        made = decided(probability, label, BOTH_CHEAPEST, money)
    except PolicyError:
        nothing = [cost_at(probability, label, money, review, 2.0) for review in [*np.unique(probability), 2.0]]
        assert min(nothing) == pytest.approx(min(possible))
        return
    chosen = cost_at(probability, label, money, made["threshold"], made["block"]["threshold"])
    assert chosen == pytest.approx(min(possible))


def rows_of_money(**keys: object) -> tuple[Floats, Labels, Money]:
    """Ten rows of two days, three of them frauds, with these costs."""
    probability = np.linspace(0.9, 0.1, 10)
    label = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], dtype=np.int8)
    return (
        probability,
        label,
        Money(np.full(10, 100.0), Costs.model_validate({"amount": "amount", "review": 4.0} | keys), 2.0),
    )


def test_capacity_bounds_what_is_reviewed() -> None:
    """The cheapest threshold also flags the third fraud; with one review a day, only two rows can be reviewed."""
    decision = Decision(cost="lowest")
    assert decided(*rows_of_money()[:2], decision, rows_of_money()[2])["threshold"] < 0.64
    probability, label, money = rows_of_money(capacity=1)
    assert (probability >= decided(probability, label, decision, money)["threshold"]).sum() == 2
    # Blocked rows are not reviewed: the two riskiest make room for the next two.
    probability, label, money = rows_of_money(capacity=1, insult=1_000)
    made = decided(probability, label, BOTH_CHEAPEST, money)
    assert (probability >= made["block"]["threshold"]).sum() == 2
    assert (probability >= made["threshold"]).sum() == 4


@pytest.mark.parametrize(
    ("keys", "decision", "message"),
    [
        (
            {"capacity": 0.2},
            {"cost": "lowest"},
            r"^decision\.cost: costs\.capacity is 0\.2 reviews a day, too few to review even",
        ),
        (
            {"review": 500.0},
            {"cost": "lowest"},
            r"^decision\.cost: with costs\.review 500 it is cheapest to flag nothing",
        ),
        (
            {"review": 500.0, "insult": 9_999},
            {"review": {"cost": "lowest"}, "block": {"recall": 0.1}},
            None,
        ),
        (
            {"insult": 9_999},
            {"review": {"recall": 1}, "block": {"cost": "lowest"}},
            None,
        ),
    ],
)
def test_cost_policies_that_cannot_be(keys: dict[str, Any], decision: dict[str, Any], message: str | None) -> None:
    """A refusal names the key that causes it; otherwise thresholds are chosen, even if nothing is left to review."""
    probability, label, money = rows_of_money(**keys)
    if message is None:
        made = decided(probability, label, Decision.model_validate(decision), money)
        assert made["threshold"] <= made["block"]["threshold"]
        return
    with pytest.raises(PolicyError, match=message):
        decided(probability, label, Decision.model_validate(decision), money)


def test_where_blocking_never_pays() -> None:
    """The riskiest row is legitimate, and an insult costs more than all reviews, so a single policy is enough."""
    probability, label, money = rows_of_money(insult=9_999)
    label = label[::-1].copy()
    with pytest.raises(PolicyError, match=r"^decision\.block\.cost: .* cheapest to block nothing; declare one policy"):
        decided(probability, label, BOTH_CHEAPEST, money)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"capacity": 0}, "greater than 0"),
        ({"recovered": 0}, "greater than 0"),
        ({"recovered": 1.5}, "less than or equal to 1"),
        ({"insult": 0}, "it is 0, so blocking would cost nothing and all requests would be blocked"),
        ({"insult": -3}, "greater than or equal to 0"),
        ({"insult": {"share": 2}}, "less than or equal to 1"),
        ({"insult": {"percent": 2}}, "Extra inputs are not permitted"),
    ],
)
def test_costs_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    """Each of these costs is refused with what is allowed."""
    with pytest.raises(ValidationError, match=message):
        Costs.model_validate({"amount": "amount", "review": 4.0} | keys)


def test_days_of_the_rows(mini_scorer: ScorerDeclaration) -> None:
    """The capacity is per day: less than a day counts as a whole one, and a sample as its share of the days."""
    columns = {mini_scorer.time: np.array([0.0, 86_400 * 3]), "amount": np.ones(2)}
    scorer = mini_scorer.model_copy(update={"costs": Costs(amount="amount", review=1.0, capacity=10)})
    money = declared_money(scorer, columns.__getitem__)
    assert money
    assert (money.days, money.most_reviews) == (3.0, 30.0)
    sampled = scorer.model_copy(update={"split": scorer.split.model_copy(update={"sample": 0.5})})
    of_an_hour = declared_money(sampled, (columns | {mini_scorer.time: np.array([0.0, 3_600.0])}).__getitem__)
    assert of_an_hour
    assert of_an_hour.days == 0.5
    assert declared_money(mini_scorer.model_copy(update={"costs": None}), columns.__getitem__) is None


def test_money_of_caught_frauds() -> None:
    """Amounts of flagged frauds by threshold, per 1,000 rows and as a share; a missing amount counts as 0."""
    probability, label = np.array([0.9, 0.8, 0.7, 0.1]), labels(1, 0, 1, 1)
    assert caught_amounts(probability, label, [0.5, 0.0], np.array([30.0, 99.0, np.nan, 10.0])) == {
        "caught_amount_of_1000": [7_500.0, 10_000.0],
        "caught_amount_share": [0.75, 1.0],
    }
