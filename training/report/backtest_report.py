"""The backtest's report: what each policy would have caught and cost, week by week and in total."""

import pandas as pd
from pydantic import Field

from training.data.times import timestamp_text
from training.report.markdown import number, percent, percent_within, table
from training.report.record import ReportRecord

WEEK_COLUMNS = (
    "state",
    "retrained",
    "rows",
    "frauds",
    "alerts",
    "caught",
    "caught_at_frozen_alerts",
    "average_precision",
)


class WeekEstimate(ReportRecord):
    """Performance as calibrated scores predict it, without labels."""

    recall: float
    precision: float
    average_precision: float


class Week(ReportRecord):
    """A week as the model that served in it scored its rows."""

    begins: int = Field(validation_alias="from", serialization_alias="from")
    """In seconds."""
    state: str
    """What the monitor said as the week began."""
    retrained: bool
    refused: str | None
    """Why no new model took over although the policy asked for one."""
    learned_until: int
    rows: int
    frauds: int
    alerts: int
    caught: int
    caught_at_frozen_alerts: int
    """Frauds among the riskiest rows, at most as many as the frozen model flagged in this week."""
    fraud_entities: tuple[tuple[int, bool], ...] = Field(default=(), exclude=True)
    """If an entity is declared, each fraud's entity number and whether it is one of those above; not reported."""
    average_precision: float | None
    estimated: WeekEstimate
    missed: float | None = None
    """The amount of the frauds that were not flagged; like `cost`, set only if costs are declared."""
    cost: float | None = None


class PolicyTotal(ReportRecord):
    """The totals of a policy's weeks; the recall at the frozen model's alerts has its 95 % interval."""

    weeks: int
    retrained: int
    rows: int
    frauds: int
    alerts: int
    caught: int
    caught_at_frozen_alerts: int
    recall: float | None
    precision: float | None
    alert_rate: float
    recall_at_frozen_alerts: float | None
    recall_at_frozen_alerts_interval: tuple[float, float]
    average_precision: float | None
    """The mean of the weeks that have both classes."""
    refused: int
    missed: float | None = None
    cost: float | None = None


class PolicyReport(ReportRecord):
    """What a policy would have done."""

    total: PolicyTotal
    weeks: tuple[Week, ...]


class BacktestReport(ReportRecord):
    """What each policy would have done over the same weeks."""

    scorer: str = ""
    begins: str = Field(validation_alias="from", serialization_alias="from")
    weeks: int
    every_weeks: int
    label_delay_days: float
    policies: dict[str, PolicyReport]

    @property
    def has_costs(self) -> bool:
        """Whether the scorer declares costs."""
        return all(policy.total.cost is not None for policy in self.policies.values())


def week_table(report: BacktestReport) -> pd.DataFrame:
    """One line per policy and week, for DVC's plots and a spreadsheet."""
    return pd.DataFrame(
        [
            {
                "policy": name,
                "week": timestamp_text(week.begins),
                **{column: getattr(week, column) for column in WEEK_COLUMNS},
            }
            for name, policy in report.policies.items()
            for week in policy.weeks
        ]
    )


def backtest_lines(report: BacktestReport) -> str:
    """The policies' totals for a terminal."""
    lines = [f"{'policy':12} retrained refused  alerts  recall  at the frozen model's alerts       cost"]
    for name, policy in report.policies.items():
        sums = policy.total
        recall, recall_at_frozen_alerts = (
            "unknown" if share is None else f"{share:.3f}" for share in (sums.recall, sums.recall_at_frozen_alerts)
        )
        cost = "" if sums.cost is None else f"{sums.cost:10,.0f}"
        lines.append(
            f"{name:12} {sums.retrained:9} {sums.refused:7} {sums.alerts:7,} {recall:>7} "
            f"{recall_at_frozen_alerts:>29} {cost}"
        )
    return "\n".join(lines)


def backtest_table(report: BacktestReport) -> str:
    """One line per policy, as Markdown."""
    headers = [
        "policy",
        "retrained",
        "refused",
        "flagged",
        "recall",
        "precision",
        "recall at the frozen model's alerts",
    ]
    headers += ["missed", "cost"] if report.has_costs else []
    rows = []
    for name, policy in report.policies.items():
        sums = policy.total
        row = [name, str(sums.retrained), str(sums.refused), percent(sums.alert_rate)]
        row += [_share(sums.recall), _share(sums.precision)]
        row.append(
            "unknown"
            if sums.recall_at_frozen_alerts is None
            else percent_within(sums.recall_at_frozen_alerts, *sums.recall_at_frozen_alerts_interval)
        )
        rows.append(
            row
            + ([number(sums.missed), number(sums.cost)] if sums.missed is not None and sums.cost is not None else [])
        )
    return table("l" + "r" * (len(headers) - 1), headers, rows)


def _share(value: float | None) -> str:
    return "unknown" if value is None else percent(value)
