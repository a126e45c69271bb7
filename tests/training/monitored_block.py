"""A block of a monitor's report for tests."""

import json
from typing import Any

from training.report.monitor_report import JudgedBlock

CALM_FEATURE = {"psi": 0.01, "p_value": 0.5, "missing": 0.1, "baseline_missing": 0.1}
_ESTIMATE = {
    "precision": 0.5,
    "recall": 0.9,
    "recall_deviation": 0.001,
    "average_precision": 0.6,
    "fraud_rate": 0.05,
}
_CALM: dict[str, Any] = {
    "from": 1_750_000_000,
    "to": 1_750_604_800,
    "rows": 10_000,
    "predictions": 10_000,
    "versions": ["a"],
    "alert_rate": 0.05,
    "baseline_alert_rate": 0.05,
    "warned": 0.01,
    "milliseconds_p99": 0.4,
    "score": {"psi": 0.01, "p_value": 0.5},
    "features": {"amount": CALM_FEATURE},
    "estimated": _ESTIMATE,
    "baseline_estimated": _ESTIMATE,
    "baseline_recall": 0.9,
    "baseline_caught": 900,
    "baseline_frauds": 1_000,
    "baseline_fraud_rate": 0.05,
    "measured": {
        "labelled": 2_000,
        "frauds": 100,
        "alerts": 120,
        "caught": 90,
        "expected_frauds": 100.0,
        "recall": 0.9,
        "recall_interval": [0.8, 0.95],
        "precision": 0.75,
        "precision_interval": [0.6, 0.85],
        "average_precision": 0.6,
    },
    "verdict": "ok",
    "reasons": [],
}


def monitored_block(**changes: Any) -> JudgedBlock:  # noqa: ANN401 - whatever a block holds
    """A block without any reason for an alarm, with changes to its JSON; changes to a record are merged into it."""
    content = dict(_CALM)
    for name, value in changes.items():
        is_record = name in {"score", "estimated", "baseline_estimated", "measured"}
        content[name] = _CALM[name] | value if is_record else value
    return JudgedBlock.model_validate_json(json.dumps(content))
