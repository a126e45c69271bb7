"""The gate's rules: a challenger weighed against champion and best former release by their answers to the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.delivery.gate_verdict import (
    GAINS,
    AlertRates,
    BestFormer,
    ChallengerCalibration,
    Gain,
    GateMeasures,
    GateVerdict,
    PolicyKept,
    PolicyName,
)
from training.evaluation.calibration import calibration_bins, expected_calibration_error
from training.evaluation.intervals import bootstrap, count_groups, grouped_share_interval, interval
from training.evaluation.metrics import average_precision, rank
from training.params import Gate, Policy
from training.run.matrix import Floats, Labels, Positions

RECALLS = GAINS[1:]

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ModelAnswers:
    """A model's answers to the rows: the fraud probability of each, and whether it is flagged."""

    version: str
    probability: Floats
    flagged: Flags
    blocked: Flags | None = None
    """None if the decision has no bands."""


@dataclass(frozen=True)
class JudgedRows:
    """Labelled rows on which models are judged, and the gate's requirements."""

    label: Labels
    gate: Gate
    seed: int
    groups: Positions | None = None
    """The number of each row's entity, or of the row that it repeats; intervals draw rows of one number together."""

    copy_of: Positions | None = None
    """Which original row each repeats, if rows stand for several requests."""

    @property
    def n_frauds(self) -> int:
        """How many frauds there are, with repeated rows counted once."""
        return count_groups(self.is_fraud, self.copy_of)

    @property
    def is_fraud(self) -> Flags:
        """Which rows are frauds."""
        is_fraud: Flags = self.label == 1
        return is_fraud


def weigh_first(
    challenger: ModelAnswers, rows: JudgedRows, policy: Policy, block_policy: Policy | None = None
) -> GateVerdict:
    """The verdict on a first release, by rows of both classes: it must be calibrated, and keep its policies."""
    error, objections = _calibration(challenger.probability, rows)
    measured: dict[str, Any] = {**_rates(challenger, None), "calibration_error": error}
    if kept := _policy_kept(challenger.flagged, rows, policy):
        measured["policy"] = kept
        objections += _policy_objections("its policy", kept)
    blocked = challenger.blocked
    if blocked is not None and block_policy and (kept := _policy_kept(blocked, rows, block_policy)):
        measured["block_policy"] = kept
        objections += _policy_objections("its policy for blocking", kept)
    return GateVerdict(GateMeasures(**measured, best=challenger.version), tuple(objections), tuple(_doubts(rows)))


def _rates(challenger: ModelAnswers, champion: ModelAnswers | None) -> dict[str, AlertRates]:
    """The shares of the rows that the models flag and, if the challenger's decision has bands, block."""
    flags: dict[str, tuple[Flags | None, Flags | None]] = {
        "alert_rate": (challenger.flagged, champion.flagged if champion else None),
        "block_rate": (challenger.blocked, champion.blocked if champion else None),
    }
    return {
        name: AlertRates(challenger=float(own.mean()), champion=None if other is None else float(other.mean()))
        for name, (own, other) in flags.items()
        if own is not None
    }


