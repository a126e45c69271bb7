"""The promotion gate: whether a challenger may replace the champion, judged by their answers to the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from handler.releases.compatibility import breaking_changes
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer
from training.batch.answers import answer_rows
from training.data.times import EARLIEST_DATE, dates_of, timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import DataError
from training.evaluation.intervals import bootstrap, interval, share_interval
from training.evaluation.metrics import average_precision, calibration_bins, expected_calibration_error, rank
from training.report.record import ReportRecord
from training.run.matrix import Floats, Labels

# What is compared with the champion: the ranking, the recall at as many alerts, and the recall at the threshold.
GAINS = ("average_precision", "recall_at_the_alert_budget", "recall")
# Probabilities that are off by half of the fraud rate may still rank well, but cannot be relied on.
MAX_CALIBRATION_SHARE = 0.5
# More alerts than this are a decision about staff, not about a model.
MAX_ALERT_RATIO = 1.5
# Rows that one of the two refuses are left out for both; with more of them the rest is not a fair sample.
MAX_LEFT_OUT = 0.01


class AlertRates(ReportRecord):
    """The share of the rows that each model flags; without a champion only the challenger's."""

    challenger: float
    champion: float | None = None


class ChallengerCalibration(ReportRecord):
    """The challenger's calibration error, the lower end of its interval, and the limit."""

    challenger: float
    low: float
    limit: float


class Gain(ReportRecord):
    """A metric of both models, and the challenger's less the champion's with its 95 % interval."""

    challenger: float
    champion: float
    gain: float
    low: float
    high: float


class GateMeasures(ReportRecord):
    """What the gate measured; fields that do not apply are not set."""

    file: str | None = None
    """The rows' file, as `objections` set where a pointer keeps what the gate said of its version."""
    window: tuple[str, str] | None = None
    rows: int | None = None
    frauds: int | None = None
    left_out: int | None = None
    alert_rate: AlertRates | None = None
    calibration_error: ChallengerCalibration | None = None
    average_precision: Gain | None = None
    recall_at_the_alert_budget: Gain | None = None
    recall: Gain | None = None
    objections: tuple[str, ...] | None = None

    @property
    def gains(self) -> dict[str, Gain]:
        """The measured gains, by metric."""
        gains = {name: getattr(self, name) for name in GAINS}
        return {name: gain for name, gain in gains.items() if gain is not None}


@dataclass(frozen=True)
class GateVerdict:
    """What the gate measured, and its objections to the challenger."""

    measured: GateMeasures
    objections: tuple[str, ...] = ()


def judge_challenger(
    champion: Scorer | None, challenger: Scorer, rows: pd.DataFrame, declared: ScorerDeclaration
) -> GateVerdict:
    """The verdict on a challenger: it must be calibrated, and must not rank or catch significantly worse.

    `rows` are recent, with the declared columns, and the challenger has not learned from them. The gains are the
    challenger's less the champion's, with their paired 95 % bootstrap intervals; the alert budget is the share of the
    rows that the champion flags. Without a champion only the calibration is judged.
    """
    _check_columns(rows, challenger, declared)
    objections = _contract_objections(champion, challenger)
    objections += _learned_from(challenger, rows[declared.time].min())
    scorers = [challenger, champion] if champion else [challenger]
    taken, probabilities, flagged = _scored(scorers, rows)
    labels = rows[declared.label].to_numpy()[taken]
    if not 0 < labels.sum() < len(labels):
        lack = (
            f"the window has {labels.sum():,} frauds in {len(labels):,} rows that both take; a gate needs both classes"
        )
        return GateVerdict(GateMeasures(rows=len(labels)), (*objections, lack))
    if len(rows) - len(labels) > MAX_LEFT_OUT * len(rows):
        objections.append(
            f"{len(rows) - len(labels):,} of the window's {len(rows):,} rows are not requests that both take"
        )
    agreed = agreed_rate(champion.bundle.baseline["score"]) if champion else 0.0
    verdict = weigh(probabilities, flagged, labels, agreed=agreed, seed=declared.seed)
    window = {
        "window": (timestamp_text(rows[declared.time].min()), timestamp_text(rows[declared.time].max())),
        "rows": len(labels),
        "frauds": int(labels.sum()),
        "left_out": len(rows) - len(labels),
    }
    measured = verdict.measured.model_copy(update=window).rounded()
    return GateVerdict(measured, (*objections, *verdict.objections))


def agreed_rate(score: Mapping[str, Any]) -> float:
    """The alert rate that people agreed to: what a champion flagged of the rows that its threshold was chosen on."""
    return float(score["flagged"] / score["rows"])


def weigh(
    probabilities: list[Floats], flagged: list[Floats], labels: Labels, *, agreed: float, seed: int
) -> GateVerdict:
    """The verdict on rows of both classes, by the answers alone.

    `probabilities` and `flagged` are the challenger's, then, where there is one, the champion's. Its agreed alert rate
    counts where it flags less by now, because it may have become blind to fraud that changed.
    """
    error, low = _calibration(probabilities[0], labels, seed)
    limit = MAX_CALIBRATION_SHARE * float(labels.mean())
    calibration_error = ChallengerCalibration(challenger=error, low=low, limit=limit)
    objections: list[str] = []
    if low > limit:
        objections.append(
            f"its calibration error is {error:.2g}, at least {low:.2g} by its interval; {limit:.2g} is the limit"
        )
    rate, *champion_rate = (float(flags.mean()) for flags in flagged)
    if not champion_rate:
        rates = AlertRates(challenger=rate)
        return GateVerdict(GateMeasures(alert_rate=rates, calibration_error=calibration_error), tuple(objections))
    (budget,) = champion_rate
    gains = _gains(probabilities, flagged, labels, budget, seed=seed)
    objections += _alert_objections(rate, budget, agreed, len(labels))
    objections += [
        f"its {name.replace('_', ' ')} is {gain.challenger:.3f}, the champion's {gain.champion:.3f}: "
        f"{gain.gain:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        for name, gain in gains.items()
        if gain.high < 0
    ]
    rates = AlertRates(challenger=rate, champion=budget)
    measured = GateMeasures(alert_rate=rates, calibration_error=calibration_error).model_copy(update=gains)
    return GateVerdict(measured, tuple(objections))


