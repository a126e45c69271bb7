"""Blocks: outcomes join their predictions, blocks have their bounds, and figures equal a calculation by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import average_precision_score

from handler.scoring.contract import SOURCES
from handler.scoring.fields import SECONDS_A_DAY
from training.evaluation.intervals import share_interval
from training.model.distributions import score_distribution
from training.monitoring.binning import UNRECORDED
from training.monitoring.blocks import Reference, blocks_of, estimated, join_outcomes, reviews_of
from training.monitoring.drift import category_distance, number_distance
from training.monitoring.log import Log
from training.monitoring.verdict import judge_block
from training.params import Monitoring

START = 1_750_000_000.0
POLICY = Monitoring()
LEGITIMATE = Monitoring(unlabelled="legitimate")
CORRECTED = "outcomes that correct an earlier one"
BASELINE: dict[str, Any] = {
    "features": {
        "amount": {"edges": [1.0, 2.0], "counts": [10, 60, 20, 10]},
        "country": {"labels": ["other", "DE", "NA"], "counts": [0, 5, 75, 20]},
        "is_new": {"labels": ["no", "yes"], "counts": [10, 50, 40]},
    },
    "score": {"edges": [-2.0, 0.0], "counts": [70, 20, 10], "rows": 100, "frauds": 8, "flagged": 10, "caught": 6},
}
THRESHOLD = 0.5


def log_of(days: Sequence[float], outcomes: Sequence[tuple[Any, ...]] = (), **columns: Any) -> Log:  # noqa: ANN401 - columns of any kind
    """A log of predictions on these days, with ids 1, 2, ...; outcomes are day, id, label, perhaps source and by."""
    size = len(days)
    outcomes = [(*outcome, *("other", 0)[len(outcome) - 3 :]) for outcome in outcomes]
    usual: dict[str, Any] = {
        "probability": [0.1] * size,
        "flagged": [False] * size,
        "n_warnings": [0] * size,
        "blocked": [-1] * size,
        "milliseconds": [0.3] * size,
        "weight": [1.0] * size,
        "label_weight": [1.0] * size,
        "id": range(1, size + 1),
        "version": [0] * size,
        "bins": [[1, 2, 1]] * size,
    }
    types = {
        "flagged": bool,
        "blocked": np.int8,
        "listed_as_blocked": bool,
        "listed_as_served": bool,
        "n_warnings": np.uint8,
        "id": np.uint64,
        "version": np.intp,
        "bins": np.uint16,
    }
    return Log(
        time=START + SECONDS_A_DAY * np.array(days, dtype=float),
        **{name: np.array(values, dtype=types.get(name, float)) for name, values in (usual | columns).items()},
        versions=["a", "b"],
        outcome_time=START + SECONDS_A_DAY * np.array([outcome[0] for outcome in outcomes], dtype=float),
        outcome_id=np.array([outcome[1] for outcome in outcomes], dtype=np.uint64),
        outcome_label=np.array([outcome[2] for outcome in outcomes], dtype=np.int8),
        outcome_source=np.array([SOURCES.index(outcome[3]) for outcome in outcomes], dtype=np.uint8),
        outcome_by=np.array([outcome[4] for outcome in outcomes], dtype=np.uint64),
        counts={},
    )


def blocks(log: Log, policy: Monitoring = POLICY) -> list[dict[str, Any]]:
    """The JSON of the log's blocks, with its outcomes joined."""
    labels = join_outcomes(log, policy, 0).label
    return [block.content() for block in blocks_of(log, labels, Reference(BASELINE, THRESHOLD), policy)]


