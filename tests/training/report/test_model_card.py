"""The model card: the facts that it takes from reports, and the template's sentences that they select."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jinja2 import Environment, meta

from tests.training.report.conftest import threshold_row
from tests.training.report.pages import parsed
from training.params import Costs, Model, Resampling
from training.report.card_figures import pictures
from training.report.card_reports import Reports
from training.report.html import page
from training.report.model_card import BREAK, MOST_FEATURES, MOST_SEGMENTS, TEMPLATE, facts, model_card

Change = Callable[[Reports], Reports]
Row = dict[str, Any]
HOSTILE = "# <script>|`x` & *y*\n[a](http://evil.example)\\"
ON_ONE_LINE = HOSTILE.replace("\n", " ")
VERDICTS = {
    "kept": "%): kept.",
    "barely kept": "kept, though other rows of the same kind could have missed it.",
    "barely missed": "not reached, but the promised level is within the interval, so chance may explain",
    "broken": "%): **NOT kept.**",
    "no promise": "This policy promises no level",
}
# Sentences of the card for the unchanged reports.
USUAL = (
    "recall was 80.0 % (95 % interval 76.0 % to 84.0 %): **NOT kept.**",
    "receives this probability",
    "None of them broke the declared contract.",
    "No label delay is declared",
    "| the calibration and the threshold; a part of the training window, scored by models of earlier rows only |",
    "judged on 2 blocks of the training window",
    "SMOTE added synthetic frauds",
    "Parameters pinned by the declaration: `rounds` 20, `max_depth` 3, `learning_rate` 0.3; found by",
    "; found by the search: `subsample` 0.7; left at its default: `threads` 2.",
    "Ways to rebalance: none is no better.",
    "Kinds of model: xgboost is ahead by 0.1 ± 0.2.",
    "No confidence is declared",
    "too sure of themselves, and probabilities move towards the middle), and -1.00 is added; both numbers come from",
    "0.200 percentage points apart on average, 2.00 before calibration",
)
BETTER = {"average_precision": {"value": 0.5, "difference": 0.1, "interval": [0.05, 0.15]}}
BETTER_WAY = {"is_automatic": False, "chosen": "smote 0.3", "verdict": "", "variants": {"none": BETTER}}
AUTOMATIC = BETTER_WAY | {"is_automatic": True, "verdict": "smote 0.3 is the simplest"}
# Changes of the reports, each with a sentence that it brings into the card.
CASES: tuple[tuple[Change, str], ...] = (
    (lambda r: with_manifest(r, contract=r.manifest["contract"] | {"answer": "decision"}), "receives 1 (flagged) or 0"),
    (lambda r: with_split(with_rows(r, rows=2100), label_delay_days=7.0), "7 days after its row, so the 100 rows"),
    (lambda r: with_split(r, sample=0.2), "gave 2,000 rows, a random 20 % of it."),
    (lambda r: with_rows(r, warnings=["Odd.", "Odder"]), "**The check of the data warns:** Odd. Odder."),
    (
        lambda r: with_rows(r, windows={n: w | {"from": "0.0", "to": "9.0"} for n, w in r.rows["windows"].items()}),
        "Its times are not dates",
    ),
    (lambda r: with_resampling(r, method="undersample", ratio=0.1), "were left out at random"),
    (lambda r: with_resampling(r, method="class_weight", ratio=0.5), "as if there were 0.5 of them"),
    (lambda r: with_resampling(r, method="smote", ratio=0.0), "of training rows only: none."),
    (lambda r: with_resampling(r, method="none"), "of training rows only: none."),
    (lambda r: replace(r, tuning=None), "not pinned: `subsample` 0.7, `threads` 2."),
    (lambda r: replace(r, tuning=None), "**There is no report of a search for parameters**"),
    (lambda r: replace(r, selection=None), "**Other kinds of model were not compared with this one**"),
    (lambda r: replace(r, resampling=None), "**The ways to rebalance were not compared**"),
    (lambda r: replace(r, resampling=BETTER_WAY), "it needs a second look.**"),
    (
        lambda r: replace(r, resampling=AUTOMATIC),
        "the simplest of those within one standard error of the best): smote 0.3 is the simplest.",
    ),
    (lambda r: with_scorer(r, model=Model(max_depth=3)), "found by early stopping on the folds: `rounds` 20"),
    (lambda r: with_split(r, calibrate=0.2), "| the calibration and the threshold |"),
    (
        lambda r: with_split(refitted(r), refit=True),
        "with the same parameters, calibration and threshold, on the test window too, so no rows",
    ),
    (
        lambda r: with_split(refitted(r), calibrate=0.2),
        "on the calibration and test windows too, so no rows are left to judge it by.",
    ),
    (
        lambda r: with_split(refitted(r), calibrate=0.2),
        "| the calibration and the threshold; the model that ships was then trained on it too |",
    ),
    (
        lambda r: with_split(refitted(r), label_delay_days=7.0),
        "to the next window are in no window, and the model that ships has not learned from them either.",
    ),
    (lambda r: with_scorer(r, costs=Costs(amount="momentum", review=1)), "1,000 requests, the unit of `momentum` |"),
    (lambda r: with_slope(r, 1.0), "about one: the trees were about as sure as they should be"),
    (lambda r: with_slope(r, 1.3), "the trees were too timid, and probabilities move apart"),
    (lambda r: replace(r, segments=[]), "No category has enough rows"),
)


def words(reports: Reports) -> str:
    """The card's Markdown."""
    return model_card(reports).markdown


