"""The predictions of a log, block by block: how far they are from the baseline, and how well the model did."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.scoring.contract import OTHER, SOURCES
from handler.scoring.fields import SECONDS_A_DAY
from training.evaluation.calibration import log_odds
from training.evaluation.intervals import share_interval
from training.evaluation.metrics import average_precision, rank
from training.monitoring.binning import UNRECORDED
from training.monitoring.drift import category_distance, holm, number_distance
from training.monitoring.log import NO_ID, Log
from training.params import Monitoring
from training.report.monitor_report import (
    Block,
    EstimatedPerformance,
    FeatureShift,
    MeasuredPerformance,
    Reviews,
    ScoreShift,
)
from training.run.matrix import Floats, Labels, Positions

# Blocked predictions are judged like the rest if at least this share of them has a label.
KNOWN_BLOCKS = 0.5
OUTCOME_COLUMNS = ("outcome_time", "outcome_id", "outcome_label", "outcome_source", "outcome_by")


@dataclass(frozen=True)
class JoinedLabels:
    """The predictions' labels: 1, 0, or -1 if unknown; and counts of irregularities, such as repeated outcomes."""

    label: Labels
    counts: dict[str, int]


def join_outcomes(log: Log, policy: Monitoring, label_delay_days: float) -> JoinedLabels:
    """The predictions' labels, joined by id; only the first prediction of an id gets a label.

    If an id has several outcomes, conclusive ones take precedence over inconclusive ones, then the source that comes
    first in `policy.precedence`, then the latest outcome.
    """
    label = np.full(len(log.time), -1, dtype=np.int8)
    ids, last = _counting_of_each(log, policy)
    latest_label = log.outcome_label[last]
    is_inconclusive = np.zeros(len(log.time), dtype=bool)
    has_id = log.id != NO_ID
    counts = {
        "predictions without an id": int((~has_id).sum()),
        **_repeated_outcomes(log),
    }
    predicted, first = np.unique(log.id[has_id], return_index=True)
    counts["predictions of an id that was scored before"] = int(has_id.sum()) - len(predicted)
    counts["outcomes of ids that were never scored, recorded or read"] = int((~np.isin(ids, predicted)).sum())
    of_first = np.flatnonzero(has_id)[first]
    if len(ids):
        places = np.searchsorted(ids, predicted).clip(max=len(ids) - 1)
        is_known = ids[places] == predicted
        label[of_first[is_known]] = latest_label[places[is_known]]
        is_inconclusive[of_first[is_known]] = label[of_first[is_known]] < 0
        early = log.outcome_time[last][places[is_known]] < log.time[of_first[is_known]]
        counts["outcomes before their prediction"] = int(early.sum())
    if policy.unlabelled == "legitimate" and len(log.time):
        latest = max(log.time[-1], log.outcome_time[-1] if len(log.outcome_time) else 0.0)
        # Customers do not report a blocked request, and an inconclusive one has been reviewed: silence means nothing.
        # The control group was served, so its silence means the same as that of other requests.
        is_old = (log.time < latest - label_delay_days * SECONDS_A_DAY) & log.is_served & ~is_inconclusive
        # If an id was scored several times, only its first prediction counts.
        is_repeated = has_id.copy()
        is_repeated[of_first] = False
        counts["unlabelled, taken as legitimate"] = int((is_old & (label < 0) & ~is_repeated).sum())
        label[is_old & (label < 0) & ~is_repeated] = 0
    return JoinedLabels(label, {name: count for name, count in counts.items() if count})


def _repeated_outcomes(log: Log) -> dict[str, int]:
    """How many outcomes correct or repeat an earlier one, how many are inconclusive, and how many ids are disputed.

    An outcome corrects or repeats an earlier one of the same id, source and person, with another or the same label. An
    id is disputed if the latest outcomes of two sources, or of two people, are conclusive and differ.
    """
    keys = (log.outcome_by, log.outcome_source, log.outcome_id)
    order = np.lexsort((np.arange(len(log.outcome_id)), *keys))
    ids, labels = log.outcome_id[order], log.outcome_label[order]
    is_again = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
    is_changed = labels[1:] != labels[:-1]
    latest = np.append(~is_again, True)[: len(labels)]
    disagreed = np.intersect1d(ids[latest & (labels == 1)], ids[latest & (labels == 0)])
    return {
        "outcomes that correct an earlier one": int((is_again & is_changed).sum()),
        "outcomes recorded again": int((is_again & ~is_changed).sum()),
        "inconclusive outcomes": int((labels < 0).sum()),
        "ids of which sources or reviewers disagree": len(disagreed),
    }


