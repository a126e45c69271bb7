"""The gate's rules on simulated answers: every limit decides exactly at its declared value."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from training.delivery import weighing
from training.delivery.gate_verdict import GateVerdict
from training.delivery.weighing import JudgedRows, ModelAnswers, agreed_rate, weigh, weigh_first
from training.evaluation.intervals import bootstrap, share_interval
from training.params import Decision, Gate, Policy

N_ROWS, N_FRAUDS = 3_000, 300
LABEL = (np.arange(N_ROWS) < N_FRAUDS).astype(np.int8)
ROWS = JudgedRows(LABEL, Gate(), seed=7)
SIGNAL = 1.8 * LABEL + np.random.default_rng(1).normal(size=N_ROWS)
# Limits are moved by this much; twice as much, a hundredth, is the least that the rules must notice.
STEP = 0.005


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few resamples: the rules are the same for any width of the intervals, and hundreds are computed here."""
    monkeypatch.setattr(weighing, "bootstrap", partial(bootstrap, draws=150))


def model(version: str, noise: float, seed: int = 2) -> ModelAnswers:
    """A calibrated model that reads the signal with noise, and flags a tenth of the rows."""
    seen = SIGNAL + noise * np.random.default_rng(seed).normal(size=N_ROWS)
    log_odds = (1.8 * seen - 1.62) / (1 + noise**2) + np.log(N_FRAUDS / (N_ROWS - N_FRAUDS))
    probability = 1 / (1 + np.exp(-log_odds))
    return ModelAnswers(version, probability, probability >= np.quantile(probability, 0.9))


def alarms(answers: ModelAnswers, n: int) -> ModelAnswers:
    """The same model, which flags the n riskiest rows."""
    threshold = np.sort(answers.probability)[::-1][n - 1]
    return replace(answers, flagged=answers.probability >= threshold)


CHAMPION = model("champion", 0.3)
EQUAL = model("equal", 0.3, seed=3)
NOISIER = model("noisier", 0.6)
WORSE = model("worse", 1.5)


def verdict(
    challenger: ModelAnswers, former: ModelAnswers | None = None, agreed: float = 0.1, **gate: float
) -> GateVerdict:
    """The verdict on a challenger beside the champion, with some of the gate's limits changed."""
    limits = Gate.model_validate({"margin": 0.2, **gate})
    return weigh(challenger, CHAMPION, former, replace(ROWS, gate=limits), agreed=agreed)


def test_shipped_limits() -> None:
    """The limits for a scorer that declares no gate."""
    assert Gate().model_dump() == {
        "margin": 0.02,
        "min_frauds": 50,
        "max_alert_ratio": 1.5,
        "max_calibration_share": 0.5,
        "max_left_out": 0.01,
    }


def blocks(answers: ModelAnswers, n: int) -> ModelAnswers:
    """The same model, which blocks the n riskiest rows."""
    threshold = np.sort(answers.probability)[::-1][n - 1]
    return replace(answers, blocked=answers.probability >= threshold)


def test_blocking_more_than_the_champion_is_refused() -> None:
    """As for flags, the limit is a multiple of what the champion blocks, or was meant to block."""
    champion = blocks(CHAMPION, 60)

    def weighed(challenger: ModelAnswers, agreed_blocks: float = 0.0) -> GateVerdict:
        rows = replace(ROWS, gate=Gate(margin=0.2))
        return weigh(challenger, champion, None, rows, agreed=0.1, agreed_blocks=agreed_blocks)

    assert weighed(blocks(EQUAL, 80)).kind == "promote"
    assert weighed(blocks(EQUAL, 200)).objections == ("it blocks 6.67% of the rows; the champion blocks 2.00%",)
    assert weighed(blocks(EQUAL, 200), 0.05).kind == "promote"
    assert weighed(blocks(EQUAL, 300), 0.05).objections == (
        "it blocks 10.00% of the rows; the champion blocks 2.00% and was meant to block 5.00%",
    )
    assert weighed(EQUAL).measured.block_rate is None
    rates = weighed(blocks(EQUAL, 80)).measured.block_rate
    assert rates is not None
    assert (rates.challenger, rates.champion) == (80 / N_ROWS, 60 / N_ROWS)


