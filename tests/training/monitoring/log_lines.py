"""Lines of a prediction log for tests, and the binning of their features."""

from typing import Any

from handler.records.record import FORMAT
from training.monitoring.binning import Binning

START = 1_750_000_000.0
FEATURES: dict[str, Any] = {
    "amount": {"edges": [0.0, 1.0, 2.0], "counts": [1] * 5},
    "country": {"labels": ["other", "DE", "NA"], "counts": [1] * 4},
}
BINNING = Binning(FEATURES)
METRICS = {"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "Milliseconds": 3.2, "scorer": "mini"}


def prediction(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON can hold
    """The line of a prediction, with some keys changed."""
    return {
        "record": FORMAT,
        "time": START,
        "scorer": "mini",
        "version": "v1",
        "id": "a",
        "features": {"amount": 1.5, "country": "DE"},
        "probability": 0.25,
        "flagged": False,
        "reasons": [],
        "warnings": [],
        "milliseconds": 0.3,
    } | changes


def outcome(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON can hold
    """The line of an outcome, with some keys changed."""
    return {"outcome": FORMAT, "time": START, "scorer": "mini", "id": "a", "label": 1} | changes