def weigh(  # noqa: PLR0913 - half of them are keyword-only
    challenger: ModelAnswers,
    champion: ModelAnswers,
    best_former: ModelAnswers | None,
    rows: JudgedRows,
    *,
    agreed: float,
    agreed_blocks: float = 0.0,
    policy: Policy | None = None,
    block_policy: Policy | None = None,
) -> GateVerdict:
    """The verdict on rows of both classes, by the answers alone.

    `agreed` is the alert rate that the champion was meant to have, `agreed_blocks` the share that it was meant to
    block. They count if it flags or blocks less by now, because it may have become blind to fraud that changed.
    `policy` is the one by which the challenger's threshold was chosen. If it promises a recall, and the challenger
    keeps it, then a recall below the champion's (at another alert rate) is as declared, and no objection.
    `block_policy`, that of the challenger's blocking band, is checked if the champion's decision has no bands.
    """
    error, objections = _calibration(challenger.probability, rows)
    gains, former = _gains(challenger, champion, best_former, rows)
    objections += _alert_objections("flag", challenger.flagged, champion.flagged, agreed, rows)
    blocks: dict[str, PolicyKept] = {}
    if challenger.blocked is not None and champion.blocked is not None:
        objections += _alert_objections("block", challenger.blocked, champion.blocked, agreed_blocks, rows)
    elif (
        challenger.blocked is not None
        and block_policy
        and (held := _policy_kept(challenger.blocked, rows, block_policy))
    ):
        # The first version that blocks has no predecessor to compare with, so it must keep its own policy.
        blocks["block_policy"] = held
        objections += _policy_objections("its policy for blocking", held)
    doubts, margin = _doubts(rows), rows.gate.margin
    ranking = gains["average_precision"]
    compared: list[tuple[str, Gain | BestFormer]] = [(_gain_sentence("average_precision", ranking), ranking)]
    if former:
        compared.append((_former_sentence(former), former))
    for sentence, gain in compared:
        if gain.low > -margin:
            continue
        if gain.high < 0:
            objections.append(sentence)
        else:
            doubts.append(f"{sentence}; the loss may exceed gate.margin, {margin:g}")
    kept = _policy_kept(challenger.flagged, rows, policy) if policy else None
    is_as_declared = kept is not None and kept.name == "recall" and not _policy_objections("", kept)
    objections += [
        _gain_sentence(name, gains[name])
        for name in RECALLS
        if gains[name].high < 0 and gains[name].gain <= -margin and not (name == "recall" and is_as_declared)
    ]
    measured: dict[str, Any] = {
        **_rates(challenger, champion),
        **({"policy": kept} if kept else {}),
        **blocks,
        "calibration_error": error,
        **gains,
    }
    precisions = {champion.version: ranking.champion, challenger.version: ranking.challenger}
    if former:
        measured["best_former"] = former
        precisions[former.version] = former.former
    best = max(precisions, key=precisions.__getitem__)
    return GateVerdict(GateMeasures(**measured, best=best), tuple(objections), tuple(doubts))


def agreed_rate(score: Mapping[str, Any], what: str = "flagged") -> float:
    """The agreed alert rate to weigh by: the share that a champion flagged of the rows that set its threshold.

    If `what` is `blocked`, the share that it blocked; 0 if its decision has no bands.
    """
    return float(score.get(what, 0) / score["rows"])


def _doubts(rows: JudgedRows) -> list[str]:
    """A doubt if the rows hold fewer frauds than gate.min_frauds."""
    n_frauds, needed = rows.n_frauds, rows.gate.min_frauds
    if n_frauds >= needed:
        return []
    frauds = "fraud" if n_frauds == 1 else "frauds"
    lack = f"the window has {n_frauds:,} {frauds}, and gate.min_frauds is {needed:,}; declare a longer test window"
    return [lack]


def _alert_objections(what: str, challenger: Flags, champion: Flags, agreed: float, rows: JudgedRows) -> list[str]:
    """An objection if the challenger flags, or blocks, significantly more than the champion does or was meant to."""
    rate, champion_rate = float(challenger.mean()), float(champion.mean())
    low, _ = grouped_share_interval(challenger, np.ones(len(rows.label), dtype=bool), rows.groups)
    if low <= rows.gate.max_alert_ratio * max(champion_rate, agreed):
        return []
    meant = f" and was meant to {what} {agreed:.2%}" if agreed > champion_rate else ""
    return [f"it {what}s {rate:.2%} of the rows; the champion {what}s {champion_rate:.2%}{meant}"]


def _policy_kept(flagged: Flags, rows: JudgedRows, policy: Policy) -> PolicyKept | None:
    """The policy's promise and what these rows show of it; None if it promises no share, or they show nothing."""
    shares: tuple[tuple[PolicyName, Flags, Flags], ...] = (
        ("recall", flagged, rows.is_fraud),
        ("precision", rows.is_fraud, flagged),
        ("review_rate", flagged, np.ones(len(flagged), dtype=bool)),
    )
    for name, hits, cases in shares:
        if (promised := getattr(policy, name)) is not None and cases.any():
            low, high = grouped_share_interval(hits, cases, rows.groups)
            value = float((hits & cases).sum() / cases.sum())
            return PolicyKept(name=name, promised=promised, value=value, low=low, high=high)
    return None


