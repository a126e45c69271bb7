"""README and docs say what the reports, the code and the answers say, and their links, commands and paths exist."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.pages import COMMAND, FACTS, PAGES, TABLE, TABLES, answer_to, faults, main
from benchmarks.tables import report
from handler.app import app
from handler.settings import Settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
TEXT = "".join(TEXTS.values())
ANSWERS = COMMAND.findall(TEXT)
# Pages without figures of the reports are checked for links, commands and paths too.
TEXTS_WITH_LINKS = TEXTS | {
    page: page.read_text(encoding="utf-8")
    for page in map(ROOT.joinpath, ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))
}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
RULES = {name: text for text, name in re.findall(r"^(([a-z-]+):.*\n(?:\t.*\n)*)", MAKEFILE, re.MULTILINE)}
# What the console blocks call.
PROGRAMS = {".venv-sam/bin/sam", ".venv/bin/dask", "aws", "curl", "dask", "docker", "dvc", "echo", "git", "make"}
# Files that commands other than stages write, names that stand for a user's file, and a page that was removed.
NOT_HERE = {
    "decision.json",
    "<OUTPUT>.rejected.csv",
    "build/refund/latency.csv",
    "build/refund/state.parquet",
    "docs/billion-rows.md",
    "lists.csv",
    "monitor.csv",
    "monitor.json",
    "payments.csv",
    "score_transaction.py",
    *(f"refund/releases/<version>.{ending}" for ending in ("cdx.json", "openapi.json")),
    *(f"reports/refund/{name}" for name in ("backtest.html", "monitor.csv", "monitor.html", "retrain.md")),
}
# A word in code whose first part is one of these is a path of this repository.
OURS = {path.name for path in ROOT.iterdir() if not path.name.startswith(".venv")}
FILE = re.compile(r"[\w./<>-]+\.(?:csv|dvc|joblib|json|lock|md|py|toml|ya?ml)")


def code_of(text: str) -> list[str]:
    """The lines of the fenced blocks and the code spans of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [
        *(line for block in blocks for line in block.splitlines()),
        # A code span that contains a backtick is delimited by two.
        *(" ".join(span.split()) for _, span in re.findall(r"(?<!`)(``?)(?!`)(.+?)(?<!`)\1(?!`)", outside, re.DOTALL)),
    ]


