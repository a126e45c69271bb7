"""The README says what the reports, the code and the answers say."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.readme import COMMAND, FACTS, PAGES, TABLES, answer_to, table_pattern
from benchmarks.readme_table import report
from handler.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES_TEXT = "".join(page.read_text(encoding="utf-8") for page in PAGES)
COMMANDS = COMMAND.findall(README)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_the_reports(name: str) -> None:
    """Each table is the one that the reports give; `python -m benchmarks.readme` fills them in."""
    found = table_pattern(name).search(PAGES_TEXT)
    assert found is not None
    assert found[2] == TABLES[name]() + "\n"


def test_every_marked_table_is_known() -> None:
    """No marker without a table behind it."""
    assert sorted(re.findall(r"<!-- table: (\w+) -->", PAGES_TEXT)) == sorted(TABLES)


def test_the_benchmarks_dates_are_the_recorded_ones() -> None:
    """Speed and quality with their dates."""
    for recorded in (report("serving.json"), *report("quality.json").values()):
        assert recorded["machine"]["date"].split()[0] in README


@pytest.mark.parametrize(("pattern", "fact"), FACTS.items())
def test_the_facts_of_the_speed_benchmark_are_the_recorded_ones(pattern: str, fact: Callable[[], str]) -> None:
    """The machine and the models that were measured, and the artifact's size, wherever they stand."""
    assert set(re.findall(pattern, PAGES_TEXT)) == {fact()}


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


def test_the_readme_has_the_products_requests() -> None:
    """Three of them."""
    assert len(COMMANDS) == 3


@pytest.mark.parametrize(("command", "answer"), COMMANDS)
def test_the_shown_answers_are_the_real_ones(command: str, answer: str) -> None:
    """What the README shows under a request is what the function answers."""
    assert json.loads(answer) == answer_to(command)


def test_every_setting_is_documented() -> None:
    """Each environment variable that the handler reads stands in the README, and in the template or its comment."""
    sources = "".join(path.read_text() for path in (ROOT / "handler").rglob("*.py"))
    read_elsewhere = set(re.findall(r'os\.environ(?:\.get)?[\[(]"([A-Z_]+)"', sources))
    template = (ROOT / "template.yaml").read_text()
    for setting in {name.upper() for name in Settings.model_fields} | read_elsewhere:
        if setting.startswith("AWS_"):
            continue  # Lambda itself sets those
        assert f"`{setting}`" in README
        assert setting in template


def test_every_shipped_scorer_has_its_route_in_the_readme() -> None:
    """Routes as declared."""
    scorers = YAML(typ="safe").load(ROOT / "params.yaml")["scorers"]
    for name in ("transaction", "refund"):
        assert f"`POST {scorers[name]['route']}`" in README