def _alert_objections(rate: float, champion_rate: float, agreed: float, n_rows: int) -> list[str]:
    """An objection where the challenger flags significantly more than the champion does, or was meant to."""
    if share_interval(rate * n_rows, n_rows)[0] <= MAX_ALERT_RATIO * max(champion_rate, agreed):
        return []
    meant = f", and was meant to flag {agreed:.2%}" if agreed > champion_rate else ""
    return [f"it flags {rate:.2%} of the rows, the champion {champion_rate:.2%}{meant}"]


def _contract_objections(champion: Scorer | None, challenger: Scorer) -> list[str]:
    changes = breaking_changes(champion.contract, challenger.contract) if champion else []
    return [f"its contract is not the champion's: {change}" for change in changes]


def _learned_from(challenger: Scorer, first: float) -> list[str]:
    """An objection where the window begins before the end of the rows that chose the challenger's threshold."""
    end = challenger.bundle.manifest["windows"]["calibrate"]["to"]
    if first < EARLIEST_DATE or first >= pd.Timestamp(end).timestamp():
        return []
    return [f"it has learned from rows of this window, which begins {timestamp_text(first)}; its own rows end {end}"]


def _check_columns(rows: pd.DataFrame, challenger: Scorer, declared: ScorerDeclaration) -> None:
    """Raise DataError where the rows are not as `prepare` leaves them."""
    needed = [declared.time, declared.label, *challenger.contract.inputs]
    if missing := sorted(set(needed) - set(rows.columns)):
        raise DataError(
            f"the rows have no {', '.join(missing)}; they must be the scorer's own, as `prepare` leaves them"
        )
    if not (is_numeric_dtype(rows[declared.time]) and is_numeric_dtype(rows[declared.label])):
        raise DataError(
            f"{declared.time} and {declared.label} must be numbers (seconds; 0 and 1), as `prepare` leaves them"
        )


def _scored(scorers: Sequence[Scorer], rows: pd.DataFrame) -> tuple[pd.Index, list[Floats], list[Floats]]:
    """The positions of the rows that all scorers accept; per scorer its probabilities of these, and its decisions."""
    rows = rows.reset_index(drop=True)
    answers = [answer_rows(scorer, _as_file(rows, scorer.contract)).answered for scorer in scorers]
    accepted = answers[0].index
    for answered in answers[1:]:
        accepted = accepted.intersection(answered.index)
    kept = [answered.loc[accepted] for answered in answers]
    probabilities = [answered["fraud_probability"].to_numpy(np.float64) for answered in kept]
    return accepted, probabilities, [answered["is_flagged"].to_numpy(np.float64) for answered in kept]


def _as_file(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The contract's inputs of prepared rows as a file holds them: dates as dates, not as seconds."""
    inputs = rows[rows.columns.intersection([*contract.inputs])]
    dates = [name for name in inputs if name in contract.fields and contract.fields[name].type == "date"]
    return inputs.assign(**{name: dates_of(inputs[name]) for name in dates})


def _calibration(probability: Floats, label: Labels, seed: int) -> tuple[float, float]:
    """The calibration error, and the lower end of its interval.

    An error grows with noise, and bootstrap draws are noisier than the rows, so they are shifted to be centred on it.
    """
    bins = calibration_bins(probability)
    error = expected_calibration_error(probability, label, bins)
    drawn = bootstrap(
        lambda weight: np.array([expected_calibration_error(probability, label, bins, weight)]), label, seed=seed
    )
    ((low, _),) = interval(np.maximum(drawn - np.median(drawn) + error, 0.0))
    return error, low


def _gains(
    probabilities: list[Floats], flagged: list[Floats], label: Labels, budget: float, *, seed: int
) -> dict[str, Gain]:
    """The gain of each of GAINS; `budget` is the champion's alert rate."""
    rankings = [rank(probability, label) for probability in probabilities]

    def measured(weight: Floats) -> Floats:
        metrics = []
        for ranking, flags in zip(rankings, flagged, strict=True):
            frauds, legitimate = ranking.counts(weight)
            alerts = frauds + legitimate
            within = int(np.searchsorted(alerts, budget * alerts[-1] * (1 + 1e-12), side="right")) - 1
            caught = float((weight * flags * label).sum() / frauds[-1])
            metrics += [average_precision(frauds, legitimate), float(frauds[within] / frauds[-1]), caught]
        return np.array(metrics)

    whole = measured(np.ones(len(label)))
    drawn = bootstrap(measured, label, seed=seed)
    n = len(GAINS)
    bounds = interval(drawn[:, :n] - drawn[:, n:])
    return {
        name: Gain(
            challenger=float(whole[index]),
            champion=float(whole[index + n]),
            gain=float(whole[index] - whole[index + n]),
            low=bounds[index][0],
            high=bounds[index][1],
        )
        for index, name in enumerate(GAINS)
    }
