"""The gate: whether a challenger may take the champion's place, judged on the same rows by the function's own code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from pydantic import BaseModel, ValidationError

from handler.releases.compatibility import breaking_changes
from handler.scoring.scorer import Scorer
from training.data.requests import requests_of
from training.data.times import EARLIEST_DATE, timestamp_text
from training.declaration import ScorerDeclaration
from training.errors import StageError
from training.evaluation.intervals import bootstrap, interval, share_interval
from training.evaluation.metrics import average_precision, calibration_bins, expected_calibration_error, rank
from training.run.files import rounded
from training.run.matrix import Floats, Labels
from training.run.progress import progress

CHUNK = 1000
# Compared with the champion's: how it ranks, what it catches of as many alerts, and what it catches as it is set.
GAINS = ("average_precision", "recall_at_the_alert_budget", "recall")
# A model whose probabilities are off by half of what there is to predict ranks perhaps, but promises nothing.
MAX_CALIBRATION_SHARE = 0.5
# More alerts than that are a decision about people, not about a model.
MAX_ALERT_RATIO = 1.5
# Rows that one of the two does not take are left out for both; more of them, and the rest is no fair window.
MAX_LEFT_OUT = 0.01


class GateError(StageError):
    """Raised when rows are not those of the scorer."""


@dataclass(frozen=True)
class GateVerdict:
    """What was measured, and what of it speaks against the challenger."""

    measured: dict[str, Any]
    objections: list[str]


def judge_challenger(
    champion: Scorer | None, challenger: Scorer, rows: pd.DataFrame, declared: ScorerDeclaration
) -> GateVerdict:
    """The verdict on a challenger: it must rank and catch no worse than the champion, beyond chance, and be calibrated.

    `rows` are recent, with the declared columns, and the challenger has not learned from them. The gains are the
    challenger's less the champion's, with their paired 95 % bootstrap intervals; the alert budget is the share of the
    rows that the champion flags. Without a champion only the calibration is judged.
    """
    _check_columns(rows, challenger, declared)
    objections = [f"its contract is not the champion's: {broken}" for broken in _broken(champion, challenger)]
    objections += _learned_from(challenger, rows[declared.time].min())
    scorers = [challenger, champion] if champion else [challenger]
    taken, probabilities, flagged = _scored(scorers, rows)
    labels = rows[declared.label].to_numpy()[taken]
    if not 0 < labels.sum() < len(labels):
        lack = (
            f"the window has {labels.sum():,} frauds in {len(labels):,} rows that both take; a gate needs both classes"
        )
        return GateVerdict({"rows": len(labels)}, [*objections, lack])
    if len(rows) - len(labels) > MAX_LEFT_OUT * len(rows):
        objections.append(
            f"{len(rows) - len(labels):,} of the window's {len(rows):,} rows are not requests that both take"
        )
    agreed = agreed_rate(champion.bundle.baseline["score"]) if champion else 0.0
    measured, against = weigh(probabilities, flagged, labels, agreed=agreed, seed=declared.seed)
    described = {
        "window": [timestamp_text(rows[declared.time].min()), timestamp_text(rows[declared.time].max())],
        "rows": len(labels),
        "frauds": int(labels.sum()),
        "left_out": len(rows) - len(labels),
    }
    return GateVerdict(rounded(described | measured), [*objections, *against])


def agreed_rate(score: Mapping[str, Any]) -> float:
    """The alert rate that people agreed to: what a champion flagged of the rows that its threshold was chosen on."""
    return float(score["flagged"] / score["rows"])


def weigh(
    probabilities: list[Floats], flagged: list[Floats], labels: Labels, *, agreed: float, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """What is measured on rows of both classes, and what of it speaks against the challenger.

    `probabilities` and `flagged` are the challenger's, then, where there is one, the champion's, whose agreed alert
    rate counts where it flags less by now: fraud that changed may have left it blind.
    """
    objections: list[str] = []
    rates = {who: float(flags.mean()) for who, flags in zip(("challenger", "champion"), flagged, strict=False)}
    error, low = _calibration(probabilities[0], labels, seed)
    limit = MAX_CALIBRATION_SHARE * float(labels.mean())
    measured: dict[str, Any] = {
        "alert_rate": rates,
        "calibration_error": {"challenger": error, "low": low, "limit": limit},
    }
    if low > limit:
        objections.append(
            f"its calibration error is {error:.2g}, at least {low:.2g} by its interval; {limit:.2g} is the limit"
        )
    if "champion" in rates:
        budget, own = rates["champion"], rates["challenger"]
        usual = max(budget, agreed)
        if share_interval(own * len(labels), len(labels))[0] > MAX_ALERT_RATIO * usual:
            meant = f", and was meant to flag {agreed:.2%}" if agreed > budget else ""
            objections.append(f"it flags {own:.2%} of the rows, the champion {budget:.2%}{meant}")
        gains = _gains(probabilities, flagged, labels, budget, seed=seed)
        measured |= gains
        for name, gain in gains.items():
            if gain["high"] < 0:
                objections.append(
                    f"its {name.replace('_', ' ')} is {gain['challenger']:.3f}, the champion's {gain['champion']:.3f}: "
                    f"{gain['gain']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
                )
    return measured, objections


def _broken(champion: Scorer | None, challenger: Scorer) -> list[str]:
    return breaking_changes(champion.contract, challenger.contract) if champion else []


def _learned_from(challenger: Scorer, first: float) -> list[str]:
    """An objection where the window begins before the rows end that chose the challenger's threshold."""
    known_until = challenger.bundle.manifest["windows"]["calibrate"]["to"]
    if first < EARLIEST_DATE or first >= pd.Timestamp(known_until).timestamp():
        return []
    return [
        f"it has learned from rows of this window, which begins {timestamp_text(first)}; its own rows end {known_until}"
    ]