def test_first_release_keeps_its_policy_for_what_it_blocks() -> None:
    """It is refused if the rows show that it breaks its policy."""
    flagged = Policy(recall=0.1)
    kept = weigh_first(blocks(CHAMPION, 20), ROWS, flagged, Policy(precision=0.5))
    assert (kept.kind, kept.measured.block_policy is None) == ("promote", False)
    broken = weigh_first(blocks(CHAMPION, 900), ROWS, flagged, Policy(precision=0.9))
    (objection,) = broken.objections
    assert objection.startswith(
        "its policy for blocking promises a precision of at least 0.9; on these rows the precision is 0."
    )
    assert weigh_first(CHAMPION, ROWS, flagged, Policy(precision=0.9)).measured.block_policy is None


def test_the_first_bands_keep_their_policy() -> None:
    """A champion without bands does not say how much may be blocked, so the declared policy decides."""
    rows = replace(ROWS, gate=Gate(margin=0.2))

    def weighed(challenger: ModelAnswers) -> GateVerdict:
        return weigh(challenger, CHAMPION, None, rows, agreed=0.1, block_policy=Policy(precision=0.3))

    kept = weighed(blocks(EQUAL, 60))
    assert (kept.kind, kept.measured.block_policy is None) == ("promote", False)
    (objection,) = weighed(blocks(EQUAL, 1_500)).objections
    assert objection.startswith(
        "its policy for blocking promises a precision of at least 0.3; on these rows the precision is 0."
    )


def test_equal_challenger_is_promoted() -> None:
    """A challenger that differs by chance only is promoted if the margin is wider than that."""
    assert (verdict(EQUAL).kind, verdict(EQUAL).reasons) == ("promote", ())
    assert verdict(CHAMPION).measured.average_precision.low == 0


def test_margin_decides_by_the_lower_end() -> None:
    """A possible loss of exactly the margin, or of more, is a doubt."""
    low = verdict(EQUAL).measured.average_precision.low
    assert low < 0
    assert verdict(EQUAL, margin=-low + STEP).kind == "promote"
    for margin in (-low, -low - STEP):
        doubtful = verdict(EQUAL, margin=margin)
        assert (doubtful.kind, doubtful.objections) == ("cannot tell", ())
        (doubt,) = doubtful.doubts
        assert doubt.startswith("its average precision is ")
        assert doubt.endswith(f"; the loss may exceed gate.margin, {margin:g}")


def test_significant_loss_is_refused_unless_the_margin_allows_it() -> None:
    """A ranking that is worse beyond chance is an objection rather than a doubt, unless the margin covers it."""
    refused = verdict(WORSE, margin=0.02)
    gain = refused.measured.average_precision
    assert gain.high < 0
    assert refused.kind == "refuse"
    assert refused.doubts == ()
    sentence = (
        f"its average precision is {gain.challenger:.3f}, the champion's {gain.champion:.3f}: "
        f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    )
    assert sentence in refused.objections
    assert sentence not in verdict(WORSE, margin=-gain.low + STEP).objections


def test_the_declared_recall_is_enough() -> None:
    """A challenger that keeps the declared recall is not refused because the champion catches more with more alerts.

    If the rows show that it misses that recall, or if the policy is another one, the loss counts.
    """
    strict, rows = alarms(CHAMPION, 250), replace(ROWS, gate=Gate(margin=0.02))
    recall = verdict(strict).measured.recall
    assert recall.high < 0

    def weighed(policy: Policy) -> GateVerdict:
        return weigh(strict, CHAMPION, None, rows, agreed=0.1, policy=policy)

    kept = weighed(Policy(recall=recall.challenger - 0.01))
    assert (kept.kind, kept.measured.policy.name, kept.measured.recall) == ("promote", "recall", recall)
    for policy in (Policy(recall=0.999), Policy(precision=0.1), Policy(review_rate=0.2)):
        (objection,) = weighed(policy).objections
        assert objection.startswith("its recall is ")


def test_significantly_lower_recall_is_refused() -> None:
    """However well it ranks, a challenger that catches fewer frauds is refused, unless the margin covers the loss."""
    strict = alarms(CHAMPION, 250)
    gain = verdict(strict).measured.recall
    assert gain.high < 0
    (objection,) = verdict(strict, margin=-gain.gain - STEP).objections
    assert objection.startswith(f"its recall is {gain.challenger:.3f}, the champion's ")
    assert verdict(strict, margin=-gain.gain + STEP).kind == "promote"
    budget = verdict(WORSE, margin=0.05)
    assert any(text.startswith("its recall at the alert budget is") for text in budget.objections)


