"""The README's tables and shown answers from the reports and the bundles: `python -m benchmarks.readme` fills them in.

A table stands behind a line `<!-- table: NAME -->`; an answer stands below its `$ curl` line. `tests/test_readme.py`
holds the README to what this module gives.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SCORERS = ("transaction", "refund")
METRICS = (
    ("ROC AUC", "roc_auc"),
    ("average precision", "average_precision"),
    ("recall at 1 % false positive rate", "recall_at_1pct_fpr"),
    ("Brier score", "brier_score"),
    ("expected calibration error", "expected_calibration_error"),
    ("the same without recalibration", "expected_calibration_error_uncalibrated"),
    ("at the threshold: recall", "recall"),
    ("at the threshold: precision", "precision"),
    ("at the threshold: false positive rate", "false_positive_rate"),
    ("at the threshold: alert rate", "alert_rate"),
    ("cost of 1,000 requests, USD", "cost_of_1000"),
    ("test rows", "rows"),
    ("of which fraud", "frauds"),
)
SPEEDS = {
    "cold start: init in AWS's runtime emulator": "cold start: init in AWS's runtime emulator",
    "cold start: first import to first answer": "cold start: imports, bundles, first answer",
    "cold start: first answer alone": "of that, the first answer",
    "warm: transaction, p50": "warm request, transaction: median",
    "warm: transaction, p99": "99th percentile",
    "warm: refund, p50": "warm request, refund: median",
    "warm: transaction, with every reason, p50": "warm request, transaction, with every reason: median",
    "warm: transaction, in a batch of 100, each": "each request of a batch of 100",
    "requests a second under uvicorn, transaction": "requests a second, one worker on one core",
    "resident memory after the first answer": "memory after the first answer",
    "resident memory after the warm rounds": "memory after the warm requests",
    "artifact, unzipped": "artifact, unzipped",
}
SUBJECTS = {
    "ours": "this function",
    "echo": "FastAPI + Mangum echo",
    "xgboost": "with XGBoost's Python package",
    "joblib": "joblib + pandas service",
}


def report(name: str) -> dict[str, Any]:
    """A report as JSON."""
    found: dict[str, Any] = json.loads((ROOT / "reports" / name).read_text())
    return found


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows))


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - from there on no decimals


def with_interval(value: float, bounds: list[float] | None) -> str:
    """A value and, where it has one, its 95 % interval."""
    return number(value) if bounds is None else f"{number(value)} ({number(bounds[0])} to {number(bounds[1])})"


def metrics_table() -> str:
    """The headline metrics of both scorers on the test window."""
    metrics = [report(f"{scorer}/metrics.json") for scorer in SCORERS]
    intervals = [report(f"{scorer}/intervals.json") for scorer in SCORERS]
    rows = []
    for title, key in METRICS:
        shown = [with_interval(m[key], i.get(key)) for m, i in zip(metrics, intervals, strict=True)]
        rows.append([title, *([f"{m[key]:,}" for m in metrics] if key in {"rows", "frauds"} else shown)])
    return table(["on the test window", *SCORERS], rows)


def candidates_table() -> str:
    """The candidates' average precision on the folds, mean and spread."""
    found = [report(f"{scorer}/selection.json")["candidates"] for scorer in SCORERS]
    rows = []
    for name in found[0]:
        cells = [name.replace("_", " ")]
        for candidates in found:
            precision = candidates[name]["average_precision"]
            cells += [f"{precision['mean']:.3f} ± {precision['std']:.3f}", f"{candidates[name]['size_kb']:,} kB"]
        rows.append(cells)
    return table(["candidate", "transaction: AP", "size", "refund: AP", "size"], rows)


def thresholds_table() -> str:
    """The transaction scorer's thresholds, chosen on calibration rows, measured on the test window."""
    found = pd.read_csv(ROOT / "reports" / "transaction" / "thresholds.csv")
    columns = ("recall", "precision", "false_positive_rate", "cost_of_1000")
    rows = [
        [row["aim"], number(row["threshold"])]
        + [with_interval(row[name], [row[f"{name}_low"], row[f"{name}_high"]]) for name in columns]
        for _, row in found.iterrows()
    ]
    return table(["aim", "threshold", "recall", "precision", "false positive rate", "cost of 1,000, USD"], rows)


HANDBOOK = {
    "chapter 3": "chapter 3, its settings",
    "chapter 5": "chapter 5 (four test weeks), its settings",
    "chapter 5, its best in hindsight": "chapter 5, its best settings in hindsight",
    "tuned": "chapter 5, this project's tuning alone",
    "ratios, with the best in hindsight": "five declared ratios, the best settings in hindsight",
    "ratios, tuned": "five declared ratios, this project's tuning",
}


def quality(part: str) -> list[dict[str, Any]]:
    """The lines of a part of the recorded quality benchmark."""
    lines: list[dict[str, Any]] = report("quality.json")[part]["lines"]
    return lines


