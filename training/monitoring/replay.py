"""Replay: history week by week, each policy with the model that it would have had, by the labels known until then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from training.data.times import timestamp_text
from training.declaration import ScorerDeclaration
from training.delivery.gate import agreed_rate, weigh
from training.errors import StageError
from training.evaluation.intervals import share_interval
from training.evaluation.metrics import average_precision, rank
from training.monitoring.blocks import estimated
from training.monitoring.dated_model import DatedModel, ScoredRows, model_at, state_of
from training.params import SECONDS_A_DAY, Model
from training.run.progress import progress, say

SECONDS_A_WEEK = 7 * SECONDS_A_DAY


class ReplayError(StageError):
    """Raised when there is no history to replay."""


# Whether a policy retrains as a week begins: of the week's number, what the monitor says, and every how many weeks.
POLICIES: Mapping[str, Callable[[int, str, int], bool]] = {
    "frozen": lambda _week, _state, _every: False,
    "scheduled": lambda week, _state, every: week > 0 and week % every == 0,
    "on retrain": lambda _week, state, _every: state == "retrain",
    "on watch": lambda _week, state, _every: state != "ok",
}


@dataclass
class Replay:
    """History, and the models made of it so far: policies that retrain on one day share one."""

    rows: pd.DataFrame
    """Checked rows in order of time, as `training.prepare.check_rows` gives them."""
    scorer: ScorerDeclaration
    parameters: Model
    catalogue: pd.DataFrame
    start: float
    every: int = 4
    models: dict[float, DatedModel] = field(default_factory=dict)

    @property
    def begins(self) -> list[float]:
        """The first moment of each whole week that has rows."""
        seconds = self.rows[self.scorer.time].to_numpy()
        n_weeks = max(int((seconds[-1] - self.start) // SECONDS_A_WEEK), 0)
        edges = self.start + SECONDS_A_WEEK * np.arange(n_weeks + 1)
        has_rows = np.diff(np.searchsorted(seconds, edges)) > 0
        if not has_rows.any():
            raise ReplayError(
                f"no whole week from {timestamp_text(self.start)} on has rows; the last row is of "
                f"{timestamp_text(seconds[-1])}; begin earlier"
            )
        found: list[float] = edges[:-1][has_rows].tolist()
        return found

    def model(self, at: float) -> DatedModel:
        """The model of a moment; raises a StageError where there is none."""
        if at not in self.models:
            self.models[at] = model_at(at, self.rows, self.scorer, self.parameters, self.catalogue)
            until = timestamp_text(self.models[at].learned_until)
            say(f"{timestamp_text(at)}: a model was trained on the rows until {until}")
        return self.models[at]

    def challenge(self, champion: DatedModel, at: float) -> tuple[DatedModel, str | None]:
        """The model that serves from a moment on, and what spoke against a new one."""
        try:
            challenger = self.model(at)
        except StageError as error:
            return champion, str(error)
        scored = [one.scored(challenger.window, self.scorer) for one in (challenger, champion)]
        _, objections = weigh(
            [one.probability for one in scored],
            [one.flagged.astype(np.float64) for one in scored],
            scored[0].label,
            agreed=agreed_rate(champion.baseline["score"]),
            seed=self.scorer.seed,
        )
        return (champion, "; ".join(objections)) if objections else (challenger, None)

    def run(self) -> dict[str, list[dict[str, Any]]]:
        """Per policy what it would have done, week by week; weeks without rows are left out, and not counted."""
        frozen = self._weeks("frozen", {})
        budgets = {week["from"]: week["alerts"] for week in frozen}
        return {"frozen": frozen, **{name: self._weeks(name, budgets) for name in POLICIES if name != "frozen"}}

    def _weeks(self, policy: str, budgets: Mapping[float, int]) -> list[dict[str, Any]]:
        weeks = self.begins
        try:
            current = self.model(self.start)
        except StageError as error:
            raise ReplayError(f"no first model can be made on {timestamp_text(self.start)}: {error}") from error
        seconds = self.rows[self.scorer.time].to_numpy()
        served: list[ScoredRows] = []
        found = []
        for week, begins in enumerate(progress(weeks, policy, total=len(weeks))):
            state = state_of(served, current, self.scorer, begins)
            before, refused = current, None
            if POLICIES[policy](week, state, self.every):
                current, refused = self.challenge(before, begins)
            if current is not before:
                served = []
            rows = self.rows.iloc[slice(*np.searchsorted(seconds, [begins, begins + SECONDS_A_WEEK]))]
            served.append(current.scored(rows, self.scorer))
            described = {
                # A whole number, which the report does not round: six digits of a date are some hours.
                "from": int(begins),
                "state": state,
                "retrained": current is not before,
                "refused": refused,
                "learned_until": int(current.learned_until),
            }
            found.append(described | _measured(served[-1], rows, self.scorer, budgets.get(int(begins))))
        return found


def _measured(scored: ScoredRows, rows: pd.DataFrame, scorer: ScorerDeclaration, budget: int | None) -> dict[str, Any]:
    """What became of a week; `budget` is how many alerts the frozen model raised in it."""
    label, flagged = scored.label, scored.flagged
    ranking = rank(scored.probability, label)
    frauds, legitimate = ranking.counts()
    alerts = int(flagged.sum())
    within = int(np.searchsorted(frauds + legitimate, (alerts if budget is None else budget) + 0.5)) - 1
    by_scores = estimated(scored.probability, flagged, np.ones(len(label)))
    found = {
        "rows": len(label),
        "frauds": int(label.sum()),
        "alerts": alerts,
        "caught": int(label[flagged].sum()),
        "caught_at_frozen_alerts": int(frauds[within]),
        "average_precision": average_precision(frauds, legitimate) if 0 < label.sum() < len(label) else None,
        "estimated": {name: by_scores[name] for name in ("recall", "precision", "average_precision")},
    }
    if scorer.costs:
        missed = float(rows[scorer.costs.amount].to_numpy()[(label == 1) & ~flagged].sum())
        found |= {"missed": missed, "cost": missed + scorer.costs.review * alerts}
    return found


def total(weeks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A policy's weeks together; recall with its 95 % interval (Wilson 1927)."""
    sums = {
        name: sum(week[name] for week in weeks)
        for name in ("retrained", "rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts")
    }
    frauds, caught = sums["frauds"], sums["caught_at_frozen_alerts"]
    known = [week["average_precision"] for week in weeks if week["average_precision"] is not None]
    found = {
        "weeks": len(weeks),
        **sums,
        "recall": sums["caught"] / frauds if frauds else None,
        "precision": sums["caught"] / sums["alerts"] if sums["alerts"] else None,
        "alert_rate": sums["alerts"] / sums["rows"],
        "recall_at_frozen_alerts": caught / frauds if frauds else None,
        "recall_at_frozen_alerts_interval": share_interval(caught, frauds),
        "average_precision": float(np.mean(known)) if known else None,
        "refused": sum(week["refused"] is not None for week in weeks),
    }
    return found | {name: sum(week[name] for week in weeks) for name in ("missed", "cost") if name in weeks[0]}
