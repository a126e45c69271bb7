"""The model card: the facts that reports become, and the sentences of the template that they choose."""

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jinja2 import Environment, meta

from training.params import Costs, Resampling
from training.report.card_figures import pictures
from training.report.html import page
from training.report.model_card import BREAK, MOST_FEATURES, MOST_SEGMENTS, TEMPLATE, facts, model_card
from training.report.stage_reports import Reports

HOSTILE = "# <script>|`x` & *y*\n[a](http://evil.example)\\"
ON_ONE_LINE = HOSTILE.replace("\n", " ")


def words(reports: Reports) -> str:
    """The card's Markdown."""
    return model_card(reports).markdown


def html(reports: Reports) -> ET.Element:
    """The card's page, without figures."""
    return ET.fromstring(page("Model card", model_card(reports).sections, {}))  # noqa: S314 - our own text


def cells(reports: Reports, table: int) -> list[list[str]]:
    """The text of the cells of one of the card's tables as the page shows it, row by row."""
    rows = list(html(reports).iter("table"))[table].iter("tr")
    return [["".join(cell.itertext()) for cell in row if cell.tag in {"td", "th"}] for row in rows]


def with_manifest(reports: Reports, **changes: object) -> Reports:
    """The reports on another bundle."""
    return replace(reports, manifest=reports.manifest | changes)


def with_recall(reports: Reports, value: float, low: float, high: float, **policy: float) -> Reports:
    """The reports with another recall on the test window, under a policy."""
    metrics, intervals = reports.metrics | {"recall": value}, reports.intervals | {"recall": [low, high]}
    changed = with_manifest(reports, decision={"policy": policy, "threshold": 0.5})
    return replace(changed, metrics=metrics, intervals=intervals)


def with_scorer(reports: Reports, **changes: object) -> Reports:
    """The reports on a scorer that is declared otherwise."""
    return replace(reports, scorer=reports.scorer.model_copy(update=changes))


def segment(reports: Reports, name: str, **rates: float | None) -> dict[str, Any]:
    """A category like the whole but for some rates, whose intervals reach .05 to each side."""
    row = {**reports.segments[0], "segment": name}
    for rate, value in rates.items():
        bounds = (None, None) if value is None else (value - 0.05, value + 0.05)
        row |= {rate: value, f"{rate}_low": bounds[0], f"{rate}_high": bounds[1]}
    return row


# The template


def test_template_and_facts_agree(reports: Reports) -> None:
    """The template uses every fact and nothing else, and its first comment names each."""
    source = TEMPLATE.read_text()
    assert meta.find_undeclared_variables(Environment(autoescape=True).parse(source)) == facts(reports).keys()
    comment = source.split("#}")[0]
    assert [name for name in facts(reports) if not re.search(rf"\b{name}\b", comment)] == []


def test_lines_of_a_paragraph_are_joined() -> None:
    """Tables, entries and headings keep their lines, also where they are indented."""
    joined = "# a\n\nb c\n\n| d |\n| e |\n\n- f g\n- h\n  - i\n"
    assert BREAK.sub(" ", "# a\n\nb\n  c\n\n| d |\n| e |\n\n- f\n  g\n- h\n  - i\n") == joined


def test_sections_are_in_order(reports: Reports) -> None:
    """The page and the Markdown have the same headings, from what is decided to how it is made again."""
    headings = re.findall(r"^## (.*)$", words(reports), re.MULTILINE)
    assert [element.text for element in html(reports).iter("h2")] == headings
    assert [heading.split(",")[0] for heading in headings] == [
        "What it decides",
        "The data",
        "How the model was made",
        "How good it is",
        "Decisions",
        "Calibration",
        "Segments",
        "Explanations",
        "Limits and what to watch",
        "Reproducing it",
    ]


def test_every_figure_belongs_to_a_section(reports: Reports) -> None:
    """The template places each figure once, and the Markdown does not show where."""
    figures = [name for section in model_card(reports).sections for name in section.figures]
    assert sorted(figures) == sorted(pictures(reports))
    assert "<!--" not in words(reports)


def test_hostile_names_are_shown_as_they_are(reports: Reports) -> None:
    """Markup in a category, a feature, a rejection's reason or a warning stays text, in its own cell or sentence."""
    hostile = replace(
        reports,
        segments=[segment(reports, HOSTILE), segment(reports, ""), segment(reports, "x" * 4000)],
        importance=[{**reports.importance[0], "feature": HOSTILE}],
        rows=reports.rows | {"quarantined": {"rows": 3, "reasons": {HOSTILE: 3}}, "warnings": [f"{HOSTILE} is odd."]},
    )
    assert [row[1] for row in cells(hostile, -1)] == ["category", ON_ONE_LINE, "(empty)", f"{'x' * 59}…"]
    assert cells(hostile, 1)[1][0] == ON_ONE_LINE
    root = html(hostile)
    shown = "".join(root.itertext())
    assert f"3 of them broke the declared contract and were set aside: {ON_ONE_LINE} (3)." in shown
    assert f"The check of the data warns: {ON_ONE_LINE} is odd." in shown
    assert len(list(root.iter("h1"))) == 1
    lines = [line for line in model_card(hostile).sections[7].text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}