def test_best_release_so_far_is_compared_too() -> None:
    """Even if it equals the champion, a challenger is refused if an earlier release is far better."""
    better = model("first", 0.0)
    refused = verdict(NOISIER, better, margin=0.02)
    former = refused.measured.best_former
    assert former.version == "first"
    assert (former.gain, former.high < 0) == (former.challenger - former.former, True)
    assert any("that of first, the best release so far" in objection for objection in refused.objections)
    assert refused.measured.best == "first"
    low = verdict(EQUAL, better).measured.best_former.low
    assert [verdict(EQUAL, better, margin=-low + step).kind == "promote" for step in (STEP, 0, -STEP)] == [
        True,
        False,
        False,
    ]


def test_best_is_the_one_that_ranks_best() -> None:
    """The best of champion, challenger and best former release is what the next challenger is compared with."""
    assert verdict(WORSE).measured.best == "champion"
    assert verdict(model("better", 0.0)).measured.best == "better"
    assert verdict(WORSE, model("first", 0.0)).measured.best == "first"
    assert verdict(EQUAL).measured.best_former is None


@pytest.mark.parametrize(("remembers", "ends"), [(False, True), (True, False)])
def test_slow_slide_ends(*, remembers: bool, ends: bool) -> None:
    """If each release ranks slightly worse than the last, all pass beside the champion, but not beside the best one."""
    releases = [model(f"release {number}", float(np.sqrt(0.06 * number))) for number in range(8)]
    rows = replace(ROWS, gate=Gate(margin=0.05))
    champion = best = releases[0]
    for challenger in releases[1:]:
        former = best if remembers and best is not champion else None
        weighed = weigh(challenger, champion, former, rows, agreed=0.1)
        if not any(reason.startswith("its average precision") for reason in weighed.reasons):
            champion = challenger
            best = next(release for release in releases if release.version == weighed.measured.best)
    assert (champion is releases[-1]) is ends
    assert best is releases[0] or not remembers


def test_few_frauds_are_a_doubt() -> None:
    """With one fraud fewer than declared the gate cannot tell, even for a first release, but it can still refuse."""
    assert verdict(CHAMPION, min_frauds=N_FRAUDS).kind == "promote"
    few = verdict(CHAMPION, min_frauds=N_FRAUDS + 1)
    assert (few.kind, few.doubts) == (
        "cannot tell",
        ("the window has 300 frauds, and gate.min_frauds is 301; declare a longer test window",),
    )
    assert verdict(WORSE, min_frauds=N_FRAUDS + 1, margin=0.02).kind == "refuse"
    first = replace(ROWS, gate=Gate(min_frauds=N_FRAUDS + 1))
    assert weigh_first(CHAMPION, first, Decision(recall=0.1)).kind == "cannot tell"


def test_calibration_limit_is_a_share_of_the_fraud_rate() -> None:
    """The lower end of the error's interval counts: just above the limit is refused, just below is not."""
    shifted = replace(CHAMPION, probability=np.minimum(CHAMPION.probability * 1.6, 0.999))
    share = verdict(shifted).measured.calibration_error.low / LABEL.mean()
    assert 0.3 < share < 0.9
    refused = verdict(shifted, max_calibration_share=share - STEP)
    error = refused.measured.calibration_error
    (objection,) = refused.objections
    assert objection == (
        f"its calibration error is {error.challenger:.2g}, at least {error.low:.2g} by its interval; "
        f"the limit is {error.limit:.2g}"
    )
    assert verdict(shifted, max_calibration_share=share + STEP).kind == "promote"
    assert weigh_first(shifted, ROWS, Decision(cost="lowest")).kind == ("refuse" if share > 0.5 else "promote")


def test_alert_limit_is_a_ratio_by_the_lower_end() -> None:
    """The lower end of the alert rate's interval counts, as a multiple of the champion's rate."""
    alarmist = alarms(CHAMPION, 480)
    ratio = share_interval(480, N_ROWS)[0] / 0.1
    assert verdict(alarmist, max_alert_ratio=ratio + STEP).kind == "promote"
    assert verdict(alarmist, max_alert_ratio=ratio - STEP).objections == (
        "it flags 16.00% of the rows; the champion flags 10.00%",
    )


MEANT = " and was meant to flag"