def html(reports: Reports) -> ET.Element:
    """The card's page, without figures."""
    return parsed(page("Model card", model_card(reports).sections, {}))


def cells(reports: Reports, table: int) -> list[list[str]]:
    """The cell texts of one of the card's tables, row by row, as shown on the page."""
    rows = list(html(reports).iter("table"))[table].iter("tr")
    return [["".join(cell.itertext()) for cell in row if cell.tag in {"td", "th"}] for row in rows]


def with_manifest(reports: Reports, **changes: object) -> Reports:
    """The reports for a bundle with these changes to its manifest."""
    return replace(reports, manifest=reports.manifest | changes)


def with_policy(reports: Reports, **policy: float | str) -> Reports:
    """The reports for another policy; recall is 80 % (76 % to 84 %), the alert rate 8 % (7.6 to 8.4)."""
    return with_manifest(reports, decision={"policy": policy, "threshold": 0.5})


def with_rows(reports: Reports, **changes: object) -> Reports:
    """The reports for other rows."""
    return replace(reports, rows=reports.rows | changes)


def refitted(reports: Reports) -> Reports:
    """The reports for a model that was refitted on all windows."""
    windows = reports.manifest["windows"]
    return with_manifest(reports, windows=windows | {"refit": windows["test"] | {"judged_by": "fed321fed321"}})


def with_scorer(reports: Reports, **changes: object) -> Reports:
    """The reports for a scorer with these changes to its declaration."""
    return replace(reports, scorer=reports.scorer.model_copy(update=changes))


def with_resampling(reports: Reports, **declared: object) -> Reports:
    """The reports for a model with another resampling of its training rows."""
    resampling = Resampling.model_validate(declared).model_dump()
    return replace(reports, training=reports.training | {"resampling": resampling})


def with_split(reports: Reports, **changes: float) -> Reports:
    """The reports for a scorer with another split."""
    return with_scorer(reports, split=reports.scorer.split.model_copy(update=changes))


def with_slope(reports: Reports, slope: float) -> Reports:
    """The reports for a bundle whose calibration has this slope."""
    return with_manifest(reports, calibration={"slope": slope, "intercept": -1.0})


def segment(reports: Reports, name: str, **rates: float | None) -> Row:
    """A segment equal to the whole except for these rates, with intervals of .05 to each side."""
    row = {**reports.segments[0], "segment": name}
    for rate, value in rates.items():
        bounds = (None, None) if value is None else (value - 0.05, value + 0.05)
        row |= {rate: value, f"{rate}_low": bounds[0], f"{rate}_high": bounds[1]}
    return row


def test_template_and_facts_agree(reports: Reports) -> None:
    """The template uses every fact and nothing else, and its first comment lists all of them."""
    source = TEMPLATE.read_text()
    assert meta.find_undeclared_variables(Environment(autoescape=True).parse(source)) == facts(reports).keys()
    comment = source.split("#}")[0]
    assert [name for name in facts(reports) if not re.search(rf"\b{name}\b", comment)] == []