def _counting_of_each(log: Log, policy: Monitoring) -> tuple[npt.NDArray[np.uint64], Positions]:
    """The distinct ids of outcomes, sorted, and for each the position of the outcome that counts."""
    rank = np.array([policy.precedence.index(source) for source in SOURCES])[log.outcome_source]
    order = np.lexsort((np.arange(len(rank)), -rank, log.outcome_label >= 0, log.outcome_id))
    different, from_behind = np.unique(log.outcome_id[order][::-1], return_index=True)
    return different, order[len(order) - 1 - from_behind]


def reviews_of(log: Log, policy: Monitoring) -> Reviews | None:
    """How reviewers judged what the model did, by the latest conclusive review of each id; None without reviews."""
    is_review = (log.outcome_source == SOURCES.index("review")) & (log.outcome_label >= 0)
    ids, last = _counting_of_each(replace(log, **{n: getattr(log, n)[is_review] for n in OUTCOME_COLUMNS}), policy)
    labels = log.outcome_label[is_review][last]
    predicted, first = np.unique(log.id, return_index=True)
    is_predicted = np.isin(ids, predicted[predicted != NO_ID])
    if not is_predicted.any():
        return None
    flagged = log.flagged[first[np.searchsorted(predicted, ids[is_predicted])]]
    is_fraud = labels[is_predicted] == 1
    n, agreed, confirmed = len(flagged), int((flagged == is_fraud).sum()), int((flagged & is_fraud).sum())
    return Reviews(
        reviewed=n,
        agreed=agreed,
        agreed_interval=share_interval(agreed, n),
        flagged=int(flagged.sum()),
        confirmed=confirmed,
        confirmed_interval=share_interval(confirmed, int(flagged.sum())),
    )


class Reference(NamedTuple):
    """What a log is compared with."""

    baseline: Mapping[str, Any]
    threshold: float
    version: str = ""
    """The version whose baseline it is."""
    recorded: Collection[str] = ()
    """The features that each record of this version must hold."""


class _BlockRows(NamedTuple):
    """The positions of a block's predictions in the log."""

    begins: int
    """In whole seconds, like `ends`, because reports round floats to fewer digits than a timestamp has."""
    ends: int
    current: slice
    pooled: Positions
    """Includes earlier blocks, because frauds are few, but only predictions of the block's latest version."""


def blocks_of(log: Log, label: Labels, reference: Reference, policy: Monitoring) -> Iterator[Block]:
    """Each block of time that has predictions; the first block begins with the first prediction."""
    if len(log.time):
        for rows in _rows_of_blocks(log, policy):
            kept = rows.pooled
            usable, lacks_blocked = without_unknown_blocks(label[kept], log.blocked[kept], log.label_weight[kept])
            measured = measured_performance(log.probability[kept], log.flagged[kept], usable, log.label_weight[kept])
            measured = measured.model_copy(update={"lacks_blocked": lacks_blocked})
            yield _block(log, rows, measured, reference)


def without_unknown_blocks(label: Labels, blocked: npt.NDArray[np.int8], weight: Floats) -> tuple[Labels, bool]:
    """The labels, without those of blocked predictions if less than half of these are known; whether they were dropped.

    The few known ones are a biased selection: a model that blocks well would seem to miss most frauds. A control group
    is a random sample, so with one all labels are kept.
    """
    is_blocked = blocked == 1
    if (weight != 1).any() or not is_blocked.any() or (label[is_blocked] >= 0).mean() >= KNOWN_BLOCKS:
        return label, False
    return np.where(is_blocked, -1, label).astype(np.int8), True


