"""Verdict: what a block of records shows -> ok, watch or retrain, each with its reasons in a sentence.

Drift alone is watched: what moved is not what the labels say. Only outcomes that contradict the model make it retrain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from scipy.stats import binomtest, norm, poisson

from training.params import Monitoring

LEVELS = ("ok", "watch", "retrain")
# With a policy that asks for two blocks in a row, one false alarm in ten thousand.
ALPHA = 0.01
CONFIDENCE = 1 - 2 * ALPHA
# The same for what is nearly normal.
DEVIATIONS = float(norm.isf(ALPHA))
# Rates of fraud are judged where at least this share of a block has outcomes.
LABELLED = 0.5


@dataclass(frozen=True)
class BlockVerdict:
    """What one block says."""

    level: str
    reasons: tuple[str, ...] = ()


def judge_block(block: dict[str, Any], policy: Monitoring) -> BlockVerdict:
    """The verdict on one block, as `training.monitoring.blocks` describes it."""
    broken, drifted = _drift(block, policy)
    against, watch = _performance(block, policy), [*drifted, *_rates(block, policy), *_estimate(block, policy)]
    if broken:
        # What fails upstream is mended there: a model that learned to do without the field would stay without it.
        return BlockVerdict("watch", (*broken, *against, *watch))
    if against:
        return BlockVerdict("retrain", (*against, *watch))
    return BlockVerdict("watch", tuple(watch)) if watch else BlockVerdict("ok")


def settle_state(verdicts: Sequence[BlockVerdict], policy: Monitoring) -> str:
    """The state after a sequence of blocks: it changes, to worse or back, once enough blocks in a row ask for it.

    >>> calm, alarm = BlockVerdict("ok"), BlockVerdict("watch", ("x",))
    >>> settle_state([calm, alarm, calm, alarm], Monitoring()), settle_state([alarm, alarm, calm], Monitoring())
    ('ok', 'watch')
    """
    state = 0
    levels = [LEVELS.index(verdict.level) for verdict in verdicts]
    for end in range(policy.consecutive, len(levels) + 1):
        last = levels[end - policy.consecutive : end]
        # Worse: all of them ask for at least this. Better: none of them asks for more.
        state = max(min(last), min(state, max(last)))
    return LEVELS[state]


def _drift(block: dict[str, Any], policy: Monitoring) -> tuple[list[str], list[str]]:
    """What is broken, and what moved."""
    broken: list[str] = []
    moved: list[str] = []
    if block["rows"] < policy.min_rows:
        return broken, moved
    for name, one in block["features"].items():
        grown = one["missing"] - one["baseline_missing"]
        is_drifted = one["psi"] > policy.psi and one["p_value"] < ALPHA
        if grown > policy.missing and one["p_value"] < ALPHA:
            broken.append(
                f"{name} is missing in {one['missing']:.0%} of the requests, {one['baseline_missing']:.0%} before"
            )
        elif is_drifted:
            moved.append(f"{name} drifts: PSI {one['psi']:.2f}, p {one['p_value']:.2g}")
        unseen = one.get("unseen", 0.0) - one.get("baseline_unseen", 0.0)
        if unseen > policy.missing:
            moved.append(
                f"{name} is new or rare in {one['unseen']:.0%} of the requests, {one['baseline_unseen']:.0%} before"
            )
    score = block["score"]
    if score["psi"] > policy.psi and score["p_value"] < ALPHA:
        moved.append(f"the score drifts: PSI {score['psi']:.2f}, p {score['p_value']:.2g}")
    return broken, moved


def _rates(block: dict[str, Any], policy: Monitoring) -> list[str]:
    """Alerts and frauds that are surely more, or fewer, than they were by the declared ratio."""
    if block["rows"] < policy.min_rows:
        return []
    found, measured = [], block["measured"]
    alerts = round(block["alert_rate"] * block["rows"])
    if _is_beyond(alerts, block["rows"], block["baseline_alert_rate"], policy.ratio):
        before = f"{block['baseline_alert_rate']:.2%} when the threshold was chosen"
        found.append(f"{block['alert_rate']:.2%} of the requests are flagged, {before}")
    if measured["frauds"] >= policy.min_frauds and measured["labelled"] >= block["rows"] * LABELLED:
        rate = block["baseline_fraud_rate"]
        if _is_beyond(measured["frauds"], measured["labelled"], rate, policy.ratio):
            share = measured["frauds"] / measured["labelled"]
            found.append(f"{share:.2%} of the requests are frauds, {rate:.2%} when the threshold was chosen")
    return found


def _is_beyond(count: int, total: int, rate: float, ratio: float) -> bool:
    bounds = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return bool(bounds.low > rate * ratio or bounds.high < rate / ratio)


def _estimate(block: dict[str, Any], policy: Monitoring) -> list[str]:
    now, before = block["estimated"], block["baseline_estimated"]
    drop, deviation = before["recall"] - now["recall"], hypot(now["recall_deviation"], before["recall_deviation"])
    if block["rows"] < policy.min_rows or drop <= max(policy.recall_drop, DEVIATIONS * deviation):
        return []
    return [f"by its own scores the recall is {now['recall']:.0%}; it was {before['recall']:.0%}"]


def _performance(block: dict[str, Any], policy: Monitoring) -> list[str]:
    measured = block["measured"]
    if measured["frauds"] < policy.min_frauds:
        return []
    found = []
    promised, recall = block["baseline_recall"], measured["recall"]
    now = binomtest(measured["caught"], measured["frauds"]).proportion_ci(CONFIDENCE, method="wilson")
    before = binomtest(block["baseline_caught"], block["baseline_frauds"]).proportion_ci(CONFIDENCE, method="wilson")
    # The upper end of the difference's interval, both recalls being counts of few (Newcombe 1998, method 10).
    highest = recall - promised + hypot(now.high - recall, promised - before.low)
    if highest < -policy.recall_drop:
        found.append(
            f"the recall is {recall:.0%} ({now.low:.0%} to {now.high:.0%}); it was {promised:.0%} "
            "when the threshold was chosen"
        )
    # Where only frauds are told, or mostly, their number says nothing of the rate.
    if measured["labelled"] >= block["rows"] * LABELLED:
        expected = measured["expected_frauds"]
        fewest, most = (
            float(poisson.ppf(share, expected * ratio))
            for share, ratio in ((ALPHA, 1 / policy.calibration_ratio), (1 - ALPHA, policy.calibration_ratio))
        )
        if not fewest <= measured["frauds"] <= most:
            found.append(f"there are {measured['frauds']:,} frauds where the scores promise {expected:,.0f}")
    return found