def test_lines_of_a_paragraph_are_joined() -> None:
    """Lines of a paragraph are joined, but tables, list entries and headings keep their lines, even if indented."""
    joined = "# a\n\nb c\n\n| d |\n| e |\n\n- f g\n- h\n  - i\n"
    assert BREAK.sub(" ", "# a\n\nb\n  c\n\n| d |\n| e |\n\n- f\n  g\n- h\n  - i\n") == joined


def test_sections_are_in_order(reports: Reports) -> None:
    """The page and the Markdown have the same headings, in order.

    The template places each figure once, and the Markdown shows no trace of it.
    """
    figures = [name for section in model_card(reports).sections for name in section.figures]
    assert sorted(figures) == sorted(pictures(reports))
    assert "<!--" not in words(reports)
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
        "What a person is told",
        "Limits and what to watch",
        "Reproducing it",
    ]


def test_hostile_names_are_shown_as_they_are(reports: Reports) -> None:
    """Markup in a level, a feature, a rejection reason or a warning stays text in its own cell or sentence."""
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


def test_usual_sentences(reports: Reports) -> None:
    """The unchanged reports give their sentences."""
    card = words(reports)
    assert [sentence for sentence in USUAL if sentence not in card] == []


@pytest.mark.parametrize(("change", "sentence"), CASES)
def test_sentence_of_a_case(reports: Reports, change: Change, sentence: str) -> None:
    """Changed reports give another sentence, which the usual card does not have."""
    assert sentence in words(change(reports))
    assert sentence not in words(reports)


def test_comparisons_that_were_not_made_have_no_figure(reports: Reports) -> None:
    """A comparison that was not made, as may happen outside DVC, has no figure."""
    bare = replace(reports, selection=None, resampling=None, tuning=None, costs=[])
    assert set(pictures(bare)) == {"importance", "precision_recall", "tradeoff", "reliability"}
    assert "The following was judged" not in words(bare)


@pytest.mark.parametrize("policy", [{"recall": 0.9, "confidence": 0.95}, {"review_rate": 0.1}])
def test_confidence_is_not_always_missed(reports: Reports, policy: dict[str, float]) -> None:
    """A policy that has a confidence, or cannot have one, is not criticised for lacking it."""
    assert "No confidence" not in words(with_policy(reports, **policy))


def test_confidence_is_less_where_rows_are_of_one_entity(reports: Reports) -> None:
    """With both an entity and a confidence, the card says that the bound takes rows for independent."""
    sure = with_policy(reports, recall=0.9, confidence=0.95)
    sentence = (
        "The confidence assumes that rows of one `card` value are independent; if several are fraud together, it is "
        "lower than 95 %."
    )
    assert sentence in words(with_scorer(sure, entity="card"))
    assert "The confidence assumes" not in words(sure) + words(with_scorer(reports, entity="card"))


def test_rows_that_stand_for_several_requests(reports: Reports) -> None:
    """The card says what rows are weighted by, that copies are drawn together, and what a confidence assumes."""
    split = reports.scorer.split.model_copy(update={"weight": "stands_for"})
    card = words(with_scorer(with_policy(reports, recall=0.9, confidence=0.95), split=split))
    assert "Each row counts as often as `stands_for` says" in card
    assert "a row is drawn with all the requests that it stands for" in card
    assert "The confidence assumes that the requests that one row stands for are independent" in card
    assert "stands for" not in words(reports)
    assert "treats rows of one customer as independent" in words(with_scorer(reports, entity=None))


def test_reports_from_before_there_were_warnings(reports: Reports) -> None:
    """An older report without a list of warnings gives a card without warnings."""
    old = {key: value for key, value in reports.rows.items() if key != "warnings"}
    assert words(replace(reports, rows=old)) == words(reports)