@pytest.mark.parametrize(
    ("log", "labels", "kind"),
    [
        (log_of([0, 1, 2, 3], [(4, 3, 1), (5, 1, 0)]), [0, -1, 1, -1], None),
        (log_of([0, 1], [(2, 1, 1), (3, 1, 0), (4, 2, 0), (5, 2, 1)]), [0, 1], "outcomes that correct an earlier one"),
        # If two outcomes have the same time, the one read last counts.
        (log_of([0, 0], [(1, 1, 0), (1, 1, 1), (1, 2, 1), (1, 2, 0)]), [1, 0], "outcomes that correct an earlier one"),
        (
            log_of([0, 1, 2], [(3, 99, 1), (3, 98, 1)], id=[1, 2, 50]),
            [-1, -1, -1],
            "outcomes of ids that were never scored, recorded or read",
        ),
        (
            log_of([0, 1, 2], [(3, 99, 1), (3, 98, 1), (1, 2, 1)], id=[1, 2, 50]),
            [-1, 1, -1],
            "outcomes of ids that were never scored, recorded or read",
        ),
        (log_of([5, 6, 6], [(1, 1, 1), (7, 2, 0), (2, 3, 1)]), [1, 0, 1], "outcomes before their prediction"),
        (
            log_of([0, 1, 2, 3], [(4, 7, 1)], id=[5, 7, 7, 7]),
            [-1, 1, -1, -1],
            "predictions of an id that was scored before",
        ),
        (log_of([0, 1, 2], [(3, 8, 1)], id=[0, 0, 8]), [-1, -1, 1], "predictions without an id"),
    ],
)
def test_outcomes_join_by_id(log: Log, labels: list[int], kind: str | None) -> None:
    """Each prediction has the label of its id's latest outcome, or -1; each case has two unusual records to count."""
    joined = join_outcomes(log, POLICY, 0)
    assert joined.label.tolist() == labels
    assert joined.counts == ({kind: 2} if kind else {})


@pytest.mark.parametrize(
    ("log", "labels", "counts"),
    [
        (log_of([], [(0, 1, 1)]), [], {"outcomes of ids that were never scored, recorded or read": 1}),
        (
            log_of([0, 1, 4, 7.5, 12], [(12, 2, 1), (13, 5, 0)]),
            [0, 1, 0, -1, 0],
            {"unlabelled, taken as legitimate": 2},
        ),
        # Without any outcome the delay is counted from the latest prediction.
        (log_of([0, 3.5, 10]), [0, -1, -1], {"unlabelled, taken as legitimate": 1}),
        # A fraud that was scored twice is not legitimate the second time.
        (
            log_of([0, 1, 30], [(2, 7, 1)], id=[7, 7, 8]),
            [1, -1, -1],
            {"predictions of an id that was scored before": 1},
        ),
    ],
)
def test_old_predictions_without_an_outcome_are_legitimate(log: Log, labels: list[int], counts: dict[str, int]) -> None:
    """If declared, a prediction without an outcome after the delay counts as legitimate; younger ones are unknown."""
    joined = join_outcomes(log, LEGITIMATE, 7)
    assert (joined.label.tolist(), joined.counts) == (labels, counts)


def test_blocks_have_their_bounds() -> None:
    """Blocks of the declared length start at the first record and exclude their end; empty blocks are left out."""
    in_order = blocks(log_of([1, 7.99, 8, 14.99, 30]))
    assert [(block["from"] - START) / SECONDS_A_DAY for block in in_order] == [1, 8, 29]
    assert [(block["to"] - START) / SECONDS_A_DAY for block in in_order] == [8, 15, 36]
    assert [block["rows"] for block in in_order] == [2, 2, 1]
    assert len(blocks(log_of([0, 0.5, 1, 2.5, 2.9]), Monitoring(block_days=1))) == 3
    assert blocks(log_of([], [(0, 1, 1)])) == []


