"""The README says what the reports, the code and the answers say."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from handler.app import handler

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
METRICS = (
    ("ROC AUC", "roc_auc"),
    ("average precision", "average_precision"),
    ("recall at 1 % false positive rate", "recall_at_1pct_fpr"),
    ("Brier score", "brier_score"),
    ("at the threshold: recall", "recall"),
    ("at the threshold: precision", "precision"),
    ("at the threshold: false positive rate", "false_positive_rate"),
    ("at the threshold: alert rate", "alert_rate"),
    ("test rows", "rows"),
    ("of which fraud", "frauds"),
)
SPEEDS = {
    "cold start: first import to first answer": "cold start: imports, bundles, first answer",
    "warm: transaction": "warm request, transaction",
    "warm: refund": "warm request, refund",
    "warm: refund, with every reason": "warm request, refund, with every reason",
    "warm: transaction, in a batch of 100": "each request of a batch of 100",
}


def report(name: str) -> dict[str, Any]:
    """A report as JSON."""
    found: dict[str, Any] = json.loads((ROOT / "reports" / name).read_text())
    return found


def metrics_table() -> str:
    """The quality table as the reports have it."""
    found = {scorer: report(f"{scorer}/metrics.json") for scorer in ("transaction", "refund")}
    lines = ["| on the test window | transaction | refund |", "| --- | --- | --- |"]
    for title, key in METRICS:
        cells = [f"{m[key]:,}" if isinstance(m[key], int) else f"{m[key]:.3g}" for m in found.values()]
        lines.append(f"| {title} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def speed_table() -> str:
    """The speed table as the recorded benchmark has it."""
    rows = {row["measured"]: row for row in report("serving.json")["rows"]}
    lines = [
        "| median | this function | FastAPI + Mangum echo | ratio | budget | joblib + pandas service |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, title in SPEEDS.items():
        row = rows[key]
        shown = {name: f"{value:,.0f} {row['unit']}" for name, value in row["median"].items()}
        ratio, budget = row["ours_over_floor"], row["budget"]
        limit = "" if budget is None else f"{budget:.2f} x"
        cells = [title, shown["ours"], shown.get("floor", ""), f"{ratio:.2f} x" if ratio else "", limit]
        lines.append(f"| {' | '.join([*cells, shown.get('usual', '')])} |")
    return "\n".join(lines)


def test_the_quality_figures_are_the_reports() -> None:
    """The table is the one that the reports give."""
    assert metrics_table() in README


def test_the_speed_figures_are_the_recorded_benchmarks() -> None:
    """With the date and the machine."""
    recorded = report("serving.json")
    assert speed_table() in README
    assert recorded["machine"]["date"].split()[0] in README
    artifact = next(row for row in recorded["rows"] if row["measured"] == "artifact, unzipped")
    assert f"{artifact['median']['ours']:.1f} MB unzipped" in README


def test_the_categorisers_figures_are_the_reports() -> None:
    """Held out, per cent."""
    held_out = report("refund/training.json")["texts"]["item"]
    answered, right, unknown = (
        f"{held_out[key]:.0%}" for key in ("answered", "accuracy_answered", "unknown_called_other")
    )
    sentence = f"it answers for {answered} of held-out names and is right in {right} of those"
    text = " ".join(README.split())
    assert sentence in text
    assert f"it calls {unknown} of them" in text


COMMANDS = re.findall(r"^\$ (curl .*)\n((?:.+\n)+?)(?=\$|```)", README, flags=re.MULTILINE)


def test_the_readme_has_the_products_requests() -> None:
    """Three of them."""
    assert len(COMMANDS) == 3


@pytest.mark.parametrize(("command", "answer"), COMMANDS)
def test_the_shown_answers_are_the_real_ones(command: str, answer: str) -> None:
    """What the README shows under a request is what the function answers."""
    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http"))
    path, _, query = url.removeprefix("http://127.0.0.1:8000").partition("?")
    event = json.loads((ROOT / "tests" / "events" / "transaction.json").read_text())
    event["requestContext"]["http"]["path"] = event["rawPath"] = path
    given = handler({**event, "rawQueryString": query, "body": words[words.index("-d") + 1]}, None)
    assert json.loads(answer) == json.loads(given["body"])


def test_every_setting_is_documented() -> None:
    """Each environment variable that the handler reads stands in the README, and in the template or its comment."""
    sources = "".join(path.read_text() for path in (ROOT / "handler").glob("*.py"))
    settings = set(re.findall(r'os\.environ(?:\.get)?[\[(]"([A-Z_]+)"', sources))
    assert settings
    template = (ROOT / "template.yaml").read_text()
    for setting in settings:
        assert f"`{setting}`" in README
        assert setting in template


def test_every_shipped_scorer_has_its_route_in_the_readme() -> None:
    """Routes as declared."""
    scorers = YAML(typ="safe").load(ROOT / "params.yaml")["scorers"]
    for name in ("transaction", "refund"):
        assert f"`POST {scorers[name]['route']}`" in README