@pytest.mark.parametrize(
    ("policy", "description", "outcome"),
    [
        ({"recall": 0.9}, "at least 90 % of the frauds are flagged", "broken"),
        ({"recall": 0.82}, "at least 82 % of the frauds are flagged", "barely missed"),
        ({"recall": 0.78}, "at least 78 % of the frauds are flagged", "barely kept"),
        ({"recall": 0.7, "confidence": 0.95}, "at least 70 % of the frauds are flagged, with 95 % confidence", "kept"),
        ({"precision": 0.2}, "at least 20 % of the flagged requests are fraud", "broken"),
        ({"review_rate": 0.05}, "at most 5 % of all requests are flagged", "broken"),
        ({"review_rate": 0.078}, "at most 7.8 % of all requests are flagged", "barely missed"),
        ({"review_rate": 0.1}, "at most 10 % of all requests are flagged", "kept"),
        (
            {"cost": "lowest"},
            "missed frauds, reviews and blocked legitimate requests together cost least, on the calibration rows",
            "no promise",
        ),
    ],
)
def test_every_policy_is_described_and_judged(reports: Reports, policy: Row, description: str, outcome: str) -> None:
    """The value decides if a level is reached; it is broken, with an explanation, if the whole interval misses it.

    The head of the card and the section on decisions agree.
    """
    card = model_card(with_policy(reports, **policy))
    assert VERDICTS[outcome] in card.verdict
    head, decisions = (card.sections[number].text for number in (0, 5))
    assert f"Its policy: {description}. {card.verdict}\n" in head
    assert f"The policy: {description}. " in decisions
    assert card.verdict in decisions
    assert ("expect what was found here" in decisions) == (outcome == "broken")


@pytest.mark.parametrize(("recall", "reason"), [(0.9, "does not explain this"), (0.85, "the threshold was unlucky")])
def test_broken_promise_has_its_likely_reason(reports: Reports, recall: float, reason: str) -> None:
    """The card says whether chance explains a miss, and where the missed frauds are."""
    broken = with_policy(reports, recall=recall)
    assert reason in words(broken)
    assert "Missed frauds are concentrated in `country` NA (16 of 20 missed)." in words(broken)
    assert "concentrated" not in words(replace(broken, segments=[]))


def test_bands_are_described(reports: Reports) -> None:
    """The card describes both thresholds, the reason for the second one, and its effect."""
    block = {"policy": {"precision": 0.9, "confidence": 0.95}, "threshold": 0.56789}
    decision = reports.manifest["decision"] | {"block": block}
    thresholds = [*reports.thresholds, threshold_row("block", 0.56789, 0.3, 0.92)]
    text = words(with_manifest(replace(reports, thresholds=thresholds), decision=decision))
    assert "whose probability is 0.56789 or more are to be blocked, the others reviewed (`band` in the answer)." in text
    assert "as many requests as possible, provided that at least 90 % of them are fraud, with 95 % confidence." in text
    assert "| **to block** | 0.568 |" in text
    assert "to be blocked" not in words(reports)


def test_costs_are_told_in_their_parts(reports: Reports) -> None:
    """The card has each decision's costs, those of the declared policy, and whether reviews exceed the capacity."""
    text = words(reports)
    assert "| a missed fraud costs its `amount`, a review 2.00 |" in text
    assert (
        "In USD, 1,000 requests cost 1,234: 1,000 for missed frauds, 4.50 for the part of flagged frauds that is lost"
        in text
    )
    assert "97.3 requests a day were to be reviewed." in text
    costs = Costs.model_validate(
        {"amount": "amount", "review": 4, "insult": {"flat": 10, "share": 0.02}, "recovered": 0.9, "capacity": 90}
    )
    text = words(replace(reports, scorer=reports.scorer.model_copy(update={"costs": costs})))
    assert (
        "a legitimate request that is blocked 10.0 and 2 % of its `amount`; 90 % of a flagged fraud is saved |" in text
    )
    assert (
        "97.3 requests a day were to be reviewed; the capacity is 90.0. **That is more than can be reviewed**" in text
    )


def test_declared_threshold_is_listed_once(reports: Reports) -> None:
    """An aim with the declared threshold does not get a line of its own."""
    thresholds = [{**reports.declared, "aim": "recall 0.9"}, {**reports.thresholds[0], "aim": "review_rate 0.001"}]
    table = cells(replace(reports, thresholds=[*thresholds, *reports.thresholds]), 3)
    aims = [row[0] for row in table[1:]]
    assert aims == ["0.1 % of requests flagged", "50 % of frauds flagged", "the declared policy"]


