"""The verdict: reasons beyond their thresholds, with numbers, and the state after enough consecutive blocks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.monitored_block import CALM_FEATURE, monitored_block
from training.monitoring.verdict import LEVELS, BlockVerdict, judge_block, state_after
from training.params import Monitoring
from training.report.monitor_report import INSUFFICIENT, Block

POLICY = Monitoring()


def estimate(recall: float, deviation: float = 0.001) -> dict[str, float]:
    """A recall estimated from the scores, and its standard deviation."""
    return {"recall": recall, "recall_deviation": deviation}


def feature(**changes: float) -> Block:
    """A block whose feature `amount` is calm except for these numbers."""
    return monitored_block(features={"amount": CALM_FEATURE | changes})


def performance(measured: dict[str, float], **changes: Any) -> Block:  # noqa: ANN401 - whatever a block holds
    """A block whose outcomes are as expected except for these numbers."""
    measured = {"labelled": 2_000, "frauds": 100, "caught": 90, "expected_frauds": 100.0} | measured
    return monitored_block(**{"rows": measured["labelled"], "measured": measured} | changes)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (feature(psi=0.1234, p_value=0.0042), "amount drifts: PSI 0.12, p 0.0042"),
        (
            feature(unseen=0.07, baseline_unseen=0.01),
            "amount has a new or rare value in 7% of the requests; 1% in the baseline",
        ),
        (monitored_block(score={"psi": 0.11, "p_value": 0.001}), "the score drifts: PSI 0.11, p 0.001"),
        (monitored_block(alert_rate=0.0912), "9.12% of the requests are flagged, 5.00% when the threshold was chosen"),
        (monitored_block(alert_rate=0.025), "2.50% of the requests are flagged, 5.00% when the threshold was chosen"),
        (
            monitored_block(block_rate=0.002, baseline_block_rate=0.01),
            "0.20% of the requests are blocked, 1.00% when the threshold was chosen",
        ),
        (
            monitored_block(block_rate=0.03, baseline_block_rate=0.01),
            "3.00% of the requests are blocked, 1.00% when the threshold was chosen",
        ),
        (performance({"labelled": 1_000}), "10.00% of the requests are frauds, 5.00% when the threshold was chosen"),
        (performance({"labelled": 5_000}), "2.00% of the requests are frauds, 5.00% when the threshold was chosen"),
        (
            monitored_block(estimated=estimate(0.84)),
            "the recall estimated from the scores is 84%; it was 90% when the threshold was chosen",
        ),
    ],
)
def test_beyond_its_threshold_a_reason_is_watched(block: Block, reason: str) -> None:
    """A single value beyond its threshold gives a single reason, with its numbers."""
    assert judge_block(block, POLICY) == BlockVerdict("watch", (reason,))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(monitored_block(), id="nothing that differs from the baseline"),
        pytest.param(feature(psi=0.1, p_value=0.001), id="a distance at the mark"),
        pytest.param(feature(psi=0.5, p_value=0.01), id="a distance that chance explains"),
        pytest.param(feature(psi=0.5, p_value=0.01, missing=0.2), id="missing more often, as chance explains"),
        pytest.param(feature(psi=0.09, p_value=1e-9, missing=0.14), id="missing a little more often"),
        pytest.param(feature(unseen=0.05, baseline_unseen=0.01), id="a few more new values"),
        pytest.param(monitored_block(score={"psi": 0.1, "p_value": 0.001}), id="the score's distance at the mark"),
        pytest.param(
            monitored_block(score={"psi": 0.5, "p_value": 0.01}), id="a score's distance that chance explains"
        ),
        pytest.param(monitored_block(alert_rate=0.075), id="alerts at the mark"),
        pytest.param(monitored_block(block_rate=0.0105, baseline_block_rate=0.01), id="as many blocked"),
        pytest.param(monitored_block(alert_rate=0.0785), id="alerts not significantly above the mark"),
        pytest.param(monitored_block(alert_rate=0.031), id="alerts not significantly below the mark"),
        pytest.param(monitored_block(estimated=estimate(0.88)), id="a slightly lower estimate"),
        pytest.param(monitored_block(estimated=estimate(0.84, 0.03)), id="a lower estimate of few"),
        pytest.param(monitored_block(estimated=estimate(0.99)), id="a better estimate"),
        pytest.param(performance({"labelled": 1_200}), id="a fraud rate that is not significantly higher"),
        pytest.param(performance({"labelled": 3_300}), id="a fraud rate that is not significantly lower"),
        pytest.param(performance({"caught": 83}), id="a recall that is not significantly lower"),
        pytest.param(performance({"caught": 100}), id="a better recall"),
        pytest.param(performance({"expected_frauds": 70.0}), id="more frauds, not significantly too many"),
        pytest.param(performance({"expected_frauds": 140.0}), id="fewer frauds, not significantly too few"),
    ],
)
def test_up_to_its_threshold_no_reason_is_given(block: Block) -> None:
    """Up to its threshold, or if chance explains it, a value gives no reason."""
    assert judge_block(block, POLICY) == BlockVerdict("ok")


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"caught": 60}, "the recall is 60% (48% to 71%); it was 90% when the threshold was chosen"),
        ({"expected_frauds": 40.4}, "there are 100 frauds, but the scores predict 40"),
        ({"expected_frauds": 1_250.0}, "there are 100 frauds, but the scores predict 1,250"),
    ],
)
def test_outcomes_that_contradict_the_model_make_it_retrain(measured: dict[str, float], reason: str) -> None:
    """A significantly lower recall, or significantly more or fewer frauds than the scores predict, means retrain."""
    assert judge_block(performance(measured), POLICY) == BlockVerdict("retrain", (reason,))


WORST = {"psi": 9.0, "p_value": 0.0}


def test_drift_alone_never_retrains() -> None:
    """Signs that need no outcomes, however bad, only lead to watch."""
    rates = {"missing": 1.0, "baseline_missing": 0.0, "unseen": 1.0, "baseline_unseen": 0.0}
    worst = {"features": {"amount": WORST | rates}, "score": WORST, "alert_rate": 1.0, "estimated": estimate(0.0)}
    verdict = judge_block(monitored_block(**worst), POLICY)
    assert (verdict.level, len(verdict.reasons)) == ("watch", 5)


def test_broken_field_is_repaired_before_retraining() -> None:
    """If a field is missing, the block is only watched, whatever the outcomes; the field is named first."""
    broken = {"features": {"amount": CALM_FEATURE | {"p_value": 0.001, "missing": 0.5}}}
    verdict = judge_block(performance({"caught": 10}, **broken), POLICY)
    assert verdict.level == "watch"
    assert [reason.split(" is ")[0] for reason in verdict.reasons] == ["amount", "the recall"]


def test_reasons_to_retrain_come_first() -> None:
    """Reasons to retrain precede reasons to watch, and do not need the minimum of rows."""
    verdict = judge_block(performance({"caught": 10}, alert_rate=0.5), POLICY)
    assert verdict.level == "retrain"
    assert [reason.split()[-3:] for reason in verdict.reasons] == [["threshold", "was", "chosen"]] * 2
    assert verdict.reasons[0].startswith("the recall is 10%")
    assert judge_block(performance({"caught": 10}, rows=100), POLICY).level == "retrain"


@pytest.mark.parametrize(
    "change",
    [
        {"features": {"amount": CALM_FEATURE | WORST}},
        {"score": WORST},
        {"alert_rate": 1.0},
        {"estimated": estimate(0.0)},
    ],
)
def test_few_rows_show_no_drift(change: dict[str, Any]) -> None:
    """One row below the minimum, no drift is reported; at the minimum it is."""
    verdicts = [judge_block(monitored_block(**change, rows=rows), POLICY).level for rows in (499, 500)]
    assert verdicts == ["insufficient", "watch"]


@pytest.mark.parametrize(
    ("share", "reason"),
    [(1.0, "amount is in no record"), (0.4, "amount is in only 60% of the records"), (0.05, None)],
)
def test_feature_that_records_lack_is_watched(share: float, reason: str | None) -> None:
    """If more than a few of the version's own records lack a feature they should have, it is broken upstream."""
    verdict = judge_block(monitored_block(unrecorded={"amount": share}, features={}), POLICY)
    assert verdict == (BlockVerdict("watch", (reason,)) if reason else BlockVerdict("ok"))
    assert judge_block(monitored_block(unrecorded={"amount": share}, rows=499), POLICY).level == "insufficient"