@pytest.mark.parametrize(
    ("own", "champion_flags", "agreed", "usual"),
    [
        pytest.param(0.05, 0.05, 0.05, None, id="as much as both"),
        pytest.param(0.05, 0.0, 0.05, None, id="as much as agreed, beside a blind champion"),
        pytest.param(0.08, 0.001, 0.05, None, id="hardly more than agreed, beside a nearly blind champion"),
        pytest.param(0.1, 0.1, 0.05, None, id="as much as the champion by now, which is more than agreed"),
        pytest.param(0.0, 0.05, 0.05, None, id="nothing"),
        pytest.param(0.1, 0.0, 0.05, f"0.00%{MEANT} 5.00%", id="far more than agreed, beside a blind champion"),
        pytest.param(0.1, 0.055, 0.05, "5.50%", id="far more than both"),
        pytest.param(0.1, 0.05, 0.055, f"5.00%{MEANT} 5.50%", id="far more than both, of which the agreed is more"),
        pytest.param(0.05, 0.0, 0.0, "0.00%", id="anything, beside one that never flagged"),
    ],
)
def test_alerts_are_compared_with_the_larger_rate(
    own: float, champion_flags: float, agreed: float, usual: str | None
) -> None:
    """A challenger may flag half more than the larger of the champion's rate and the agreed rate."""
    probability = np.where(LABEL == 1, 0.9, 0.01)
    models = [
        ModelAnswers(name, probability, np.arange(N_ROWS) < rate * N_ROWS)
        for name, rate in (("challenger", own), ("champion", champion_flags))
    ]
    objections = weigh(*models, None, ROWS, agreed=agreed).objections
    expected = [f"it flags {own:.2%} of the rows; the champion flags {usual}"] if usual else []
    assert [objection for objection in objections if objection.startswith("it flags")] == expected


def test_agreed_rate_is_that_of_the_rows_that_chose_the_threshold() -> None:
    """The agreed alert rate is the share that was flagged of these rows."""
    assert agreed_rate({"rows": 300, "flagged": 45, "frauds": 30}) == 0.15


@pytest.mark.parametrize("name", ["recall", "precision", "review_rate"])
def test_first_release_must_keep_its_policy(name: str) -> None:
    """A policy that the rows contradict, by the end of its interval, is refused; one that they allow is not."""
    shares = {
        "recall": (CHAMPION.flagged & (LABEL == 1)).sum() / N_FRAUDS,
        "precision": (CHAMPION.flagged & (LABEL == 1)).sum() / CHAMPION.flagged.sum(),
        "review_rate": CHAMPION.flagged.mean(),
    }
    cases = {"recall": N_FRAUDS, "precision": CHAMPION.flagged.sum(), "review_rate": N_ROWS}
    low, high = share_interval(shares[name] * cases[name], cases[name])
    end, worse = (low, -0.001) if name == "review_rate" else (high, 0.001)
    kept = weigh_first(CHAMPION, ROWS, Decision.model_validate({name: end - worse}))
    assert (kept.kind, kept.measured.policy.name) == ("promote", name)
    assert kept.measured.policy.value == pytest.approx(shares[name])
    (objection,) = weigh_first(CHAMPION, ROWS, Decision.model_validate({name: end + worse})).objections
    bound, words = "at most" if name == "review_rate" else "at least", name.replace("_", " ")
    assert objection == (
        f"its policy promises a {words} of {bound} {end + worse:g}; on these rows the {words} is {shares[name]:.3f} "
        f"({low:.3f} to {high:.3f})"
    )


def test_policy_without_a_share_is_not_judged() -> None:
    """The lowest cost promises no share, and a precision cannot be measured if nothing is flagged."""
    assert weigh_first(CHAMPION, ROWS, Decision(cost="lowest")).measured.policy is None
    silent = replace(CHAMPION, flagged=np.zeros(N_ROWS, dtype=bool))
    assert weigh_first(silent, ROWS, Decision(precision=0.9)).measured.policy is None


def test_rows_of_one_entity_count_as_one() -> None:
    """Four copies of the same entities' rows are no more evidence than one; without entities they would seem so."""
    times = 4

    def repeated(answers: ModelAnswers) -> ModelAnswers:
        return ModelAnswers(answers.version, np.tile(answers.probability, times), np.tile(answers.flagged, times))

    once = verdict(EQUAL).measured
    label = np.tile(LABEL, times)
    groups = np.tile(np.arange(N_ROWS), times)
    by_entity, by_row = (
        weigh(
            repeated(EQUAL), repeated(CHAMPION), None, JudgedRows(label, Gate(margin=0.2), 7, numbers), agreed=0.1
        ).measured
        for numbers in (groups, None)
    )
    assert by_entity.average_precision.low == pytest.approx(once.average_precision.low)
    assert by_entity.recall.high == pytest.approx(once.recall.high)
    width = once.average_precision.high - once.average_precision.low
    narrower = by_row.average_precision.high - by_row.average_precision.low
    assert narrower == pytest.approx(width / 2, rel=0.15)