def test_outcomes_are_measured() -> None:
    """Recall, precision, average precision and expected frauds are those of the labelled rows."""
    probability, label = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1, 0.95], [1, 0, 1, 1, 0, 0]
    flagged = [value >= THRESHOLD for value in probability]
    outcomes = [(1.0, at + 1, value) for at, value in enumerate(label)]
    (block,) = blocks(log_of([0] * 7, outcomes, probability=probability, flagged=flagged))
    measured = block["measured"]
    counts = {name: measured[name] for name in ("labelled", "frauds", "alerts", "caught")}
    assert counts == {"labelled": 6, "frauds": 3, "alerts": 3, "caught": 2}
    assert (measured["recall"], measured["precision"]) == (2 / 3, 2 / 3)
    assert measured["expected_frauds"] == pytest.approx(3.0)
    assert measured["average_precision"] == pytest.approx(average_precision_score(label, probability[:6]))
    assert measured["recall_interval"] == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_unknown_shares_are_measured_as_unknown() -> None:
    """Without outcomes the shares are unknown, and without frauds the recall; their intervals are 0 to 1."""
    (block,) = blocks(log_of([0, 0]))
    measured = block["measured"]
    assert (measured["labelled"], measured["frauds"], measured["expected_frauds"]) == (0, 0, 0)
    assert measured["recall"] is measured["precision"] is measured["average_precision"] is None
    assert measured["recall_interval"] == measured["precision_interval"] == [0, 1]
    legitimate = [(1.0, identifier, 0) for identifier in (1, 2, 3)]
    (block,) = blocks(log_of([0, 0, 0], legitimate, flagged=[True, False, False]))
    measured = block["measured"]
    assert (measured["labelled"], measured["frauds"], measured["alerts"], measured["caught"]) == (3, 0, 1, 0)
    assert measured["recall"] is measured["average_precision"] is None
    assert (measured["recall_interval"], measured["precision"]) == ([0, 1], 0)


def test_block_of_one_prediction_is_described() -> None:
    """The smallest possible block has its figures."""
    (block,) = blocks(log_of([0], [(1.0, 1, 1)]))
    assert (block["rows"], block["measured"]["frauds"], block["measured"]["recall"]) == (1, 1, 0)


def test_certain_scores_are_described() -> None:
    """Probabilities of 0 and 1 have finite log-odds, and an estimated recall of 0 and 1."""
    zeros, ones = (blocks(log_of([0, 0], probability=[value] * 2, flagged=[bool(value)] * 2))[0] for value in (0, 1))
    assert zeros["estimated"]["recall"] == 0
    assert ones["estimated"]["recall"] == 1


def test_frauds_of_several_blocks_are_pooled() -> None:
    """A block's outcomes include those of earlier blocks, as many as the policy pools."""
    log = log_of([0, 7, 14, 21], [(30, identifier, 1) for identifier in (1, 2, 3, 4)])
    for pooled, frauds in ((1, [1, 1, 1, 1]), (3, [1, 2, 3, 3])):
        assert [block["measured"]["frauds"] for block in blocks(log, Monitoring(pooled=pooled))] == frauds


def test_block_describes_its_predictions() -> None:
    """A block has its versions, share with warnings and highest latency, and the alert rate with its baseline."""
    log = log_of([0, 0, 9], version=[1, 0, 1], n_warnings=[0, 2, 0], milliseconds=[0.5, np.nan, np.nan])
    first, second = blocks(log)
    assert (first["versions"], first["warned"], first["milliseconds_p99"]) == (["a", "b"], 0.5, 0.5)
    assert (second["versions"], second["warned"], second["milliseconds_p99"]) == (["b"], 0, None)
    (block,) = blocks(log_of([0, 0, 0, 0], flagged=[True, False, False, False]))
    assert (block["alert_rate"], block["baseline_alert_rate"], block["baseline_recall"]) == (0.25, 0.1, 0.75)


def test_distances_are_those_of_the_counts() -> None:
    """Numbers are compared by ordered bins, levels and flags as categories, and p-values are corrected by Holm."""
    bins = [[0, 1, 1], [1, 2, 2], [2, 3, 0], [3, 2, 1], [3, 2, 1]] * 20
    (block,) = blocks(log_of([0] * 100, bins=bins))
    raw = [
        number_distance(np.array([10.0, 60, 20, 10]), np.array([20.0, 20, 20, 40])),
        category_distance(np.array([0.0, 5, 75, 20]), np.array([0.0, 20, 60, 20])),
        category_distance(np.array([10.0, 50, 40]), np.array([20.0, 60, 20])),
    ]
    amount, country, is_new = block["features"].values()
    assert [feature["psi"] for feature in (amount, country, is_new)] == [distance.psi for distance in raw]
    smallest = min(distance.p_value for distance in raw)
    assert min(amount["p_value"], country["p_value"], is_new["p_value"]) == pytest.approx(3 * smallest)