@given(rows=st.integers(1, 2_000), frauds=st.integers(0, 100))
def test_ok_was_judged(rows: int, frauds: int) -> None:
    """A block with fewer predictions than the minimum is never ok."""
    block = performance({"frauds": frauds, "caught": frauds, "expected_frauds": float(frauds)}, rows=rows)
    assert judge_block(block, POLICY).level != "ok" or rows >= POLICY.min_rows


def test_few_frauds_show_no_performance() -> None:
    """One known fraud below the minimum, no performance is reported; at the minimum it is."""
    blocks = [performance({"frauds": frauds, "caught": 0, "labelled": 600}) for frauds in (29, 30)]
    assert [judge_block(block, POLICY).level for block in blocks] == ["ok", "retrain"]


@pytest.mark.parametrize(
    ("change", "block"),
    [
        ({"psi": 0.05}, feature(psi=0.06, p_value=0.001)),
        ({"missing": 0.01}, feature(unseen=0.02, baseline_unseen=0.0)),
        ({"ratio": 1.1}, monitored_block(alert_rate=0.07)),
        ({"ratio": 1.01}, performance({"labelled": 1_400})),
        ({"recall_drop": 0.01}, monitored_block(estimated=estimate(0.88))),
        ({"recall_drop": 0.001}, performance({"caught": 82})),
        ({"calibration_ratio": 1.01}, performance({"expected_frauds": 70.0})),
        ({"min_rows": 100}, monitored_block(rows=100, alert_rate=1.0)),
        ({"min_frauds": 5}, performance({"frauds": 5, "caught": 0, "expected_frauds": 5.0, "labelled": 100})),
    ],
)
def test_thresholds_are_declared(change: dict[str, float], block: Block) -> None:
    """A stricter declaration gives reasons for blocks that pass the defaults."""
    assert not judge_block(block, POLICY).reasons
    assert judge_block(block, Monitoring(**change)).reasons


