"""A week of a replay for tests."""

from typing import Any

from training.monitoring.replay import SECONDS_A_WEEK
from training.report.backtest_report import Week, WeekEstimate

START = 1_741_132_800
"""2025-03-05T00:00:00, in UTC."""


def replayed_week(number: int = 0, **changes: Any) -> Week:  # noqa: ANN401 - whatever a week holds
    """A week of a replay, with some fields changed."""
    usual: dict[str, Any] = {
        "begins": START + number * SECONDS_A_WEEK,
        "state": "ok",
        "retrained": False,
        "refused": None,
        "learned_until": START - 2 * SECONDS_A_WEEK,
        "rows": 1_000,
        "frauds": 40,
        "alerts": 80,
        "caught": 30,
        "caught_at_frozen_alerts": 30,
        "average_precision": 0.5,
        "estimated": WeekEstimate(recall=0.7, precision=0.4, average_precision=0.5),
        "missed": 1_234.5,
        "cost": 1_394.5,
    }
    return Week(**usual | changes)