def test_features_have_kind_unit_and_direction(reports: Reports) -> None:
    """The table has the kind and unit of each feature, and the direction in which its risk may go."""
    bound = deepcopy(reports.manifest["contract"])
    bound["fields"]["amount"]["monotone"] = "increasing"
    bound["fields"]["speed"]["monotone"] = "decreasing"
    del bound["features"]["momentum"]
    table = {row[0]: row[1:4] for row in cells(with_manifest(reports, contract=bound), 1)}
    assert table["amount"] == ["money", "USD", "may only rise"]
    assert table["speed"] == ["number", "km/h", "may only fall"]
    assert table["amount_per_visit"] == ["amount divided by visits", "", "may only rise"]
    assert table["item_kind"] == ["category learned from the text of item", "", "free"]
    assert ["momentum", "amount times speed"] in [row[:2] for row in cells(reports, 1)]


def test_many_features_are_cut(reports: Reports) -> None:
    """Only the first of hundreds of features are shown, and the card says where the others are."""
    card = words(replace(reports, importance=reports.importance * 10))
    assert card.count("| `momentum` |") == MOST_FEATURES // 8
    assert "55 more features are in `reports/mini/importance.csv`." in card


def test_every_measure_has_its_interval_and_meaning(reports: Reports) -> None:
    """Each line of the results has a value, an interval and a meaning."""
    lines = cells(reports, 2)
    meaning = "precision averaged over every recall; guessing gives 0.0500"
    assert ["average precision", "0.400", "0.380 to 0.420", meaning] in lines
    assert ["at the threshold: recall", "80.0 %", "76.0 % to 84.0 %", "the share of frauds that are flagged"] in lines
    assert all(all(line) for line in lines)


def test_costs_are_in_the_amount_s_unit(reports: Reports) -> None:
    """Costs have the unit of the declared amount, and are absent if none are declared."""
    card = words(reports)
    assert "| at the threshold: cost of 1,000 requests, USD | 1,234 |" in card
    assert "costs least on the test window" in card
    thresholds = [{name: value for name, value in row.items() if "cost" not in name} for row in reports.thresholds]
    assert "cost" not in words(replace(with_scorer(reports, costs=None), thresholds=thresholds))


def test_entities_are_in_the_results(reports: Reports) -> None:
    """If an entity is declared, the precision among each day's riskiest entities is in the results."""
    metrics = reports.metrics | {"entity_precision_at_10": 0.25}
    intervals = reports.intervals | {"entity_precision_at_10": [0.2, 0.3]}
    card = words(replace(with_scorer(reports, entity="card_id"), metrics=metrics, intervals=intervals))
    assert "| frauds among the top 10 | 25.0 % | 20.0 % to 30.0 % | of each day's riskiest `card_id` values |" in card


def test_segments_that_differ_are_marked(reports: Reports) -> None:
    """A segment is marked only if its whole interval is on one side of the overall value."""
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
    """Of many segments, those that differ are kept in the report's order, and the card says where the others are."""
    rows = [*(segment(reports, f"s{number}") for number in range(40)), segment(reports, "low", recall=0.1)]
    text = model_card(replace(reports, segments=rows)).sections[7].text
    assert "1 of 41 are marked." in text
    assert f"{MOST_SEGMENTS} are shown; all are in `reports/mini/segments.csv`." in text
    assert text.count("| `country` |") == MOST_SEGMENTS
    assert text.rstrip().splitlines()[-1].startswith("| `country` | low |")


def test_control_group_and_score_are_told(reports: Reports) -> None:
    """The card tells its approver what is let through on purpose, and what a score means."""
    block = {"policy": {"precision": 0.9}, "threshold": 0.56789}
    decision = reports.manifest["decision"] | {"block": block, "control": {"share": 0.01}, "score": 1000}
    row = threshold_row("block", 0.56789, 0.3, 0.92) | {"caught_amount_of_1000": 5_000.0}
    text = words(
        replace(reports, manifest=reports.manifest | {"decision": decision}, thresholds=[*reports.thresholds, row])
    )
    assert "**1 % of the requests to be blocked are let through on purpose**" in text
    assert "in the test window this would be 0.800 of every 1,000 requests, with frauds of 50.0 in total." in text
    assert "Answers also have a score from 0 to 1000: 10 % of the legitimate calibration rows have 600 or more" in text
    assert "let through" not in words(reports)
    assert "from 0 to 1000" not in words(reports)