def state(levels: str, consecutive: int) -> str:
    """The state after blocks that are ok (o), watch (w), retrain (r) or insufficient (i)."""
    names = {name[0]: name for name in (*LEVELS, INSUFFICIENT)}
    return state_after([BlockVerdict(names[letter]) for letter in levels], Monitoring(consecutive=consecutive))


@pytest.mark.parametrize(
    ("consecutive", "expected", "sequences"),
    [
        (1, "insufficient", ["", "i", "ii"]),
        (1, "ok", ["o", "wo", "oi"]),
        (1, "watch", ["w", "ow", "rw"]),
        (2, "ok", ["o", "r", "ri", "owowo", "wwoo", "wwioio"]),
        (2, "retrain", ["rr", "rro", "rrw", "wrr", "rir", "rrii", "rroi"]),
        (2, "watch", ["ww", "wwo", "rrow", "rrww", "wr", "rw", "rwrw"]),
        (3, "ok", ["wowo", "ww", "rrrooo"]),
        (3, "retrain", ["rrroo"]),
        (3, "watch", ["www", "wrw", "rrroow", "rrwrr"]),
    ],
)
def test_state_follows_enough_blocks_in_a_row(consecutive: int, expected: str, sequences: list[str]) -> None:
    """The state rises to the level that all of the last judged blocks reach, and falls to the worst of them."""
    assert {levels: state(levels, consecutive) for levels in sequences} == dict.fromkeys(sequences, expected)


LETTERS = st.text("owr", min_size=1, max_size=20)


@given(LETTERS, st.integers(1, 4))
def test_state_is_not_worse_than_the_last_blocks(levels: str, consecutive: int) -> None:
    """The state is never worse than the worst of the last blocks."""
    worst = max((("owr").index(letter) for letter in levels[-consecutive:]), default=0)
    assert LEVELS.index(state(levels, consecutive)) <= worst


@given(LETTERS, st.integers(1, 4))
def test_state_was_reached_in_a_row(levels: str, consecutive: int) -> None:
    """Somewhere, enough consecutive blocks all reached at least the state."""
    runs = [levels[start : start + consecutive] for start in range(len(levels) - consecutive + 1)]
    reached = [min("owr".index(letter) for letter in run) for run in runs]
    assert LEVELS.index(state(levels, consecutive)) <= max(reached, default=0)


@given(LETTERS, st.integers(1, 4), st.sampled_from("owr"))
def test_enough_equal_blocks_decide(levels: str, consecutive: int, letter: str) -> None:
    """Whatever came before, enough blocks of one level make it the state."""
    assert state(levels + consecutive * letter, consecutive)[0] == letter
