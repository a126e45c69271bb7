"""The backtest's report as one HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure

from training.data.times import timestamp_text
from training.report.axes import BLUE, GREY, INK, ORANGE, blank_axes
from training.report.backtest_report import BacktestReport, Week, backtest_table
from training.report.html import Picture, Section, page
from training.report.markdown import plain, table

LINES = {"frozen": (GREY, "-"), "scheduled": (BLUE, "-"), "on retrain": (ORANGE, "-"), "on watch": (INK, ":")}


def backtest_page(report: BacktestReport) -> str:
    """The whole page, self-contained."""
    weeks = {name: policy.weeks for name, policy in report.policies.items()}
    pictures = {
        "recall": Picture(
            "Recall, at the alerts of the frozen model",
            "One point per week, one line per policy: grey frozen, blue scheduled, orange on retrain, dotted on watch.",
            partial(draw_recall, weeks),
        ),
        "gain": Picture(
            "Frauds caught in addition to the frozen model's, at as many alerts, cumulative",
            "One point per week, one line per policy: grey frozen, blue scheduled, orange on retrain, dotted on watch.",
            partial(_gain, weeks),
        ),
    }
    sections = [
        Section(_head(report), ("recall", "gain")),
        Section("## Week by week\n\n" + _weekly(weeks)),
        Section("## What was retrained\n\n" + ("\n".join(_changes(weeks)) or "Nothing.") + "\n"),
    ]
    return page(f"Backtest: {report.scorer}", sections, pictures)


def _head(report: BacktestReport) -> str:
    return (
        f"# {plain(report.scorer)}: {report.weeks} weeks replayed from {report.begins}\n\n"
        f"Each model was trained on the rows whose labels were known by then ({report.label_delay_days:g} days late), "
        "and had to pass the gate. The policy frozen never retrains; scheduled retrains every "
        f"{report.every_weeks} weeks; on retrain, when the monitor's state is retrain; on watch, when it is watch or "
        "retrain.\n\n"
        f"{backtest_table(report)}\n"
    )


def _weekly(weeks: Mapping[str, Sequence[Week]]) -> str:
    headers = ["week from", "frauds"]
    for name in weeks:
        headers += [
            f"{name}: flagged",
            "caught",
            "at its alerts" if name == "frozen" else "at the frozen model's alerts",
        ]
    rows = []
    for line in zip(*weeks.values(), strict=True):
        row = [timestamp_text(line[0].begins)[:10], f"{line[0].frauds:,}"]
        for week in line:
            row += [f"{count:,}" for count in (week.alerts, week.caught, week.caught_at_frozen_alerts)]
        rows.append(row)
    return table("l" + "r" * (len(headers) - 1), headers, rows) + "\n"


def _changes(weeks: Mapping[str, Sequence[Week]]) -> Iterator[str]:
    for name, policy_weeks in weeks.items():
        for week in policy_weeks:
            if week.retrained or week.refused:
                learned = f"learned from rows until {timestamp_text(week.learned_until)[:10]}"
                line = f"refused: {plain(week.refused, longest=300)}" if week.refused else learned
                yield f"- {timestamp_text(week.begins)[:10]}, {name}: {line}"


def draw_recall(weeks: Mapping[str, Sequence[Week]]) -> Figure:
    """Each policy's recall at the frozen model's alerts, week by week."""
    figure, axes = blank_axes()
    for name, policy_weeks in weeks.items():
        shares = [week.caught_at_frozen_alerts / week.frauds if week.frauds else float("nan") for week in policy_weeks]
        color, line = LINES[name]
        axes.plot(shares, color=color, linestyle=line, marker="o" if name == "frozen" else None)
        _mark(axes, policy_weeks, shares, color)
    axes.set(ylim=(0, 1.02), xlabel="week", ylabel="recall")
    return figure


def _gain(weeks: Mapping[str, Sequence[Week]]) -> Figure:
    figure, axes = blank_axes()
    for name, policy_weeks in weeks.items():
        beyond = (
            week.caught_at_frozen_alerts - frozen.caught_at_frozen_alerts
            for week, frozen in zip(policy_weeks, weeks["frozen"], strict=True)
        )
        color, line = LINES[name]
        values = list(accumulate(beyond))
        axes.plot(values, color=color, linestyle=line)
        _mark(axes, policy_weeks, values, color)
    axes.set(xlabel="week", ylabel="frauds")
    return figure


def _mark(axes: Any, weeks: Sequence[Week], values: Sequence[float], color: str) -> None:  # noqa: ANN401 - matplotlib's
    """Draw a square where a new model begins to serve."""
    at = [place for place, week in enumerate(weeks) if week.retrained]
    axes.plot(at, [values[place] for place in at], color=color, linestyle="", marker="s")
