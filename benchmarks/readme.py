"""What the README and docs/ show of the reports and the bundles: `python -m benchmarks.readme` fills it in.

A table stands behind a line `<!-- table: NAME -->`; an answer stands below its `$ curl` line. `tests/test_pages.py`
compares the pages with what this module gives.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.readme_alarms import alarms_table
from benchmarks.readme_backtests import backtests_table, estimates_fact
from benchmarks.readme_monitoring import monitoring_fact, recording_table
from benchmarks.readme_quality import (
    candidates_table,
    handbook_table,
    metrics_table,
    recall_bound_table,
    resampling_table,
    thresholds_table,
    ulb_table,
)
from benchmarks.readme_serving import artifact_size, robustness_caption, robustness_table, speed_caption, speed_table
from benchmarks.readme_swaps import swaps_caption, swaps_table
from benchmarks.readme_training import billion_table, money_fact, repro_fact, training_caption, training_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))

# The rows of the full tables that the README repeats.
QUALITY_SUMMARY = (
    "ROC AUC",
    "average precision",
    "expected calibration error",
    "at the threshold: recall",
    "at the threshold: precision",
    "at the threshold: alert rate",
    "test rows",
    "of which fraud",
)
SPEED_SUMMARY = (
    "cold start: init in AWS's runtime emulator",
    "warm request, transaction: median",
    "warm request, refund: median",
    "requests a second, one worker on one core",
    "memory after the first answer",
    "artifact, unzipped",
)


def summary(table: str, titles: tuple[str, ...]) -> str:
    """The head of a Markdown table and its rows of these titles."""
    head, rule, *rows = table.splitlines()
    by_title = {row.split(" | ")[0].removeprefix("| "): row for row in rows}
    return "\n".join([head, rule, *(by_title[title] for title in titles)])


TABLES: dict[str, Callable[[], str]] = {
    "quality_summary": lambda: summary(metrics_table(), QUALITY_SUMMARY),
    "speed_summary": lambda: summary(speed_table(), SPEED_SUMMARY),
    "metrics": metrics_table,
    "candidates": candidates_table,
    "thresholds": thresholds_table,
    "handbook": handbook_table,
    "ulb": ulb_table,
    "resampling": resampling_table,
    "recall_bound": recall_bound_table,
    "speed": speed_table,
    "robustness": robustness_table,
    "swaps": swaps_table,
    "alarms": alarms_table,
    "recording": recording_table,
    "backtests": backtests_table,
    "training": training_table,
    "billion": billion_table,
}

# What stands in the README's sentences.
FACTS: dict[str, Callable[[], str]] = {
    r"`make bench` on .*": speed_caption,
    r"`make robust` on .*": robustness_caption,
    r"`make swaps` on .* for a minute": swaps_caption,
    r"[\d.]+ MB unzipped of Lambda's": artifact_size,
    r"Monitoring [\d,]+ predictions .* of memory": monitoring_fact,
    r"`make bench-training` on [\d-]+, .* of .*(?=:)": training_caption,
    r"`make bench-repro`: the handbook's .* GB": repro_fact,
    r"[\d.]+ hours of \d machines .* USD(?=, at)": money_fact,
    r"its mean absolute error over the handbook's weeks is .* of average precision": estimates_fact,
}

COMMAND = re.compile(r"^\$ (curl .*)\n((?:.+\n)+?)(?=\$|```)", flags=re.MULTILINE)


def answer_to(command: str) -> dict[str, Any]:
    """What the function answers to a curl command of the README."""
    from handler.app import handler  # noqa: PLC0415 - loads the bundles, which the tables do not need

    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http"))
    path, _, query = url.removeprefix("http://127.0.0.1:8000").partition("?")
    event = json.loads((ROOT / "tests" / "events" / "transaction.json").read_text())
    event["requestContext"]["http"]["path"] = event["rawPath"] = path
    given = handler({**event, "rawQueryString": query, "body": words[words.index("-d") + 1]}, None)
    answer: dict[str, Any] = json.loads(given["body"])
    return answer


def shown(answer: dict[str, Any]) -> str:
    """An answer as the README shows it: on one line, or with a line per key and per reason."""
    if "reasons" not in answer:
        return json.dumps(answer) + "\n"
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items() if key != "reasons"]
    reasons = ",\n".join(f"  {json.dumps(reason)}" for reason in answer["reasons"])
    return "{\n" + ",\n".join([*lines, f' "reasons": [\n{reasons}\n ]']) + "\n}\n"


def table_pattern(name: str) -> re.Pattern[str]:
    """Matches a table of the README: its marker, and its lines."""
    return re.compile(rf"(<!-- table: {name} -->\n)((?:\|.*\n)*)")


def filled(readme: str) -> str:
    """The README with every table, fact and answer as they are now."""
    for name, build in TABLES.items():
        readme = table_pattern(name).sub(lambda found: found[1] + build() + "\n", readme)  # noqa: B023 - called at once
    for pattern, fact in FACTS.items():
        readme = re.sub(pattern, lambda _: fact(), readme)  # noqa: B023 - called at once
    return COMMAND.sub(lambda found: f"$ {found[1]}\n{shown(answer_to(found[1]))}", readme)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{page} is filled in; look at its sentences too\n")