def _check_columns(rows: pd.DataFrame, challenger: Scorer, declared: ScorerDeclaration) -> None:
    """Raise GateError where the rows are not as `prepare` leaves them."""
    needed = [declared.time, declared.label, *challenger.contract.fields]
    if missing := sorted(set(needed) - set(rows.columns)):
        raise GateError(
            f"the rows have no {', '.join(missing)}; they must be the scorer's own, as `prepare` leaves them"
        )
    if not (is_numeric_dtype(rows[declared.time]) and is_numeric_dtype(rows[declared.label])):
        raise GateError(
            f"{declared.time} and {declared.label} must be numbers (seconds; 0 and 1), as `prepare` leaves them"
        )


def _scored(scorers: list[Scorer], rows: pd.DataFrame) -> tuple[list[int], list[Floats], list[Floats]]:
    """Which rows all scorers take; per scorer its probability of each of these, and whether it flags it."""
    parsed = [list(progress(_parsed(scorer, rows), "rows read", total=len(rows))) for scorer in scorers]
    taken = [index for index, of_all in enumerate(zip(*parsed, strict=True)) if all(of_all)]
    probabilities, flags = [], []
    for scorer, own in zip(scorers, parsed, strict=True):
        kept = [own[index] for index in taken]
        chunks = range(0, len(kept), CHUNK)
        made = [one for start in chunks for one in scorer.scores([r for r in kept[start : start + CHUNK] if r])]
        probabilities.append(np.array([one.probability for one in made]))
        flags.append(np.array([one.is_flagged for one in made], dtype=np.float64))
    return taken, probabilities, flags


def _parsed(scorer: Scorer, rows: pd.DataFrame) -> Iterator[BaseModel | None]:
    """Each row as a request of the scorer's own contract, None where it is none."""
    for request in requests_of(rows, scorer.contract):
        try:
            yield scorer.request_model.model_validate(request)
        except ValidationError:
            yield None


def _calibration(probability: Floats, label: Labels, seed: int) -> tuple[float, float]:
    """The calibration error, and the lower end of its interval.

    Draws are noisier than the rows, which an error only grows with; without that bias they are centred on it.
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
) -> dict[str, dict[str, float]]:
    """Both models' GAINS, the alert budget being a share of the rows, with the interval of the difference."""
    rankings = [rank(probability, label) for probability in probabilities]

    def measured(weight: Floats) -> Floats:
        found = []
        for ranking, own in zip(rankings, flagged, strict=True):
            frauds, legitimate = ranking.counts(weight)
            alerts = frauds + legitimate
            within = int(np.searchsorted(alerts, budget * alerts[-1] * (1 + 1e-12), side="right")) - 1
            caught = float((weight * own * label).sum() / frauds[-1])
            found += [average_precision(frauds, legitimate), float(frauds[within] / frauds[-1]), caught]
        return np.array(found)

    whole = measured(np.ones(len(label)))
    drawn = bootstrap(measured, label, seed=seed)
    n = len(GAINS)
    bounds = interval(drawn[:, :n] - drawn[:, n:])
    return {
        name: {
            "challenger": float(whole[index]),
            "champion": float(whole[index + n]),
            "gain": float(whole[index] - whole[index + n]),
            "low": bounds[index][0],
            "high": bounds[index][1],
        }
        for index, name in enumerate(GAINS)
    }