def _policy_objections(which: str, kept: PolicyKept) -> list[str]:
    """An objection if the rows show that a policy is not kept."""
    is_share_of_alerts = kept.name == "review_rate"
    if kept.low <= kept.promised if is_share_of_alerts else kept.high >= kept.promised:
        return []
    name, bound = kept.name.replace("_", " "), "at most" if is_share_of_alerts else "at least"
    measured = f"{kept.value:.3f} ({kept.low:.3f} to {kept.high:.3f})"
    return [f"{which} promises a {name} of {bound} {kept.promised:g}; on these rows the {name} is {measured}"]


def _gain_sentence(name: str, gain: Gain) -> str:
    return (
        f"its {name.replace('_', ' ')} is {gain.challenger:.3f}, the champion's {gain.champion:.3f}: "
        f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    )


def _former_sentence(former: BestFormer) -> str:
    return (
        f"its average precision is {former.challenger:.3f}, that of {former.version}, the best release so far, "
        f"{former.former:.3f}: {former.gain:+.3f} ({former.low:+.3f} to {former.high:+.3f})"
    )


def _calibration(probability: Floats, rows: JudgedRows) -> tuple[ChallengerCalibration, list[str]]:
    """The calibration error with the lower end of its interval, and an objection if that is above the limit.

    Noise increases the error, and bootstrap draws are noisier than the rows, so they are shifted to be centred on it.
    """
    bins = calibration_bins(probability)
    error = expected_calibration_error(probability, rows.label, bins)
    drawn = bootstrap(
        lambda weight: np.array([expected_calibration_error(probability, rows.label, bins, weight)]),
        rows.label,
        seed=rows.seed,
        groups=rows.groups,
    )
    ((low, _),) = interval(np.maximum(drawn - np.median(drawn) + error, 0.0))
    limit = rows.gate.max_calibration_share * float(rows.label.mean())
    objections = []
    if low > limit:
        objections.append(
            f"its calibration error is {error:.2g}, at least {low:.2g} by its interval; the limit is {limit:.2g}"
        )
    return ChallengerCalibration(challenger=error, low=low, limit=limit), objections


def _gains(
    challenger: ModelAnswers, champion: ModelAnswers, former: ModelAnswers | None, rows: JudgedRows
) -> tuple[dict[str, Gain], BestFormer | None]:
    """The challenger's gain over the champion in each of GAINS, and in average precision over the best former release.

    The alert budget is the share of the rows that the champion flags.
    """
    models = [challenger, champion, *([former] if former else [])]
    rankings = [rank(model.probability, rows.label) for model in models]
    budget = float(champion.flagged.mean())

    def measured(weight: Floats) -> Floats:
        metrics = []
        for model, ranking in zip(models, rankings, strict=True):
            frauds, legitimate = ranking.counts(weight)
            alerts = frauds + legitimate
            within = int(np.searchsorted(alerts, budget * alerts[-1] * (1 + 1e-12), side="right")) - 1
            caught = float((weight * model.flagged * rows.label).sum() / frauds[-1])
            metrics.append([average_precision(frauds, legitimate), float(frauds[within] / frauds[-1]), caught])
        return np.array(metrics)

    whole = measured(np.ones(len(rows.label)))
    drawn = bootstrap(measured, rows.label, seed=rows.seed, groups=rows.groups)
    bounds = interval(drawn[:, 0] - drawn[:, 1])
    gains = {
        name: Gain(challenger=own, champion=other, gain=own - other, low=low, high=high)
        for name, own, other, (low, high) in zip(GAINS, *whole[:2].tolist(), bounds, strict=True)
    }
    if former is None:
        return gains, None
    own, other = float(whole[0, 0]), float(whole[2, 0])
    ((low, high),) = interval(drawn[:, :1, 0] - drawn[:, 2:, 0])
    return gains, BestFormer(version=former.version, challenger=own, former=other, gain=own - other, low=low, high=high)