CODE = [line for text in TEXTS_WITH_LINKS.values() for line in code_of(text)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    """Each page with each of its links that stays inside the repository."""
    return [
        (page, target)
        for page, text in TEXTS_WITH_LINKS.items()
        for target in re.findall(r"\]\(([^)]+)\)", text)
        if not target.startswith("https://")
    ]


def paths() -> Iterator[str]:
    """What looks like a path of this repository, in code, for the scorer refund."""
    for line in CODE:
        for word in re.findall(r"[\w./<>*-]+", line.replace("<scorer>", "refund")):
            if FILE.fullmatch(word) or ("/" in word and word.split("/")[0] in OURS):
                yield word


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """It has at most 10,000 bytes, and links to each page of docs/, which has the rest."""
    assert len(README.read_bytes()) <= 10_000
    linked = {(page.parent / target).resolve() for page, target in links() if page == README}
    assert set(PAGES) - {README} <= linked


def test_the_tables_are_the_reports() -> None:
    """Each table has its marker once, and is the one that the reports give."""
    assert sorted(re.findall(r"<!-- table: (\w+) -->", TEXT)) == sorted(TABLES)
    assert {match[2]: match[3] for match in TABLE.finditer(TEXT)} == {
        name: f"{fill()}\n" for name, fill in TABLES.items()
    }


def test_a_marker_without_a_table_and_a_table_without_a_page_are_reported() -> None:
    """The sentence has the name and what to do."""
    assert faults(list(TEXTS.values())) == []
    sentences = faults(["<!-- table: speeed -->\n"])
    assert sentences[0].startswith("no benchmark fills the table speeed; benchmarks/pages.py has alarms, ")
    assert "no page has the table speed; put <!-- table: speed --> where it belongs" in sentences


def test_a_stale_page_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` reports it; without that option the page is filled in."""
    page = tmp_path / "all.md"
    page.write_text(TABLE.sub(r"\1", TEXT), encoding="utf-8")
    monkeypatch.setattr("benchmarks.pages.PAGES", (page,))
    with pytest.raises(SystemExit, match=r"out of date with the reports: all\.md; run python -m benchmarks\.pages"):
        main(["--check"])
    main([])
    assert "filled in: all.md" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == TEXT
    main(["--check"])


def test_the_benchmarks_dates_are_the_recorded_ones() -> None:
    """Speed is shown with its date, and the page of results names the days on which the parts of quality ran."""
    assert report("serving.json")["machine"]["date"].split()[0] in TEXT
    recorded = {part["machine"]["date"].split()[0] for part in report("quality.json").values()}
    sentence = (
        (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition("The figures are from `make quality`")[2]
    )
    assert set(re.findall(r"\d{4}-\d\d-\d\d", sentence.partition("<!--")[0])) == recorded


@pytest.mark.parametrize(("pattern", "fact"), FACTS.items())
def test_the_facts_in_sentences_are_the_recorded_ones(pattern: str, fact: Callable[[], str]) -> None:
    """They are the same on every page that has them."""
    assert set(re.findall(pattern, TEXT)) == {fact()}


def test_the_categorisers_figures_are_the_reports() -> None:
    """They are percentages of the held-out names."""
    held_out = report("refund/training.json")["texts"]["item"]
    answered, right, unknown = (
        f"{held_out[key]:.0%}" for key in ("answered", "accuracy_answered", "unknown_called_other")
    )
    text = " ".join(TEXT.split())
    assert f"it answers for {answered} of held-out names and is right in {right} of those" in text
    assert f"it calls {unknown} of them" in text


def test_the_shown_answers_are_the_real_ones() -> None:
    """The README shows one, docs/api.md two, and docs/explanations.md one for each of three readers."""
    assert len(ANSWERS) == 6
    assert len(COMMAND.findall(TEXTS[README])) == 1
    for command, answer in ANSWERS:
        assert json.loads(answer) == answer_to(command), command


def test_every_setting_is_documented() -> None:
    """docs/deploy.md lists each environment variable that the handler reads, and the template or its comment has it."""
    sources = "".join(path.read_text() for path in (ROOT / "handler").rglob("*.py"))
    read_elsewhere = set(re.findall(r'os\.environ(?:\.get)?[\[(]"([A-Z_]+)"', sources))
    names = {name.upper() for name in Settings.model_fields} | read_elsewhere
    names = {name for name in names if not name.startswith("AWS_")}  # Lambda itself sets those
    assert names == set(re.findall(r"^\| `([A-Z_]+)` \|", TEXTS[ROOT / "docs" / "deploy.md"], re.MULTILINE))
    template = (ROOT / "template.yaml").read_text()
    assert all(name in template for name in names)


def test_every_route_and_status_is_documented() -> None:
    """docs/api.md has the OpenAPI document's statuses and API Gateway's 429; the README has the scorers' routes."""
    page = TEXTS[ROOT / "docs" / "api.md"]
    statuses = {
        status for path in app.openapi()["paths"].values() for route in path.values() for status in route["responses"]
    }
    assert set(re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)) == statuses - {"200"} | {"429"}
    scorers = YAML(typ="safe").load(ROOT / "params.yaml")["scorers"]
    for name in ("transaction", "refund"):
        assert f"`POST {scorers[name]['route']}`" in TEXTS[README]


def test_every_stage_is_documented() -> None:
    """The README's graph and the table of docs/data.md have the stages of dvc.yaml."""
    stages = set(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
    graph = TEXTS[README].partition("```mermaid")[2].partition("```")[0]
    assert stages <= set(re.findall(r"\w+", graph))
    page = TEXTS[ROOT / "docs" / "data.md"].partition("\n## The stages\n")[2].partition("\n## ")[0]
    assert stages == set(re.findall(r"^\| (\w+) \|", page, re.MULTILINE)) - {"stage"}


@pytest.mark.parametrize(("page", "target"), links())
def test_every_link_leads_somewhere(page: Path, target: str) -> None:
    """To a file of the repository and, where it names one, to a heading in it."""
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    assert file.exists()
    assert not anchor or anchor in anchors(file.read_text(encoding="utf-8"))


def test_every_make_target_exists_with_its_variables() -> None:
    """A variable that a page gives to a target is one that the target's recipe or its help names."""
    calls = [
        call for line in CODE for call in re.findall(r"\bmake ([a-z][a-z-]*)((?: [A-Z_]+=(?:'[^']*'|\S*))*)", line)
    ]
    assert calls
    for target, options in calls:
        assert target in RULES
        for variable in re.findall(r"(?<!\S)([A-Z_]+)=", options):
            assert re.search(rf"\b{variable}\b", RULES[target]), f"make {target} takes no {variable}"


def test_every_command_exists() -> None:
    """`python -m` names a module of this project; console blocks call make, or a program that is installed."""
    modules = {module for line in CODE for module in re.findall(r"python -m ([\w.]+)", line)}
    assert modules
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
    commands = [line.removeprefix("$ ") for line in CODE if line.startswith("$ ")]
    programs = {next(word for word in line.split() if not re.match(r"[A-Z_]+=", word)) for line in commands}
    assert "make" in programs
    assert programs <= PROGRAMS


def test_every_path_exists() -> None:
    """Paths in code are files of the repository, of the tests or workflows, or what DVC's stages write."""
    missing = [
        path
        for path in set(paths()) - NOT_HERE
        # A route, not a file.
        if path != "/openapi.json"
        and not any(list(ROOT.glob(f"{folder}{path.rstrip('/')}")) for folder in ("", "tests/", ".github/workflows/"))
    ]
    assert sorted(missing) == []
