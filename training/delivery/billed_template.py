"""What determines a deployment's cost in template.yaml: sizes, retention days, and the metrics that alarms read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from training.delivery.template import TEMPLATE

ALWAYS = ""


@dataclass(frozen=True, slots=True)
class BilledTemplate:
    """Defaults of parameters, and counts of resources."""

    memory_mb: int
    store_seconds: float
    log_days: int
    prediction_days: int
    access_format: str
    alarm_metrics: Mapping[str, int]
    """How many metrics the alarms read, by the condition under which they exist; ALWAYS for those without one.

    An alarm is billed per metric that it reads (Amazon CloudWatch Pricing, "Alarms").
    """


def billed_template(path: Path = TEMPLATE) -> BilledTemplate:
    """The values of a template that determine its cost."""
    # The round-trip loader, because the safe one refuses CloudFormation's tags.
    template = YAML().load(path)
    defaults = {name: about["Default"] for name, about in template["Parameters"].items()}
    resources = template["Resources"]
    metrics = Counter[str]()
    for resource in resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            metrics[str(resource.get("Condition", ALWAYS))] += _metrics_read(resource["Properties"])
    return BilledTemplate(
        memory_mb=int(defaults["MemorySize"]),
        store_seconds=float(defaults["StoreSeconds"]),
        log_days=int(defaults["LogRetentionDays"]),
        prediction_days=int(defaults["PredictionLogDays"]),
        access_format=str(resources["HttpStage"]["Properties"]["AccessLogSettings"]["Format"]),
        alarm_metrics=dict(metrics),
    )


def _metrics_read(alarm: Mapping[str, Any]) -> int:
    """How many metrics an alarm reads: one, or those that its expression takes."""
    return sum("MetricStat" in metric for metric in alarm["Metrics"]) if "Metrics" in alarm else 1