def handbook_table() -> str:
    """The handbook's published numbers beside ours."""
    rows = []
    for line in quality("handbook"):
        cells = [HANDBOOK[line["measured"]]]
        for name in ("roc_auc", "average_precision", "card_precision_100"):
            published, spread = line[f"{name}_published"], line[f"{name}_std"]
            ours = f"{line[name]:.4f}" + ("" if spread is None else f" ± {spread:.3f}")
            cells.append(ours + ("" if published is None else f" (published {published:.3f})"))
        rows.append(cells)
    return table(["handbook protocol", "ROC AUC", "average precision", "card precision@100"], rows)


def ulb_table() -> str:
    """ULB by time beside what others published."""
    titles = {key: title for title, key in METRICS}
    rows = [
        [titles[line["measured"]], line["published"]]
        + [with_interval(line[arm], [line[f"{arm} low"], line[f"{arm} high"]]) for arm in ("none", "smote 0.1")]
        for line in quality("ulb")
    ]
    return table(["ULB, the last fifth", "published", "no resampling", "SMOTE 0.1"], rows)


def resampling_table() -> str:
    """Every arm on every set; the declared one, with which the others are compared, is the one without a gain."""
    rows = []
    for part in ("shipped_arms", "handbook_arms", "ulb_arms"):
        for line in quality(part):
            gain = f"{line['gain']:+.3f} ({line['gain_low']:+.3f} to {line['gain_high']:+.3f})"
            declared = line["gain_low"] == line["gain_high"] == 0
            measured = [f"{line['average_precision']:.3f}", "declared" if declared else gain]
            rows.append([line["set"], line["arm"], *measured])
            rows[-1] += [number(line[name]) for name in ("recall_at_1pct_fpr", "ece_raw", "ece")]
    heading = ["set", "arm", "average precision", "gain", "recall at 1 % FPR", "calibration error", "recalibrated"]
    return table(heading, rows)


FRESH = {
    "population": "what the resamples are drawn from: the bound's promise",
    "left-out rows": "the rows a resample left out (few frauds: noise on top)",
    "other half": "a random half that was never drawn from (the same)",
    "test window": "the later test window, where the fraud has changed",
}


def recall_bound_table() -> str:
    """How often the recall target is met on fresh rows, with the confidence bound and without."""
    found = {(line["scorer"], line["fresh"]): line for line in quality("recall_bound")}
    rows = [
        [title] + [f"{found[scorer, fresh][f'kept_{kind}']:.1%}" for scorer in SCORERS for kind in ("bound", "plain")]
        for fresh, title in FRESH.items()
    ]
    heading = [f"{scorer}: {kind}" for scorer in SCORERS for kind in ("with the bound", "without")]
    return table(["fresh rows", *heading], rows)


def speed_table() -> str:
    """The speed table as the recorded benchmark has it."""
    found = {row["measured"]: row for row in report("serving.json")["rows"]}
    rows = []
    for key, title in SPEEDS.items():
        # Without wrk there are no requests a second.
        if (row := found.get(key)) is None:
            continue
        ours, *others = (
            f"{number(row['median'][name])} {row['unit']}" if name in row["median"] else "" for name in SUBJECTS
        )
        ratio = f"{number(row['ours_over']['echo'])} x" if "echo" in row["ours_over"] else ""
        rows.append([title, ours, ratio, "; ".join(map(budget, row["limits"])), *others])
    ours, *others = SUBJECTS.values()
    return table(["medians", ours, "of the echo", "budget", *others], rows)


def budget(limit: dict[str, Any]) -> str:
    """A budget as recorded, and the figure where it was missed."""
    unit = {None: "MB", "echo": "x"}.get(limit["against"], f"x {limit['against']}")
    bound = f"at {'least' if limit['is_least'] else 'most'} {number(limit['budget'])} {unit}"
    return bound if limit["verdict"] == "within" else f"{bound}, missed with {number(limit['figure'])}"


def speed_caption() -> str:
    """When and where the speed table was measured, with which models; one line of the README."""
    found = report("serving.json")
    where, trees = found["machine"], found["trees"]
    models = " and ".join(f"{trees[name]} ({name})" for name in SCORERS)
    return (
        f"`make bench` on {where['date'].split()[0]}, {where['cores']} cores of an {where['processor']}, "
        f"CPython {where['python']}, models of {models} trees:"
    ).replace("(R)", "")


def artifact_size() -> str:
    """What the artifact weighed when the speed table was measured."""
    (row,) = (row for row in report("serving.json")["rows"] if row["measured"] == "artifact, unzipped")
    return f"{row['median']['ours']:.1f} MB unzipped of Lambda's"


TABLES: dict[str, Callable[[], str]] = {
    "metrics": metrics_table,
    "candidates": candidates_table,
    "thresholds": thresholds_table,
    "handbook": handbook_table,
    "ulb": ulb_table,
    "resampling": resampling_table,
    "recall_bound": recall_bound_table,
    "speed": speed_table,
}

# What stands in the README's sentences.
FACTS: dict[str, Callable[[], str]] = {
    r"`make bench` on .*": speed_caption,
    r"[\d.]+ MB unzipped of Lambda's": artifact_size,
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
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{README} is filled in; look at its sentences too\n")
