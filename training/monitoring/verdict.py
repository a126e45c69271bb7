"""The verdict on a block of predictions, ok, watch, retrain or insufficient, with a sentence for each reason.

Drift alone is only watched, because it need not harm the model; only labels that contradict the model ask to retrain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from scipy.stats import binomtest, norm, poisson

from training.params import Monitoring
from training.report.monitor_report import INSUFFICIENT, Block

LEVELS = ("ok", "watch", "retrain")
# If the policy asks for two blocks in a row, this gives one false alarm in ten thousand.
ALPHA = 0.01
CONFIDENCE = 1 - 2 * ALPHA
# ALPHA in standard deviations, for an estimate that is nearly normal.
DEVIATIONS = float(norm.isf(ALPHA))
# Fraud rates are judged if at least this share of a block has outcomes.
LABELLED = 0.5


@dataclass(frozen=True)
class BlockVerdict:
    """The level of one block, and the reasons for it."""

    level: str
    reasons: tuple[str, ...] = ()


def judge_block(block: Block, policy: Monitoring) -> BlockVerdict:
    """The verdict on one block."""
    broken, drifted = _drift(block, policy)
    against, watch = _performance(block, policy), [*drifted, *_rates(block, policy), *_estimate(block, policy)]
    if broken:
        # This must be repaired upstream: a model retrained now would learn to do without the field.
        return BlockVerdict("watch", (*broken, *against, *watch))
    if against:
        return BlockVerdict("retrain", (*against, *watch))
    if watch:
        return BlockVerdict("watch", tuple(watch))
    return BlockVerdict("ok" if block.rows >= policy.min_rows else INSUFFICIENT)


def state_after(verdicts: Sequence[BlockVerdict], policy: Monitoring) -> str:
    """The state after a sequence of blocks: it changes, to worse or back, once enough blocks in a row ask for it.

    Blocks that were not judged neither raise nor clear an alarm; without a judged block the data are insufficient.

    >>> calm, alarm = BlockVerdict("ok"), BlockVerdict("watch", ("x",))
    >>> state_after([calm, alarm, calm, alarm], Monitoring()), state_after([alarm, alarm, calm], Monitoring())
    ('ok', 'watch')
    """
    state = 0
    levels = [LEVELS.index(verdict.level) for verdict in verdicts if verdict.level != INSUFFICIENT]
    if not levels:
        return INSUFFICIENT
    for end in range(policy.consecutive, len(levels) + 1):
        last = levels[end - policy.consecutive : end]
        # Worse if all of them ask for at least this; better if none of them asks for more.
        state = max(min(last), min(state, max(last)))
    return LEVELS[state]


def _drift(block: Block, policy: Monitoring) -> tuple[list[str], list[str]]:
    """The reasons that name a broken feature, and those that name a drifting one."""
    broken: list[str] = []
    drifted: list[str] = []
    if block.rows < policy.min_rows:
        return broken, drifted
    for name, share in block.unrecorded.items():
        if share > policy.missing:
            broken.append(
                f"{name} is in no record" if share == 1 else f"{name} is in only {1 - share:.0%} of the records"
            )
    for name, shift in block.features.items():
        if shift.missing - shift.baseline_missing > policy.missing and shift.p_value < ALPHA:
            now, before = f"{shift.missing:.0%}", f"{shift.baseline_missing:.0%}"
            broken.append(f"{name} is missing in {now} of the requests; {before} in the baseline")
        elif shift.psi > policy.psi and shift.p_value < ALPHA:
            drifted.append(f"{name} drifts: PSI {shift.psi:.2f}, p {shift.p_value:.2g}")
        unseen, unseen_before = shift.unseen or 0.0, shift.baseline_unseen or 0.0
        if unseen - unseen_before > policy.missing:
            drifted.append(
                f"{name} has a new or rare value in {unseen:.0%} of the requests; {unseen_before:.0%} in the baseline"
            )
    if block.score.psi > policy.psi and block.score.p_value < ALPHA:
        drifted.append(f"the score drifts: PSI {block.score.psi:.2f}, p {block.score.p_value:.2g}")
    return broken, drifted


def _rates(block: Block, policy: Monitoring) -> list[str]:
    """The reasons if the alert, block or fraud rate differs from the baseline significantly and beyond policy.ratio."""
    if block.rows < policy.min_rows:
        return []
    reasons, measured = [], block.measured
    for what, now, before in (
        ("flagged", block.alert_rate, block.baseline_alert_rate),
        ("blocked", block.block_rate, block.baseline_block_rate),
    ):
        if now is None or before is None:
            continue
        if _is_beyond(round(now * block.rows), block.rows, before, policy.ratio):
            reasons.append(f"{now:.2%} of the requests are {what}, {before:.2%} when the threshold was chosen")
    if measured.frauds >= policy.min_frauds and measured.labelled >= block.rows * LABELLED:
        rate = block.baseline_fraud_rate
        share = measured.frauds / measured.labelled if measured.fraud_rate is None else measured.fraud_rate
        # The number of requests that this rate implies, because those of a control group stand for several.
        if _is_beyond(measured.frauds, round(measured.frauds / share), rate, policy.ratio):
            reasons.append(f"{share:.2%} of the requests are frauds, {rate:.2%} when the threshold was chosen")
    return reasons


def _is_beyond(count: int, total: int, rate: float, ratio: float) -> bool:
    bounds = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return bool(bounds.low > rate * ratio or bounds.high < rate / ratio)


def _estimate(block: Block, policy: Monitoring) -> list[str]:
    now, before = block.estimated, block.baseline_estimated
    drop, deviation = before.recall - now.recall, hypot(now.recall_deviation, before.recall_deviation)
    if block.rows < policy.min_rows or drop <= max(policy.recall_drop, DEVIATIONS * deviation):
        return []
    was = f"it was {before.recall:.0%} when the threshold was chosen"
    return [f"the recall estimated from the scores is {now.recall:.0%}; {was}"]


def _performance(block: Block, policy: Monitoring) -> list[str]:
    measured = block.measured
    if measured.frauds < policy.min_frauds or not block.baseline_frauds:
        return []
    reasons = []
    recall, recall_before = measured.caught / measured.frauds, block.baseline_recall
    now = binomtest(measured.caught, measured.frauds).proportion_ci(CONFIDENCE, method="wilson")
    before = binomtest(block.baseline_caught, block.baseline_frauds).proportion_ci(CONFIDENCE, method="wilson")
    # The upper end of the difference's interval, both recalls being shares of few frauds (Newcombe 1998, method 10).
    highest = recall - recall_before + hypot(now.high - recall, recall_before - before.low)
    if highest < -policy.recall_drop:
        reasons.append(
            f"the recall is {recall:.0%} ({now.low:.0%} to {now.high:.0%}); it was {recall_before:.0%} "
            "when the threshold was chosen"
        )
    # If mostly frauds are reported as outcomes, their number says nothing about the rate.
    if measured.labelled >= block.rows * LABELLED:
        expected = measured.expected_frauds
        fewest, most = (
            float(poisson.ppf(share, expected * ratio))
            for share, ratio in ((ALPHA, 1 / policy.calibration_ratio), (1 - ALPHA, policy.calibration_ratio))
        )
        if not fewest <= measured.frauds <= most:
            reasons.append(f"there are {measured.frauds:,} frauds, but the scores predict {expected:,.0f}")
    return reasons