# The promise


@pytest.mark.parametrize(
    ("recall", "outcome", "verdict"),
    [
        ((0.80, 0.77, 0.83), "broken", "**NOT kept.**"),
        ((0.89, 0.86, 0.92), "barely missed", "not reached, by no more than the chance of"),
        ((0.91, 0.88, 0.94), "barely kept", "kept, though other rows of the same kind could"),
        ((0.95, 0.93, 0.97), "kept", "kept."),
    ],
)
def test_verdict_on_a_promised_recall(
    reports: Reports, recall: tuple[float, float, float], outcome: str, verdict: str
) -> None:
    """A target is kept or not by the value, and broken where the whole interval misses it, which is then explained."""
    judged = with_recall(reports, *recall, recall=0.9)
    assert facts(judged)["promise"]["outcome"] == outcome
    assert f"%): {verdict}" in model_card(judged).verdict
    assert ("expect what was found here" in words(judged)) == (outcome == "broken")


@pytest.mark.parametrize(
    ("policy", "description", "outcome"),
    [
        ({"precision": 0.2}, "at least 20 % of the flagged requests are fraud", "broken"),
        ({"review_rate": 0.05}, "at most 5 % of all requests are flagged", "broken"),
        ({"review_rate": 0.078}, "at most 7.8 % of all requests are flagged", "barely missed"),
        ({"review_rate": 0.1}, "at most 10 % of all requests are flagged", "kept"),
        ({"cost": "lowest"}, "missed amounts and reviews cost least, on the calibration rows", "no promise"),
    ],
)
def test_every_policy_has_words(reports: Reports, policy: dict[str, Any], description: str, outcome: str) -> None:
    """Each policy is described, and judged by its own measure in its own direction."""
    judged = with_manifest(reports, decision={"policy": policy, "threshold": 0.5})
    assert facts(judged)["promise"]["outcome"] == outcome
    head, decisions = (model_card(judged).sections[number].text for number in (0, 5))
    assert f"Its policy: {description}." in head
    assert f"The policy: {description}." in decisions
    assert model_card(judged).verdict in head
    assert model_card(judged).verdict in decisions


def test_broken_promise_heads_the_card(reports: Reports) -> None:
    """A reader of the first lines learns what was promised, what was found, and that it was not kept."""
    head = model_card(with_recall(reports, 0.8, 0.77, 0.83, recall=0.9, confidence=0.95)).sections[0].text
    assert "at least 90 % of the frauds are flagged, with 95 % confidence" in head
    assert "recall was 80.0 % (95 % interval 77.0 % to 83.0 %): **NOT kept.**" in head


@pytest.mark.parametrize(
    ("recall", "reason"),
    [((0.7, 0.67, 0.73), "does not explain this"), ((0.82, 0.80, 0.84), "the threshold was unlucky")],
)
def test_broken_promise_has_its_likely_reason(
    reports: Reports, recall: tuple[float, float, float], reason: str
) -> None:
    """The card says whether chance explains a miss, and where the missed frauds are."""
    broken = with_recall(reports, *recall, recall=0.9)
    assert reason in words(broken)
    assert "Missed frauds gather in `country` NA (16 of 20 missed)." in words(broken)
    assert "gather" not in words(replace(broken, segments=[]))


@pytest.mark.parametrize(
    ("policy", "is_lacking"),
    [({"recall": 0.9}, True), ({"recall": 0.9, "confidence": 0.95}, False), ({"review_rate": 0.1}, False)],
)
def test_missing_confidence_is_mentioned(reports: Reports, policy: dict[str, float], *, is_lacking: bool) -> None:
    """A recall without a confidence is met by chance every second time; the card says so."""
    assert ("No confidence is declared" in words(with_recall(reports, 0.95, 0.93, 0.97, **policy))) == is_lacking


def test_declared_threshold_is_listed_once(reports: Reports) -> None:
    """An aim that leads to the declared threshold is not a second line."""
    thresholds = [{**reports.declared, "aim": "recall 0.9"}, {**reports.thresholds[0], "aim": "review_rate 0.001"}]
    table = cells(replace(reports, thresholds=[*thresholds, *reports.thresholds]), 3)
    assert [row[0] for row in table[1:]] == [
        "0.1 % of requests flagged",
        "50 % of frauds flagged",
        "the declared policy",
    ]