def _rows_of_blocks(log: Log, policy: Monitoring) -> Iterator[_BlockRows]:
    seconds = policy.block_days * SECONDS_A_DAY
    number = ((log.time - log.time[0]) // seconds).astype(int)
    for block in np.unique(number):
        first, start, end = np.searchsorted(number, [block - policy.pooled + 1, block, block + 1])
        pooled = np.arange(first, end)[log.version[first:end] == log.version[end - 1]]
        begins = round(log.time[0] + block * seconds)
        yield _BlockRows(begins, round(begins + seconds), slice(start, end), pooled)


def _block(log: Log, rows: _BlockRows, measured: MeasuredPerformance, reference: Reference) -> Block:
    kept, baseline = rows.current, reference.baseline
    probability, weight, flagged = log.probability[kept], log.weight[kept], log.flagged[kept]
    score = baseline["score"]
    bins = np.searchsorted(np.array(score["edges"]), log_odds(probability))
    # A weight says how many predictions a row stands for; the statistical tests must count recorded rows only.
    share = weight / weight.mean()
    observed = np.bincount(bins, share, minlength=len(score["counts"]))
    distance = number_distance(np.array(score["counts"], dtype=float), observed)
    latency = log.milliseconds[kept]
    # Bundles from before there were bands have no separate baseline for unblocked requests, and need none.
    comparable = score.get("unblocked", score) if measured.lacks_blocked else score
    return Block(
        begins=rows.begins,
        ends=rows.ends,
        rows=len(weight),
        predictions=int(weight.sum().round()),
        versions=tuple(sorted({log.versions[code] for code in np.unique(log.version[kept])})),
        alert_rate=float(np.average(flagged, weights=weight)),
        baseline_alert_rate=score["flagged"] / score["rows"],
        block_rate=_block_rate(log.blocked[kept], weight),
        baseline_block_rate=score["blocked"] / score["rows"] if "blocked" in score else None,
        warned=float(np.average(log.n_warnings[kept] > 0, weights=weight)),
        milliseconds_p99=float(np.nanquantile(latency, 0.99)) if np.isfinite(latency).any() else None,
        score=ScoreShift(psi=distance.psi, p_value=distance.p_value),
        features=_features(log.bins[kept], share, baseline["features"]),
        unrecorded=_unrecorded_shares(log, kept, reference),
        estimated=estimated(probability, flagged, share),
        baseline_estimated=_baseline_estimated(score, reference.threshold),
        baseline_recall=comparable["caught"] / max(comparable["frauds"], 1),
        baseline_caught=comparable["caught"],
        baseline_frauds=comparable["frauds"],
        baseline_fraud_rate=comparable["frauds"] / comparable["rows"],
        measured=measured,
    )


def _block_rate(blocked: npt.NDArray[np.int8], weight: Floats) -> float | None:
    """The blocked share of the predictions whose version has bands; None if there are none."""
    has_band = blocked >= 0
    return float(np.average(blocked[has_band], weights=weight[has_band])) if has_band.any() else None


def _unrecorded_shares(log: Log, rows: slice, reference: Reference) -> dict[str, float]:
    """By feature that each record of the reference version must hold, the share of these that lack it, if above 0."""
    is_own = np.array([version == reference.version for version in log.versions], dtype=bool)[log.version[rows]]
    if not is_own.any():
        return {}
    shares = (log.bins[rows][is_own] == UNRECORDED).mean(axis=0)
    return {
        name: float(share)
        for name, share in zip(reference.baseline["features"], shares, strict=True)
        if share and name in reference.recorded
    }


def _features(bins: npt.NDArray[np.uint16], weight: Floats, features: Mapping[str, Any]) -> dict[str, FeatureShift]:
    """The shift of each recorded feature; p-values are corrected by Holm's method."""
    shifts: dict[str, FeatureShift] = {}
    for index, (name, described) in enumerate(features.items()):
        is_recorded = bins[:, index] != UNRECORDED
        if is_recorded.any():
            observed = np.bincount(bins[is_recorded, index], weight[is_recorded], minlength=len(described["counts"]))
            shifts[name] = _shift(described, observed)
    corrected = holm(np.array([shift.p_value for shift in shifts.values()]))
    return {
        name: shift.model_copy(update={"p_value": float(p_value)})
        for (name, shift), p_value in zip(shifts.items(), corrected, strict=True)
    }


def _shift(described: Mapping[str, Any], observed: Floats) -> FeatureShift:
    expected = np.array(described["counts"], dtype=float)
    distance = (number_distance if "edges" in described else category_distance)(expected, observed)
    shares = {
        "missing": float(observed[0] / observed.sum()),
        "baseline_missing": float(expected[0] / expected.sum()),
    }
    if described.get("labels", [""])[0] == OTHER:
        shares["unseen"] = float(observed[1] / observed.sum())
        shares["baseline_unseen"] = float(expected[1] / expected.sum())
    return FeatureShift(psi=distance.psi, p_value=distance.p_value, **shares)


def estimated(probability: Floats, flagged: npt.NDArray[np.bool_], weight: Floats) -> EstimatedPerformance:
    """Precision, recall and average precision estimated from the scores alone, assuming these are calibrated (CBPE).

    Each request is a fraud with its predicted probability, and sums of these are expected counts. Source: NannyML's
    confidence-based performance estimation, which cannot see that labels change if the scores do not. The recall is a
    ratio of sums over a random sample, and its standard deviation is that of a ratio (Cochran 1977, 2.11).
    """
    frauds = probability * weight
    caught, alerts, everything = frauds[flagged].sum(), weight[flagged].sum(), frauds.sum()
    ranking = rank(probability, np.zeros(len(probability), dtype=np.int8))
    hits, misses = (ranking.cumulative(counted[ranking.order]) for counted in (frauds, weight - frauds))
    precision = average_precision(hits, misses) if everything else 0.0
    recall = float(caught / everything) if everything else 0.0
    squares = float((weight * (probability * (flagged - recall)) ** 2).sum())
    return EstimatedPerformance(
        precision=float(caught / alerts) if alerts else 0.0,
        recall=recall,
        recall_deviation=squares**0.5 / float(everything) if everything else 0.0,
        average_precision=precision,
        fraud_rate=float(everything / weight.sum()),
    )


def _baseline_estimated(score: Mapping[str, Any], threshold: float) -> EstimatedPerformance:
    """The estimate for the calibration rows, from their counts per bin of log-odds."""
    edges = np.array(score["edges"])
    middles = np.concatenate([[edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]])
    probability = 1 / (1 + np.exp(-middles))
    return estimated(probability, probability >= threshold, np.array(score["counts"], dtype=float))


def measured_performance(
    probability: Floats, flagged: npt.NDArray[np.bool_], label: Labels, weight: Floats
) -> MeasuredPerformance:
    """The performance on rows with a known label; the intervals are Wilson's.

    Rows of weight 0 do not count. If weights differ, frauds and alerts are counted as effective sample sizes (Kish
    1965): the number of equally weighted rows with the same variance.
    """
    has_control = bool((weight != 1).any())
    is_labelled = (label >= 0) & (weight > 0)
    probability, flagged, label = probability[is_labelled], flagged[is_labelled], label[is_labelled]
    if has_control:
        return _measured_by_weight(probability, flagged, label == 1, weight[is_labelled])
    frauds, alerts, caught = int(label.sum()), int(flagged.sum()), int(label[flagged].sum())
    has_both_classes = 0 < frauds < len(label)
    return MeasuredPerformance(
        labelled=len(label),
        frauds=frauds,
        alerts=alerts,
        caught=caught,
        expected_frauds=float(probability.sum()),
        recall=caught / frauds if frauds else None,
        recall_interval=share_interval(caught, frauds),
        precision=caught / alerts if alerts else None,
        precision_interval=share_interval(caught, alerts),
        average_precision=average_precision(*rank(probability, label).counts()) if has_both_classes else None,
        fraud_rate=frauds / len(label) if len(label) else None,
    )


def _measured_by_weight(
    probability: Floats, flagged: npt.NDArray[np.bool_], is_fraud: npt.NDArray[np.bool_], weight: Floats
) -> MeasuredPerformance:
    """The performance if control group rows stand for several requests each; unknown until one of them is labelled."""
    n_control = int((weight > 1).sum())
    if not n_control:
        is_fraud = is_fraud & False
    recall, precision = _weighted_share(flagged, is_fraud, weight), _weighted_share(is_fraud, flagged, weight)
    frauds, alerts = _effective(weight[is_fraud]), _effective(weight[flagged])
    total, expected = weight[is_fraud].sum(), float((weight * probability).sum())
    ranking = rank(probability, is_fraud.astype(np.int8))
    return MeasuredPerformance(
        labelled=len(weight),
        frauds=round(frauds),
        alerts=round(alerts),
        caught=round(recall * frauds),
        # Scaled like the frauds, from weighted to effective counts.
        expected_frauds=expected * frauds / float(total) if total else expected,
        recall=recall if total else None,
        recall_interval=share_interval(recall * frauds, frauds),
        precision=precision if alerts and n_control else None,
        precision_interval=share_interval(precision * alerts, alerts if n_control else 0),
        average_precision=average_precision(*ranking.counts(weight)) if 0 < is_fraud.sum() < len(weight) else None,
        fraud_rate=float(total / weight.sum()) if total else None,
        control=n_control,
    )


def _weighted_share(hits: npt.NDArray[np.bool_], cases: npt.NDArray[np.bool_], weight: Floats) -> float:
    total = weight[cases].sum()
    return float(weight[hits & cases].sum() / total) if total else 0.0


def _effective(weight: Floats) -> float:
    """The effective sample size: how many equally weighted rows vary as much (Kish 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0
