"""Fills the tables, figures and answers of reports and bundles into README.md and docs/: `python -m benchmarks.pages`.

A table follows a line `<!-- table: NAME -->`, and an answer its `$ curl` line. `--check` changes nothing, and ends with
an error if a page is out of date.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.command import ROOT
from benchmarks.history.request import request_table
from benchmarks.history.table import history_table_table
from benchmarks.history.training import history_training_fact, history_training_table
from benchmarks.history.workers import workers_table
from benchmarks.monitoring.alarms import alarms_table
from benchmarks.monitoring.backtests import backtests_table, estimates_fact
from benchmarks.monitoring.control import control_table, retraining_table
from benchmarks.monitoring.cost import monitoring_fact
from benchmarks.monitoring.recording import recording_table
from benchmarks.quality.handbook import handbook_table
from benchmarks.quality.race import race_caption, race_table
from benchmarks.quality.recall_bound import recall_bound_table
from benchmarks.quality.resampling import resampling_table
from benchmarks.quality.shipped import candidates_table, metrics_table, thresholds_table
from benchmarks.quality.steps import steps_table
from benchmarks.quality.tuning_rows import tuning_rows_table
from benchmarks.quality.ulb import ulb_table
from benchmarks.releases.gate import gate_table
from benchmarks.releases.swaps import swaps_caption, swaps_table
from benchmarks.serving.cost_tables import (
    cost_options_table,
    cost_scale_table,
    cost_table,
    month_fact,
    prices_table,
)
from benchmarks.serving.figures import speed_table
from benchmarks.serving.footprint import memory_caption, memory_table
from benchmarks.serving.gateway import http_event
from benchmarks.serving.robustness import robustness_caption, robustness_table
from benchmarks.serving.speed import artifact_fact, speed_caption
from benchmarks.serving.whatif import whatif_table
from benchmarks.tables import report
from benchmarks.training.billion import billion_table, cost_fact
from benchmarks.training.repro import repro_fact
from benchmarks.training.stages import training_caption, training_table

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def _of(name: str, build: Callable[[dict[str, Any]], str]) -> str:
    """The text that `build` makes of a recorded report."""
    return build(report(name))


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
    """The head of a Markdown table and its rows with these titles."""
    head, rule, *rows = table.splitlines()
    by_title = {row.split(" | ")[0].removeprefix("| "): row for row in rows}
    return "\n".join([head, rule, *(by_title[title] for title in titles)])


TABLES: dict[str, Callable[[], str]] = {
    "quality_summary": lambda: summary(metrics_table(), QUALITY_SUMMARY),
    "speed_summary": lambda: summary(speed_table(report("serving.json")), SPEED_SUMMARY),
    "metrics": metrics_table,
    "candidates": candidates_table,
    "thresholds": thresholds_table,
    "handbook": partial(_of, "quality.json", handbook_table),
    "ulb": partial(_of, "quality.json", ulb_table),
    "race": partial(_of, "race.json", race_table),
    "resampling": partial(_of, "quality.json", resampling_table),
    "steps": partial(_of, "quality.json", steps_table),
    "tuning_rows": partial(_of, "quality.json", tuning_rows_table),
    "recall_bound": partial(_of, "quality.json", recall_bound_table),
    "speed": partial(_of, "serving.json", speed_table),
    "cost": cost_table,
    "cost_options": cost_options_table,
    "cost_scale": cost_scale_table,
    "memory": partial(_of, "footprint.json", memory_table),
    "prices": prices_table,
    "robustness": partial(_of, "robustness.json", robustness_table),
    "gate": partial(_of, "gate.json", gate_table),
    "swaps": partial(_of, "swaps.json", swaps_table),
    "alarms": partial(_of, "alarms.json", alarms_table),
    "control": partial(_of, "control.json", control_table),
    "retraining_control": partial(_of, "control.json", retraining_table),
    "whatif": partial(_of, "whatif.json", whatif_table),
    "recording": partial(_of, "recording.json", recording_table),
    "backtests": partial(_of, "backtests.json", backtests_table),
    "history_request": partial(_of, "history_request.json", request_table),
    "history_workers": partial(_of, "history_workers.json", workers_table),
    "history_table": partial(_of, "history_table.json", history_table_table),
    "history_training": partial(_of, "history_training.json", history_training_table),
    "training": partial(_of, "training.json", training_table),
    "billion": partial(_of, "training.json", billion_table),
}

# Figures within the pages' sentences: the pattern that finds each, and the function that builds it.
FACTS: dict[str, Callable[[], str]] = {
    r"`make bench` on .*": partial(_of, "serving.json", speed_caption),
    r"`make bench-cost` on .*": partial(_of, "footprint.json", memory_caption),
    r"A million requests in a month cost [\d.]+ USD \(.*?\)": month_fact,
    r"`make robust` on .*": partial(_of, "robustness.json", robustness_caption),
    r"`make swaps` on .* for a minute": partial(_of, "swaps.json", swaps_caption),
    r"AutoGluon [\d., ]+ had at most .*\(recorded on .*\)": partial(_of, "race.json", race_caption),
    r"[\d.]+ MB unzipped of Lambda's": partial(_of, "serving.json", artifact_fact),
    r"Monitoring [\d,]+ predictions .* of memory": partial(_of, "monitoring.json", monitoring_fact),
    r"`make bench-training` on [\d-]+, .* of .*(?=:)": partial(_of, "training.json", training_caption),
    r"The features' time grows with the power .* entity events": partial(
        _of, "history_training.json", history_training_fact
    ),
    r"`make bench-repro`: the handbook's .* GB": partial(_of, "repro.json", repro_fact),
    r"[\d.]+ hours of \d machines .* USD(?=, at)": partial(_of, "training.json", cost_fact),
    r"its mean absolute error over the handbook's weeks is .* of average precision": partial(
        _of, "backtests.json", estimates_fact
    ),
}

TABLE = re.compile(r"^(<!-- table: (\w+) -->\n)((?:\|.*\n)*)", flags=re.MULTILINE)
COMMAND = re.compile(r"^\$ (curl .*)\n((?:.+\n)+?)(?=\$|```)", flags=re.MULTILINE)


def answer_to(command: str) -> dict[str, Any]:
    """What the function answers to a curl command of a page."""
    from handler.app import handler  # noqa: PLC0415 - loads the bundles, which the tables do not need

    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http"))
    path, _, query = url.removeprefix("http://127.0.0.1:8000").partition("?")
    response = handler(http_event(path, json.loads(words[words.index("-d") + 1]), query=query), None)
    answer: dict[str, Any] = json.loads(response["body"])
    return answer


def as_shown(answer: dict[str, Any]) -> str:
    """An answer as the pages show it: on one line, or with a line per key and per reason."""
    if "reasons" not in answer:
        return json.dumps(answer) + "\n"
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items() if key != "reasons"]
    reasons = ",\n".join(f"  {json.dumps(reason)}" for reason in answer["reasons"])
    return "{\n" + ",\n".join([*lines, f' "reasons": [\n{reasons}\n ]']) + "\n}\n"


def filled(page: str) -> str:
    """A page with every table, fact and answer as they are now; raises KeyError for a table that no benchmark fills."""
    page = TABLE.sub(lambda match: match[1] + TABLES[match[2]]() + "\n", page)
    for pattern, fact in FACTS.items():
        page = re.sub(pattern, lambda _: fact(), page)  # noqa: B023 - called at once
    return COMMAND.sub(lambda match: f"$ {match[1]}\n{as_shown(answer_to(match[1]))}", page)


def faults(pages: Sequence[str]) -> list[str]:
    """The tables and sentences that are missing from the pages, or that no benchmark fills, a sentence each."""
    text = "".join(pages)
    marked = re.findall(r"<!-- table: (\w+) -->", text)
    return [
        *(
            f"no benchmark fills the table {name}; benchmarks/pages.py has {', '.join(sorted(TABLES))}"
            for name in sorted(set(marked) - set(TABLES))
        ),
        *(
            f"no page has the table {name}; put <!-- table: {name} --> where it belongs"
            for name in sorted(set(TABLES) - set(marked))
        ),
        *(
            f"no page has a sentence that matches {pattern}; restore it, or remove the pattern from benchmarks/pages.py"
            for pattern in FACTS
            if not re.search(pattern, text)
        ),
    ]


def main(arguments: Sequence[str]) -> None:
    """Fill the pages; with `--check`, only end with an error if one of them is out of date."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    if sentences := faults(list(texts.values())):
        raise SystemExit("\n".join(sentences))
    stale = []
    for page, text in texts.items():
        if (content := filled(text)) != text:
            stale.append(page.name)
            if "--check" not in arguments:
                page.write_text(content, encoding="utf-8")
    if "--check" in arguments and stale:
        raise SystemExit(f"out of date with the reports: {', '.join(stale)}; run python -m benchmarks.pages")
    print(
        f"filled in: {', '.join(stale) or 'nothing had changed'}; check that the sentences around the tables still hold"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