# How it was made


def test_comparisons_have_their_verdicts(reports: Reports) -> None:
    """What a comparison found stands in the card; one that was not made is missed, and has no figure."""
    made, bare = words(reports), replace(reports, selection=None, resampling=None, tuning=None)
    assert "Kinds of model: xgboost is ahead by 0.1 ± 0.2." in made
    assert "Ways to rebalance: none is no better." in made
    assert "needs a second look" not in made
    for missing in ("ways to rebalance were not", "kinds of model were not", "is no report of a search"):
        assert missing in words(bare)
        assert missing not in made
    assert set(pictures(bare)) == {"importance", "precision_recall", "tradeoff", "reliability"}


def test_better_rebalancing_is_a_finding(reports: Reports) -> None:
    """Where another way is better by more than chance and was not chosen, the card says so."""
    better = {"value": 0.5, "difference": 0.1, "interval": [0.05, 0.15]}
    report = {**(reports.resampling or {}), "arms": {"none": {"average_precision": better}}}
    assert "needs a second look" in words(replace(reports, resampling=report))
    assert not facts(replace(reports, resampling=report | {"declared": "none"}))["is_resampling_doubtful"]


def test_parameters_have_their_origin(reports: Reports) -> None:
    """Each parameter has its origin; without a report of tuning the card does not guess it."""
    assert (
        "Parameters pinned by the declaration: `rounds` 20, `max_depth` 3, `learning_rate` 0.3; found by the search: "
        "`subsample` 0.7; left at its default: `threads` 2."
    ) in words(reports)
    assert "not pinned: `subsample` 0.7, `threads` 2." in words(replace(reports, tuning=None))


def test_features_have_kind_unit_and_direction(reports: Reports) -> None:
    """The table says of each feature what it is, and which way the risk may go."""
    contract = reports.manifest["contract"]
    amount = contract["fields"]["amount"] | {"monotone": "increasing"}
    speed = contract["fields"]["speed"] | {"monotone": "decreasing"}
    fields = contract["fields"] | {"amount": amount, "speed": speed}
    features = {"amount_per_visit": {"ratio": ["amount", "visits"]}}
    bound = contract | {"fields": fields, "features": features}
    table = {row[0]: row[1:4] for row in cells(with_manifest(reports, contract=bound), 1)}
    assert table["amount"] == ["money", "USD", "may only rise"]
    assert table["speed"] == ["number", "km/h", "may only fall"]
    assert table["amount_per_visit"] == ["amount divided by visits", "", "may only rise"]
    assert table["item_kind"] == ["category learned from the text of item", "", "free"]
    assert ["momentum", "amount times speed"] in [row[:2] for row in cells(reports, 1)]


def test_many_features_are_cut(reports: Reports) -> None:
    """Of hundreds of features the card shows the first, and says where the others are."""
    card = words(replace(reports, importance=reports.importance * 10))
    assert card.count("| `momentum` |") == MOST_FEATURES // 8
    assert "55 more features are in `reports/mini/importance.csv`." in card


@pytest.mark.parametrize(
    ("resampling", "description"),
    [
        (Resampling(method="smote", ratio=0.1), "SMOTE added made-up frauds"),
        (Resampling(method="undersample", ratio=0.1), "legitimate rows were left out at random"),
        (Resampling(method="class_weight", ratio=0.5), "as if there were 0.5 of them per legitimate row"),
        (Resampling(method="smote", ratio=0.0), "of training rows only: none."),
        (Resampling(method="none"), "of training rows only: none."),
    ],
)
def test_rebalancing_has_words(reports: Reports, resampling: Resampling, description: str) -> None:
    """Each way to rebalance is described, one that changes nothing as none."""
    assert description in words(with_scorer(reports, resampling=resampling))


# The data


def test_label_delay_and_sample_are_mentioned(reports: Reports) -> None:
    """A declared delay is mentioned with the rows it costs; without one, the card says what that assumes."""
    assert "No label delay is declared" in words(reports)
    split = reports.scorer.split.model_copy(update={"label_delay_days": 7.0, "sample": 0.2})
    card = words(replace(with_scorer(reports, split=split), rows=reports.rows | {"rows": 3100}))
    assert "known 7 days after its row, so the 100 rows closer than that" in card
    assert "gave 3,100 rows, a random 20 % of it." in card


def test_times_that_are_no_dates_are_mentioned(reports: Reports) -> None:
    """Numbers in the place of dates may be out of order, which the card warns of."""
    window = reports.rows["windows"]["test"] | {"from": "0.0", "to": "99.0"}
    numbered = replace(reports, rows=reports.rows | {"windows": dict.fromkeys(("train", "calibrate", "test"), window)})
    assert "Its times are no dates" in words(numbered)
    assert "Its times are no dates" not in words(reports)


