"""Replays history week by week, each policy with models trained on only the labels that were known by then."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from handler.scoring.fields import SECONDS_A_DAY
from training.data.times import timestamp_text
from training.declaration import ScorerDeclaration
from training.delivery.weighing import JudgedRows, ModelAnswers, agreed_rate, weigh
from training.errors import DataError, StageError
from training.evaluation.cost import Money, costs_of
from training.evaluation.intervals import entity_groups, grouped_share_interval, share_interval
from training.evaluation.metrics import average_precision, rank
from training.monitoring.blocks import estimated
from training.monitoring.dated_model import DatedModel, ScoredRows, model_at, state_of
from training.params import Model
from training.report.backtest_report import BacktestReport, PolicyReport, PolicyTotal, Week, WeekEstimate
from training.run.matrix import Positions
from training.run.progress import progress, say

SECONDS_A_WEEK = 7 * SECONDS_A_DAY


# Whether a policy retrains as a week begins, given the week's number, the monitor's state and the schedule in weeks.
POLICIES: Mapping[str, Callable[[int, str, int], bool]] = {
    "frozen": lambda _week, _state, _every: False,
    "scheduled": lambda week, _state, every: week > 0 and week % every == 0,
    "on retrain": lambda _week, state, _every: state == "retrain",
    "on watch": lambda _week, state, _every: state in {"watch", "retrain"},
}


@dataclass
class Replay:
    """History, and the models trained on it so far; policies that retrain on the same day share one."""

    rows: pd.DataFrame
    """Checked rows in order of time, as `training.data.row_checks.check_rows` gives them."""
    scorer: ScorerDeclaration
    parameters: Model
    catalogue: pd.DataFrame
    start: float
    every: int = 4
    models: dict[float, DatedModel] = field(default_factory=dict)

    @cached_property
    def groups(self) -> Positions | None:
        """The number of each row's entity in the whole history; None if no entity is declared."""
        return entity_groups(self.rows[self.scorer.entity]) if self.scorer.entity else None

    @property
    def begins(self) -> list[float]:
        """The first second of each whole week that has rows."""
        seconds = self.rows[self.scorer.time].to_numpy()
        n_weeks = max(int((seconds[-1] - self.start) // SECONDS_A_WEEK), 0)
        edges = self.start + SECONDS_A_WEEK * np.arange(n_weeks + 1)
        has_rows = np.diff(np.searchsorted(seconds, edges)) > 0
        if not has_rows.any():
            raise DataError(
                f"no whole week from {timestamp_text(self.start)} on has rows; the last row is dated "
                f"{timestamp_text(seconds[-1])}; begin earlier"
            )
        begins: list[float] = edges[:-1][has_rows].tolist()
        return begins

    def model(self, at: float) -> DatedModel:
        """The model of a date; raises a StageError if none can be trained on the rows known by then."""
        if at not in self.models:
            self.models[at] = model_at(at, self.rows, self.scorer, self.parameters, self.catalogue)
            until = timestamp_text(self.models[at].learned_until)
            say(f"{timestamp_text(at)}: a model was trained on the rows until {until}")
        return self.models[at]

    def challenge(
        self, champion: DatedModel, at: float, best: DatedModel | None = None
    ) -> tuple[DatedModel, DatedModel, str | None]:
        """The model that serves from a date on, the best one so far, and why no new model took over (None if one did).

        `best` is the best model so far according to the last challenge, if that is not the champion.
        """
        best = best or champion
        try:
            challenger = self.model(at)
        except StageError as error:
            return champion, best, str(error)
        rows, scorer = challenger.window, self.scorer
        models = {timestamp_text(model.at): model for model in (challenger, champion, best)}
        begins = float(rows[scorer.time].min())
        answers = {
            name: _answers(name, (model.judged if model.learned_until >= begins else model).scored(rows, scorer))
            for name, model in models.items()
        }
        groups = entity_groups(rows[scorer.entity]) if scorer.entity else None
        verdict = weigh(
            answers[timestamp_text(challenger.at)],
            answers[timestamp_text(champion.at)],
            answers[timestamp_text(best.at)] if best is not champion else None,
            JudgedRows(rows[scorer.label].to_numpy(np.int8), scorer.gate, scorer.seed, groups),
            agreed=agreed_rate(champion.baseline["score"]),
            policy=scorer.decision.flagging,
        )
        if verdict.reasons:
            return champion, best, "; ".join(verdict.reasons)
        return challenger, models[str(verdict.measured.best)], None

    def run(self) -> dict[str, list[Week]]:
        """Each policy's weeks; those without rows are left out, and the schedule does not count them."""
        frozen = self._weeks("frozen", {})
        budgets = {week.begins: week.alerts for week in frozen}
        return {"frozen": frozen, **{name: self._weeks(name, budgets) for name in POLICIES if name != "frozen"}}

    def _weeks(self, policy: str, budgets: Mapping[int, int]) -> list[Week]:
        weeks = self.begins
        try:
            current = self.model(self.start)
        except StageError as error:
            raise DataError(f"no first model can be trained on {timestamp_text(self.start)}: {error}") from error
        seconds = self.rows[self.scorer.time].to_numpy()
        best = current
        served: list[ScoredRows] = []
        described = []
        for number, begins in enumerate(progress(weeks, policy, total=len(weeks))):
            state = state_of(served, current, self.scorer, begins)
            before, refused = current, None
            if POLICIES[policy](number, state, self.every):
                current, best, refused = self.challenge(before, begins, best)
            if current is not before:
                served = []
            week = slice(*np.searchsorted(seconds, [begins, begins + SECONDS_A_WEEK]))
            rows, groups = self.rows.iloc[week], None if self.groups is None else self.groups[week]
            served.append(current.scored(rows, self.scorer))
            counts = _counts(served[-1], rows, self.scorer, budgets.get(int(begins)), groups)
            described.append(
                Week(
                    begins=int(begins),
                    state=state,
                    retrained=current is not before,
                    refused=refused,
                    learned_until=int(current.learned_until),
                    **counts,
                )
            )
        return described


def _answers(name: str, scored: ScoredRows) -> ModelAnswers:
    return ModelAnswers(name, scored.probability, scored.flagged)


def _counts(
    scored: ScoredRows, rows: pd.DataFrame, scorer: ScorerDeclaration, budget: int | None, groups: Positions | None
) -> dict[str, Any]:
    """The fields of a `Week` that say what its model did; `budget` is how many alerts the frozen model raised.

    `groups` holds the number of each row's entity, if one is declared.
    """
    label, flagged = scored.label, scored.flagged
    ranking = rank(scored.probability, label)
    frauds, legitimate = ranking.counts()
    alerts = int(flagged.sum())
    within = int(np.searchsorted(frauds + legitimate, (alerts if budget is None else budget) + 0.5)) - 1
    estimate = estimated(scored.probability, flagged, np.ones(len(label)))
    counts: dict[str, Any] = {
        "rows": len(label),
        "frauds": int(label.sum()),
        "alerts": alerts,
        "caught": int(label[flagged].sum()),
        "caught_at_frozen_alerts": int(frauds[within]),
        "average_precision": average_precision(frauds, legitimate) if 0 < label.sum() < len(label) else None,
        "estimated": WeekEstimate(
            recall=estimate.recall, precision=estimate.precision, average_precision=estimate.average_precision
        ),
    }
    if scorer.costs:
        parts = costs_of(label, flagged, scored.blocked, Money(rows[scorer.costs.amount].to_numpy(), scorer.costs))
        counts |= {"missed": parts["missed"], "cost": sum(parts.values())}
    if groups is not None:
        is_fraud = label == 1
        is_within = scored.probability >= (ranking.threshold_at(within) if within else np.inf)
        counts |= {"fraud_entities": tuple(zip(groups[is_fraud].tolist(), is_within[is_fraud].tolist(), strict=True))}
    return counts


def policy_total(weeks: Sequence[Week]) -> PolicyTotal:
    """The totals of a policy's weeks; the interval of the recall is Wilson's (1927), by entity if one is declared."""
    sums = {
        name: sum(getattr(week, name) for week in weeks)
        for name in ("retrained", "rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts")
    }
    has_costs = weeks[0].cost is not None
    costs = {name: sum(getattr(week, name) for week in weeks) for name in ("missed", "cost") if has_costs}
    frauds, caught = sums["frauds"], sums["caught_at_frozen_alerts"]
    bounds = share_interval(caught, frauds)
    if outcomes := [outcome for week in weeks for outcome in week.fraud_entities]:
        groups, is_caught = map(np.array, zip(*outcomes, strict=True))
        bounds = grouped_share_interval(is_caught, np.ones(len(is_caught), dtype=bool), groups)
    precisions = [week.average_precision for week in weeks if week.average_precision is not None]
    return PolicyTotal(
        weeks=len(weeks),
        **sums,
        recall=sums["caught"] / frauds if frauds else None,
        precision=sums["caught"] / sums["alerts"] if sums["alerts"] else None,
        alert_rate=sums["alerts"] / sums["rows"],
        recall_at_frozen_alerts=caught / frauds if frauds else None,
        recall_at_frozen_alerts_interval=bounds,
        average_precision=float(np.mean(precisions)) if precisions else None,
        refused=sum(week.refused is not None for week in weeks),
        **costs,
    )


def replay_report(replay: Replay) -> BacktestReport:
    """What each policy would have done, in total and week by week."""
    return BacktestReport(
        begins=timestamp_text(replay.start),
        weeks=len(replay.begins),
        every_weeks=replay.every,
        label_delay_days=replay.scorer.split.label_delay_days,
        policies={
            name: PolicyReport(total=policy_total(weeks), weeks=tuple(weeks)) for name, weeks in replay.run().items()
        },
    )