def test_missing_and_unseen_are_shares() -> None:
    """Shares of missing and unseen values are listed with the baseline's; a flag has no unseen values."""
    (block,) = blocks(log_of([0] * 4, bins=[[0, 1, 1], [1, 2, 2], [2, 2, 0], [3, 0, 1]]))
    amount, country, is_new = block["features"].values()
    assert (amount["missing"], amount["baseline_missing"]) == (0.25, 0.1)
    assert (country["missing"], country["unseen"], country["baseline_unseen"]) == (0.25, 0.25, 0.05)
    assert "unseen" not in amount
    assert "unseen" not in is_new


def test_unrecorded_feature_is_left_out() -> None:
    """A feature counts only in rows that recorded it, and is left out if none did."""
    bins = [[0, UNRECORDED, 1], [1, UNRECORDED, UNRECORDED], [1, UNRECORDED, UNRECORDED]]
    (block,) = blocks(log_of([0, 0, 0], bins=bins))
    assert list(block["features"]) == ["amount", "is_new"]
    assert block["features"]["is_new"]["missing"] == 0
    assert block["features"]["amount"]["missing"] == pytest.approx(1 / 3)


def test_own_records_must_hold_each_feature() -> None:
    """A block has the share of the version's own records that lack a feature which they should have."""
    nothing = [UNRECORDED] * 3
    log = log_of(
        [0, 0, 0, 0, 8], bins=[nothing, [1, 2, 1], [1, UNRECORDED, 1], nothing, nothing], version=[0, 0, 0, 1, 1]
    )
    reference = Reference(BASELINE, THRESHOLD, "a", {"amount", "country"})
    first, second = blocks_of(log, join_outcomes(log, POLICY, 0).label, reference, POLICY)
    assert first.unrecorded == {"amount": 1 / 3, "country": 2 / 3}
    assert second.unrecorded == {}


def test_repeated_outcome_corrects_nothing() -> None:
    """An outcome that is recorded twice is counted separately from a corrected one."""
    counts = join_outcomes(log_of([0, 1], [(2, 1, 1), (3, 1, 1), (3, 1, 0), (4, 2, 0)]), POLICY, 0).counts
    assert counts == {"outcomes recorded again": 1, "outcomes that correct an earlier one": 1}


def test_score_is_compared_by_its_log_odds() -> None:
    """The score's distance is computed from counts between the baseline's edges of the log-odds."""
    probability = [0.05] * 50 + [0.3] * 30 + [0.9] * 20
    (block,) = blocks(log_of([0] * 100, probability=probability))
    expected = number_distance(np.array([70.0, 20, 10]), np.array([50.0, 30, 20]))
    assert block["score"] == {"psi": expected.psi, "p_value": expected.p_value}


def test_weights_count() -> None:
    """A prediction with a weight of ten counts ten times in every share, but only once as evidence."""
    log = log_of([0, 0], weight=[10, 1], flagged=[True, False], bins=[[0, 2, 1], [1, 2, 1]], probability=[0.8, 0.2])
    (block,) = blocks(log)
    assert (block["rows"], block["predictions"]) == (2, 11)
    assert block["alert_rate"] == pytest.approx(10 / 11)
    assert block["features"]["amount"]["missing"] == pytest.approx(10 / 11)
    assert block["estimated"]["fraud_rate"] == pytest.approx((8 + 0.2) / 11)


def test_few_recorded_rows_are_no_evidence() -> None:
    """Ten recorded predictions are no more evidence than ten, even if each stands for a hundred."""
    bins = [[1, 2, 1]] * 7 + [[2, 3, 2], [2, 3, 2], [0, 2, 2]]
    p_values = []
    for weight in (1, 100):
        (block,) = blocks(log_of([0] * 10, bins=bins, weight=[weight] * 10))
        p_values.append(min(feature["p_value"] for feature in block["features"].values()))
    assert p_values[1] == pytest.approx(p_values[0], rel=0.5)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_estimate_is_the_truth_where_scores_are_calibrated(slope: float) -> None:
    """If labels are drawn from the probabilities, the estimates are close to the truth."""
    rng = np.random.default_rng(4)
    probability = 1 / (1 + np.exp(-slope * rng.normal(-2, 1.5, 200_000)))
    label, flagged = rng.random(200_000) < probability, probability >= 0.3
    estimate = estimated(probability, flagged, np.ones(200_000))
    truth = {
        "precision": label[flagged].mean(),
        "recall": label[flagged].sum() / label.sum(),
        "average_precision": average_precision_score(label, probability),
        "fraud_rate": label.mean(),
    }
    assert {name: getattr(estimate, name) for name in truth} == pytest.approx(truth, abs=0.01)