def test_reports_without_warnings_have_none(reports: Reports) -> None:
    """A report of rows from before there were warnings, or without one, leads to none."""
    old = {key: value for key, value in reports.rows.items() if key != "warnings"}
    assert "warns" not in words(reports) + words(replace(reports, rows=old))


@pytest.mark.parametrize(
    ("answer", "description"),
    [("probability", "receives this probability"), ("decision", "receives 1 (flagged) or 0")],
)
def test_answer_is_described(reports: Reports, answer: str, description: str) -> None:
    """The card says what a caller receives, for both kinds of answer."""
    contract = reports.manifest["contract"] | {"answer": answer}
    assert description in words(with_manifest(reports, contract=contract))


# How good it is


def test_every_measure_has_its_interval_and_meaning(reports: Reports) -> None:
    """Each line of the results has a value, an interval and a meaning."""
    lines = cells(reports, 2)
    meaning = "precision averaged over every recall; guessing gives 0.0500"
    assert ["average precision", "0.400", "0.380 to 0.420", meaning] in lines
    assert ["at the threshold: recall", "80.0 %", "76.0 % to 84.0 %", "the frauds that are flagged"] in lines
    assert all(all(line) for line in lines)


def test_costs_are_in_the_amount_s_unit(reports: Reports) -> None:
    """Costs are in the unit of the declared amount, or else in its own, and nowhere where none are declared."""
    card = words(reports)
    assert "| at the threshold: cost of 1,000 requests, USD | 1,234 |" in card
    assert "costs least on the test window" in card
    thresholds = [{name: value for name, value in row.items() if "cost" not in name} for row in reports.thresholds]
    assert "cost" not in words(replace(with_scorer(reports, costs=None), thresholds=thresholds))
    unnamed = with_scorer(reports, costs=Costs(amount="momentum", review=1.0))
    assert facts(unnamed)["costs"] == {"unit": "the unit of `momentum`", "amount": "`momentum`", "review": "1.00"}


def test_entities_are_in_the_results(reports: Reports) -> None:
    """Where an entity is declared, the frauds among each day's riskiest are in the results."""
    metrics = reports.metrics | {"entity_precision_at_10": 0.25}
    intervals = reports.intervals | {"entity_precision_at_10": [0.2, 0.3]}
    card = words(replace(with_scorer(reports, entity="card_id"), metrics=metrics, intervals=intervals))
    assert "| frauds among the top 10 | 25.0 % | 20.0 % to 30.0 % | of each day's riskiest `card_id` values |" in card


@pytest.mark.parametrize(
    ("slope", "description"), [(0.8, "too sure of themselves"), (1.0, "about one"), (1.3, "too timid")]
)
def test_calibration_has_words(reports: Reports, slope: float, description: str) -> None:
    """The slope is described as what it says about the trees."""
    card = words(with_manifest(reports, calibration={"slope": slope, "intercept": 0.5}))
    assert description in card
    assert "and 0.500 is added; both numbers come from calibration rows" in card
    assert "0.200 percentage points apart on average, 2.00 before calibration" in card


def test_segments_that_differ_are_marked(reports: Reports) -> None:
    """A category is marked where its whole interval lies to one side of the overall value, and only there."""
    rows = [
        segment(reports, "same"),
        segment(reports, "low", recall=0.7),
        segment(reports, "high", recall=0.9, false_positive_rate=0.2),
        segment(reports, "quiet", recall=None, false_positive_rate=0.01),
    ]
    table = {row[1]: row[6:] for row in cells(replace(reports, segments=rows), -1)[1:]}
    assert {name: row[-1] for name, row in table.items()} == {
        "same": "",
        "low": "recall below",
        "high": "recall above, more false alarms",
        "quiet": "fewer false alarms",
    }
    assert table["quiet"][0] == "too few"


def test_many_segments_are_cut(reports: Reports) -> None:
    """Of many categories those that differ are kept, in the report's order, and the card says where the others are."""
    rows = [*(segment(reports, f"s{number}") for number in range(40)), segment(reports, "low", recall=0.1)]
    text = model_card(replace(reports, segments=rows)).sections[7].text
    assert "1 of 41 are." in text
    assert f"{MOST_SEGMENTS} are shown; all are in `reports/mini/segments.csv`." in text
    assert text.count("| `country` |") == MOST_SEGMENTS
    assert text.rstrip().splitlines()[-1].startswith("| `country` | low |")


def test_no_segments(reports: Reports) -> None:
    """Where no category has enough rows, the card says that instead of an empty table."""
    assert "No category has enough rows" in words(replace(reports, segments=[]))