def test_deviation_of_an_estimated_recall_is_that_of_its_draws() -> None:
    """The estimated deviation equals the spread of recalls over repeated samples."""
    rng = np.random.default_rng(5)
    probability = 1 / (1 + np.exp(-rng.normal(-2, 1.5, 3_000)))
    drawn = []
    for _ in range(400):
        kept = probability[rng.integers(0, len(probability), 500)]
        drawn.append(estimated(kept, kept >= 0.3, np.ones(500)))
    spread = np.std([estimate.recall for estimate in drawn])
    assert np.mean([estimate.recall_deviation for estimate in drawn]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("measure", ["precision", "recall", "fraud_rate", "average_precision"])
def test_weight_counts_as_repeated_rows(measure: str) -> None:
    """A row of weight n gives the same estimates as n equal rows."""
    probability, flagged, weight = np.array([0.9, 0.4, 0.1]), np.array([True, True, False]), np.array([1, 3, 5])
    repeated = estimated(np.repeat(probability, weight), np.repeat(flagged, weight), np.ones(9))
    weighted = estimated(probability, flagged, weight.astype(float))
    assert getattr(weighted, measure) == pytest.approx(getattr(repeated, measure))


def test_without_an_alert_nothing_is_caught() -> None:
    """If nothing is flagged, estimated precision and recall are 0."""
    estimate = estimated(np.array([0.1, 0.2]), np.array([False, False]), np.ones(2))
    assert (estimate.precision, estimate.recall) == (0, 0)


def test_the_block_rate_is_of_versions_with_bands() -> None:
    """Records of earlier versions without bands are left out of the block rate."""
    days = [0.0, 0.1, 0.2, 0.3, 7.0, 7.1]
    first, second = blocks(log_of(days, blocked=[-1, 0, 1, 1, -1, -1]))
    assert first["block_rate"] == pytest.approx(2 / 3)
    assert "block_rate" not in second or second["block_rate"] is None


@pytest.mark.parametrize(
    ("outcomes", "label", "count"),
    [
        # A chargeback overrules a review, whichever comes later.
        ([(2, 1, 0, "review"), (1, 1, 1, "chargeback")], 1, "ids of which sources or reviewers disagree"),
        ([(2, 1, 1, "customer"), (3, 1, 0, "other")], 1, "ids of which sources or reviewers disagree"),
        # Within a source the latest outcome counts; two reviewers disagree, but one reviewer only corrects himself.
        ([(2, 1, 0, "review", 7), (3, 1, 1, "review", 8)], 1, "ids of which sources or reviewers disagree"),
        ([(2, 1, 0, "review", 7), (3, 1, 1, "review", 7)], 1, CORRECTED),
        # An inconclusive outcome neither overrules another one nor disagrees with it.
        ([(2, 1, 1, "other"), (3, 1, -1, "chargeback")], 1, "inconclusive outcomes"),
        ([(3, 1, -1, "review")], -1, "inconclusive outcomes"),
        # A reviewer who corrects an outcome agrees with one who gives the corrected label.
        ([(2, 1, 0, "review", 7), (3, 1, 1, "review", 7), (4, 1, 1, "review", 8)], 1, CORRECTED),
    ],
)
def test_which_of_several_outcomes_counts(outcomes: Sequence[tuple[Any, ...]], label: int, count: str) -> None:
    """The source with the highest precedence counts, then the latest outcome; a disagreement is counted once."""
    joined = join_outcomes(log_of([0], outcomes), POLICY, 0)
    assert joined.label.tolist() == [label]
    assert joined.counts == {count: 1}


def test_precedence_is_declared() -> None:
    """Here a review overrules a chargeback."""
    policy = Monitoring(precedence=("review", "chargeback", "customer", "other"))
    log = log_of([0], [(2, 1, 0, "review"), (3, 1, 1, "chargeback")])
    assert join_outcomes(log, policy, 0).label.tolist() == [0]
    with pytest.raises(ValidationError, match="it is review; it must name each of chargeback, review, customer, other"):
        Monitoring(precedence=("review",))
    with pytest.raises(ValidationError, match="Input should be 'chargeback', 'review', 'customer' or 'other'"):
        Monitoring.model_validate({"precedence": ("rumour", "review", "customer", "other")})


def test_silence_says_nothing_of_what_was_blocked() -> None:
    """No outcome means that nobody complained, but not if the request was blocked or a review was inconclusive."""
    policy = Monitoring(unlabelled="legitimate")
    log = log_of([0, 0, 0, 30], [(1, 2, -1, "review")], blocked=[1, 0, 0, 0])
    assert join_outcomes(log, policy, 10).label.tolist() == [-1, -1, 0, -1]


def test_reviewers_and_the_model() -> None:
    """The latest conclusive review of each scored id: how often it agrees with the model, overall and if flagged."""
    outcomes = [
        (2, 1, 1, "review", 7),
        (2, 2, 0, "review", 7),
        (3, 2, 1, "review", 8),
        (2, 3, 0, "review", 7),
        (2, 4, 0, "review", 7),
        (2, 5, -1, "review", 7),
        (2, 99, 1, "review", 7),
        (2, 6, 1, "chargeback"),
    ]
    log = log_of([0] * 6, outcomes, flagged=[True, True, True, False, True, False])
    reviews = reviews_of(log, POLICY)
    assert reviews
    assert (reviews.reviewed, reviews.agreed, reviews.flagged, reviews.confirmed) == (4, 3, 3, 2)
    assert reviews_of(log_of([0], [(1, 1, 1, "chargeback")]), POLICY) is None


def test_a_control_group_stands_for_what_was_blocked() -> None:
    """Of ten blocked requests, one is let through with a weight of ten: only its outcome counts, for all ten."""
    flagged = [True] * 10 + [True] * 4 + [False] * 26
    label_weight = [10.0] + [0.0] * 9 + [1.0] * 30
    is_fraud = [1] + [0] * 9 + [1] * 2 + [0] * 2 + [1] * 8 + [0] * 18
    outcomes = [(1, identifier, label) for identifier, label in enumerate(is_fraud, 1)]
    (block,) = blocks(
        log_of([0] * 40, outcomes, flagged=flagged, label_weight=label_weight, blocked=[1] * 10 + [0] * 30)
    )
    measured = block["measured"]
    assert measured["recall"] == pytest.approx((10 + 2) / (10 + 2 + 8))
    assert measured["precision"] == pytest.approx((10 + 2) / (10 + 4))
    assert (measured["labelled"], measured["control"]) == (31, 1)
    # Effective sample size of the frauds: twenty squared over a hundred and ten, which is 3.6.
    assert measured["frauds"] == 4
    assert measured["recall_interval"] == pytest.approx(share_interval(0.6 * 400 / 110, 400 / 110))
    (plain,) = blocks(log_of([0] * 40, outcomes, flagged=flagged))
    assert plain["measured"].get("control") is None


def test_without_anybody_let_through_the_recall_is_unknown() -> None:
    """If all blocked requests were held, nothing is known about them, and the other frauds give no recall."""
    outcomes = [(1, identifier, 1) for identifier in range(11, 15)]
    columns = {"flagged": [True] * 14, "label_weight": [0.0] * 10 + [1.0] * 4, "blocked": [1] * 10 + [0] * 4}
    (block,) = blocks(log_of([0] * 14, outcomes, **columns))
    measured = block["measured"]
    assert (measured["recall"], measured["frauds"], measured["control"]) == (None, 0, 0)
    assert measured["recall_interval"] == [0.0, 1.0]


def test_whom_the_control_group_lets_through_was_served() -> None:
    """No outcome means legitimate for a request that the control group let through, and nothing for a held one."""
    policy = Monitoring(unlabelled="legitimate")
    columns = {"blocked": [1, 1, 0, 0], "label_weight": [20.0, 0.0, 1.0, 1.0]}
    log = log_of([0, 0, 0, 30], [(1, 9, 1)], **columns)
    assert join_outcomes(log, policy, 10).label.tolist() == [0, -1, 0, -1]


def test_what_a_list_held_or_served_counts_as_that() -> None:
    """No outcome means nothing for a request that a list blocked, and legitimate for one that a list let through."""
    policy = Monitoring(unlabelled="legitimate")
    columns = {"blocked": [0, 1, 0, 1, 0], "listed_as_blocked": [True, False, False, False, False]}
    log = log_of([0, 0, 0, 0, 30], [(1, 9, 1)], **columns, listed_as_served=[False, True, True, False, False])
    assert join_outcomes(log, policy, 10).label.tolist() == [-1, 0, 0, -1, -1]
    assert log.during(START - 1, START + 1).is_served.tolist() == [False, True, True, False]


@pytest.mark.parametrize(("n_known", "lacks_blocked"), [(0, True), (4, True), (5, False), (10, False)])
def test_unknown_blocks_are_left_out(n_known: int, *, lacks_blocked: bool) -> None:
    """With outcomes for less than half of the blocked, only the others are compared, with their own baseline."""
    blocked, flagged = [1] * 10 + [0] * 20, [True] * 14 + [False] * 16
    outcomes = [(1, identifier, 1) for identifier in range(1, n_known + 1)]
    outcomes += [(1, identifier, int(identifier in {11, 20})) for identifier in range(11, 31)]
    log = log_of([0] * 30, outcomes, flagged=flagged, blocked=blocked)
    labels = join_outcomes(log, POLICY, 0).label
    unblocked = {"rows": 80, "frauds": 3, "caught": 1}
    baseline = BASELINE | {"score": BASELINE["score"] | {"blocked": 20, "unblocked": unblocked}}
    (block,) = [block.content() for block in blocks_of(log, labels, Reference(baseline, THRESHOLD), POLICY)]
    measured = block["measured"]
    assert measured["lacks_blocked"] == lacks_blocked
    n_frauds = 2 + (0 if lacks_blocked else n_known)
    assert (measured["frauds"], measured["caught"]) == (n_frauds, n_frauds - 1)
    assert measured["fraud_rate"] == n_frauds / measured["labelled"]
    assert block["baseline_recall"] == (1 / 3 if lacks_blocked else 6 / 8)
    assert block["baseline_fraud_rate"] == (3 / 80 if lacks_blocked else 8 / 100)


@pytest.mark.parametrize("case", ["with a control group", "never known", "legitimate where silent"])
def test_a_steady_world_stays_calm(case: str) -> None:
    """A calibrated model blocks half of the frauds, and nothing drifts; outcomes of held requests are never known."""
    rng, n = np.random.default_rng(5), 120_000
    probability = rng.beta(0.08, 3.0, n)
    label = (rng.random(n) < probability).astype(np.int8)
    blocked, flagged = probability >= 0.45, probability >= 0.05
    share = 0.0 if case == "never known" else 0.1
    let_through = blocked & (rng.random(n) < share)
    weight = np.where(blocked, np.where(let_through, 1 / max(share, 1e-9), 0.0), 1.0) if share else np.ones(n)
    is_known = ~blocked | let_through
    if case == "legitimate where silent":
        is_known &= label == 1
    score = score_distribution(probability, label, 0.05, 0.45)
    days = np.linspace(0, 20.9, n)
    log = log_of(
        days.tolist(),
        [(25, int(identifier) + 1, int(label[identifier])) for identifier in np.flatnonzero(is_known)],
        probability=probability,
        flagged=flagged,
        blocked=blocked,
        label_weight=weight,
        bins=[[1, 2, 1]] * n,
    )
    policy = Monitoring(unlabelled="legitimate" if case == "legitimate where silent" else "unknown")
    labels = join_outcomes(log, policy, 0).label
    in_order = list(blocks_of(log, labels, Reference({"features": {}, "score": score}, 0.05), policy))
    verdicts = [judge_block(block, policy) for block in in_order]
    assert [verdict for verdict in verdicts if verdict.level != "ok"] == []
    assert in_order[-1].measured.frauds > policy.min_frauds
