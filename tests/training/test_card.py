"""The model card: its words on hand-made reports, its page, and what it says of reports that are not there."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from training.card import card, main
from training.declaration import ScorerDeclaration
from training.params import Costs, Resampling
from training.report.card_decisions import decisions, promise
from training.report.card_figures import pictures
from training.report.card_making import MOST_FEATURES, making
from training.report.card_results import MOST_SEGMENTS, calibration, results, segments
from training.report.card_text import data, purpose
from training.report.html import page
from training.report.stage_reports import CardError, Reports, read_reports

PROJECT = Path(__file__).parents[2]
HOSTILE = "<script>|`x` & *y*\n[a](http://evil.example)\\"
ON_ONE_LINE = HOSTILE.replace("\n", " ")
RATES = ("recall", "precision", "false_positive_rate", "alert_rate")
METRICS = {
    "rows": 1000,
    "frauds": 50,
    "fraud_rate": 0.05,
    "roc_auc": 0.9,
    "average_precision": 0.4,
    "recall_at_1pct_fpr": 0.3,
    "brier_score": 0.04,
    "expected_calibration_error": 0.002,
    "recall": 0.8,
    "precision": 0.1,
    "false_positive_rate": 0.07,
    "alert_rate": 0.08,
    "cost_of_1000": 1234.5,
    "expected_calibration_error_uncalibrated": 0.02,
}
FOLDS = {"mean": 0.4, "std": 0.1, "folds": [0.3, 0.5]}


def parsed(content: str) -> ET.Element:
    """The element that a text is; an error where it is not well-formed."""
    return ET.fromstring(content)  # noqa: S314 - our own text


def threshold_row(aim: str, threshold: float) -> dict[str, Any]:
    """One operating point of the report."""
    row = {"threshold": threshold}
    for name in (*RATES, "cost_of_1000"):
        row |= {name: METRICS[name], f"{name}_low": METRICS[name] * 0.9, f"{name}_high": METRICS[name] * 1.1}
    return row | {"aim": aim}


def segment_row(segment: str, *, recall: float | None = 0.8, false_positives: float = 0.07) -> dict[str, Any]:
    """One category of the report; its intervals reach .05 to each side."""
    row: dict[str, Any] = {"feature": "country", "segment": segment, "rows": 500.0, "frauds": 20.0}
    row |= {"fraud_rate": 0.04, "predicted_rate": 0.03, "alert_rate": 0.08}
    for name, value in (("recall", recall), ("false_positive_rate", false_positives)):
        spread = (None, None) if value is None else (value - 0.05, value + 0.05)
        row |= {name: value, f"{name}_low": spread[0], f"{name}_high": spread[1]}
    return row


def bin_row(predicted: float, observed: float) -> dict[str, float]:
    """One bin of a reliability report."""
    return {"predicted": predicted, "observed": observed, "rows": 500.0, "low": observed / 2, "high": observed * 2}


@pytest.fixture
def reports(mini_scorer: ScorerDeclaration) -> Reports:
    """Reports on the mini scorer as its stages would write them, whose promise of 90 % recall was not kept."""
    window = {
        "from": "2025-01-01T00:00:00",
        "to": "2025-02-01T12:30:00",
        "rows": 1000,
        "frauds": 50,
        "fraud_rate": 0.05,
    }
    names = ("amount", "speed", "visits", "country", "is_new", "item_kind", "amount_per_visit", "momentum")
    arm = {"value": 0.4, "difference": 0.0, "interval": [0.0, 0.0]}
    return Reports(
        name="mini",
        scorer=mini_scorer,
        manifest={
            "version": "abc123abc123",
            "contract": mini_scorer.contract.model_dump(mode="json"),
            "calibration": {"slope": 0.8, "intercept": -1.0},
            "decision": {"policy": {"recall": 0.9}, "threshold": 0.012345678},
            "metrics": METRICS,
        },
        rows={
            "rows": 3000,
            "quarantined": {"rows": 0, "reasons": {}},
            "windows": dict.fromkeys(("train", "calibrate", "test"), window),
            "warnings": [],
        },
        training={
            "rows_learned_from": 1200,
            "model": {"rounds": 20, "max_depth": 3, "learning_rate": 0.3, "subsample": 0.7, "threads": 2},
            "texts": {"item": {"answered": 0.8, "accuracy_answered": 0.95}},
        },
        metrics=METRICS,
        intervals={name: [value * 0.95, value * 1.05] for name, value in METRICS.items()},
        thresholds=[threshold_row("recall 0.5", 0.3), threshold_row("declared", 0.0123457)],
        segments=[segment_row("DE"), segment_row("NA", recall=0.2)],
        importance=[
            {"feature": name, "gain": 0.5 / number, "permutation": 0.02 * number, "permutation_std": 0.001}
            for number, name in enumerate(names, start=1)
        ],
        reliability=[bin_row(0.01, 0.02), bin_row(0.1, 0.08)],
        reliability_uncalibrated=[bin_row(0.02, 0.02), bin_row(0.2, 0.08)],
        precision_recall=[{"recall": 1.0, "precision": 0.05}, {"recall": 0.0, "precision": 1.0}],
        selection={
            "verdict": "xgboost is ahead by 0.1 +- 0.2",
            "candidates": {name: {"average_precision": FOLDS} for name in ("xgboost", "random_forest")},
        },
        resampling={
            "declared": "smote 0.3",
            "chosen": "none",
            "verdict": "none is no better",
            "arms": {name: {"average_precision": arm} for name in ("none", "smote 0.3")},
        },
        tuning={
            "verdict": "none of 2 trials is better",
            "searched": ["subsample"],
            "trials": [{"average_precision": 0.4, "is_whole": True}, {"average_precision": 0.3, "is_whole": False}],
        },
    )


def whole(reports: Reports) -> str:
    """The card's Markdown."""
    return "\n".join(section.text for section in card(reports))


def html(reports: Reports) -> str:
    """The card's page."""
    return page("Model card: mini", card(reports), pictures(reports))


def cells(content: str, table: int) -> list[list[str]]:
    """The text of the cells of one of a page's tables, row by row."""
    found = list(parsed(content).iter("table"))[table]
    return [["".join(cell.itertext()) for cell in row if cell.tag in {"td", "th"}] for row in found.iter("tr")]


def with_recall(reports: Reports, value: float, low: float, high: float, **policy: float) -> Reports:
    """The reports with another recall on the test window, under a policy."""
    manifest = reports.manifest | {"decision": {"policy": policy, "threshold": 0.5}}
    metrics, intervals = reports.metrics | {"recall": value}, reports.intervals | {"recall": [low, high]}
    return replace(reports, manifest=manifest, metrics=metrics, intervals=intervals)


def with_scorer(reports: Reports, **changes: object) -> Reports:
    """The reports on a scorer that is declared otherwise."""
    return replace(reports, scorer=reports.scorer.model_copy(update=changes))


@pytest.fixture
def folder(reports: Reports, mini_params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the reports as files."""
    shutil.copy(mini_params, tmp_path / "params.yaml")
    target = tmp_path / "reports" / "mini"
    target.mkdir(parents=True)
    for stem, content in vars(reports).items():
        if stem in {"name", "scorer", "manifest", "contract"}:
            continue
        if isinstance(content, list):
            with (target / f"{stem}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]))
                writer.writeheader()
                writer.writerows(content)
        else:
            (target / f"{stem}.json").write_text(json.dumps(content))
    bundle = tmp_path / "build" / "bundles" / "mini"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text(json.dumps(reports.manifest))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The stage


def test_stage_makes_the_card_of_a_trained_scorer(
    trained: Path, tmp_path: Path, run_stage: Callable[[Path, str], subprocess.CompletedProcess[str]]
) -> None:
    """From the reports of the other stages the stage writes both files, without a warning, and tells the promise."""
    for part in ("reports", "build/bundles"):
        shutil.copytree(trained / part, tmp_path / part)
    shutil.copy(trained / "params.yaml", tmp_path)
    done = run_stage(tmp_path, "card")
    assert (done.returncode, done.stderr) == (0, "")
    assert "reports/mini/card.html: On the test window recall was" in done.stdout
    version = json.loads((trained / "build/bundles/mini/manifest.json").read_text())["version"]
    for file in ("card.md", "card.html"):
        assert version in (tmp_path / "reports/mini" / file).read_text()


def test_card_is_the_same_on_every_run(folder: Path) -> None:
    """Neither the order of sets nor a user's plot settings change a byte."""
    (folder / "matplotlibrc").write_text("font.size: 20\nsvg.hashsalt: other\n")
    found = []
    for seed, settings in (("1", ""), ("2", str(folder / "matplotlibrc"))):
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": seed, "MATPLOTLIBRC": settings}
        subprocess.run([sys.executable, "-m", "training.card", "mini"], cwd=folder, env=environment, check=True)
        found.append([(folder / "reports/mini" / file).read_bytes() for file in ("card.md", "card.html")])
    assert found[0] == found[1]


def test_pyplot_is_not_imported() -> None:
    """The stage needs no display and leaves pyplot's global state alone."""
    check = "import sys, training.card; raise SystemExit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=PROJECT, check=False).returncode == 0


def test_files_read_are_the_reports(folder: Path, reports: Reports) -> None:
    """What is read from the files is what was reported; a category called NA and empty cells keep their meaning."""
    read = read_reports("mini", reports.scorer)
    assert read == reports
    assert read.segments[1]["segment"] == "NA"
    assert (folder / "reports/mini/segments.csv").exists()


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("reports/mini/rows.json", "prepare"),
        ("reports/mini/training.json", "train"),
        ("reports/mini/metrics.json", "evaluate"),
        ("reports/mini/thresholds.csv", "evaluate"),
        ("build/bundles/mini/manifest.json", "package"),
    ],
)
def test_missing_report_names_its_stage(folder: Path, file: str, stage: str) -> None:
    """A report that is not there is named, with the stage that writes it, and no card is written."""
    (folder / file).unlink()
    with pytest.raises(CardError, match=rf"{re.escape(file)} cannot be read .*python -m training\.{stage} mini"):
        main("mini")
    assert not list(folder.glob("reports/mini/card*"))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metrics.json", "{", "is not JSON"),
        ("segments.csv", "feature,segment,rows\nchain,ETH,many\n", "could not convert string to float: 'many'"),
        ("segments.csv", "feature,segment\nchain,ETH,1\n", "not what its stage writes"),
        ("segments.csv", "feature,segment,rows\nchain\n", "not what its stage writes"),
    ],
)
def test_damaged_report_is_refused(folder: Path, file: str, content: str, said: str) -> None:
    """A report that cannot be understood is named, with what is wrong."""
    (folder / "reports/mini" / file).write_text(content)
    with pytest.raises(CardError, match=said):
        main("mini")


def test_bundle_of_another_model_is_refused(folder: Path) -> None:
    """A card never mixes the reports on one model with the bundle of another."""
    (folder / "reports/mini/metrics.json").write_text(json.dumps(METRICS | {"recall": 0.5}))
    with pytest.raises(CardError, match=r"bundle of another model; run python -m training\.package mini"):
        main("mini")


# The page


def test_page_is_whole_and_holds_all_that_it_needs(reports: Reports) -> None:
    """The page is well-formed, runs nothing, and refers to nothing but its own parts."""
    content = html(reports)
    root = parsed(content)
    tags = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    assert not tags & {"script", "img", "link", "iframe", "object", "image", "a"}
    for element in root.iter():
        assert "src" not in element.attrib
        assert element.get("href", "#").startswith("#")
        assert not any(key.startswith("on") for key in element.attrib)
    assert set(re.findall(r"url\((.)", content)) == {"#"}
    assert "@import" not in content


def test_page_has_every_picture_once(reports: Reports) -> None:
    """Seven pictures, each with a caption and a description, no id twice."""
    root = parsed(html(reports))
    drawn = [element for element in root.iter() if element.tag.endswith("}svg")]
    assert len(drawn) == len(list(root.iter("figcaption"))) == 7
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    for picture in drawn:
        assert set(picture.attrib["aria-labelledby"].split()) <= set(ids)


def test_sections_are_in_order(reports: Reports) -> None:
    """The page and the Markdown have the same headings, from what is decided to how it is made again."""
    headings = re.findall(r"^## (.*)$", whole(reports), re.MULTILINE)
    assert [element.text for element in parsed(html(reports)).iter("h2")] == headings
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


def test_hostile_category_is_shown_as_it_is(reports: Reports) -> None:
    """A category with markup in its name stays one cell of text, in the page and in the Markdown's table."""
    hostile = replace(reports, segments=[segment_row(HOSTILE, recall=0.2), segment_row("")])
    assert [row[1] for row in cells(html(hostile), -1)] == ["category", ON_ONE_LINE, "(empty)"]
    lines = [line for line in segments(hostile).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}
    assert ON_ONE_LINE in "".join(parsed(html(hostile)).itertext())


def test_hostile_feature_is_shown_as_it_is(reports: Reports) -> None:
    """A feature that is not even a name stays one cell of text."""
    importance = [{**reports.importance[0], "feature": HOSTILE}]
    assert cells(html(replace(reports, importance=importance)), 1)[1][0] == ON_ONE_LINE


def test_hostile_reasons_are_shown_as_they_are(reports: Reports) -> None:
    """The reasons of the quarantine and the warnings on the data cannot act as markup."""
    rows = reports.rows | {"quarantined": {"rows": 3, "reasons": {HOSTILE: 3}}, "warnings": [f"{HOSTILE} is odd."]}
    shown = "".join(parsed(html(replace(reports, rows=rows))).itertext())
    assert f"3 of them broke the declared contract and were set aside: {ON_ONE_LINE} (3)." in shown
    assert f"The check of the data warns: {ON_ONE_LINE} is odd." in shown


def test_long_name_is_cut(reports: Reports) -> None:
    """A category of thousands of letters does not make a page of its own."""
    assert f"{'x' * 59}…" in segments(replace(reports, segments=[segment_row("x" * 4000)]))


# The promise


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((0.80, 0.77, 0.83), "**NOT kept.**"),
        ((0.89, 0.86, 0.92), "not reached, by no more than the chance of which rows happened to come."),
        ((0.91, 0.88, 0.94), "kept, though other rows of the same kind could have missed it."),
        ((0.95, 0.93, 0.97), "kept."),
    ],
)
def test_verdict_on_a_promised_recall(reports: Reports, found: tuple[float, float, float], verdict: str) -> None:
    """A target is kept or not by the value, and called broken where the whole interval misses it."""
    promised = promise(with_recall(reports, *found, recall=0.9))
    assert promised.verdict.endswith(f"): {verdict}")
    assert promised.is_broken == ("NOT" in verdict)


def test_broken_promise_heads_the_card(reports: Reports) -> None:
    """A reader of the first lines learns what was promised, what was found, and that it was not kept."""
    head = whole(with_recall(reports, 0.8, 0.77, 0.83, recall=0.9, confidence=0.95)).split("##")[0]
    assert "at least 90 % of the frauds are flagged, with 95 % confidence" in head
    assert "recall was 80.0 % (95 % interval 77.0 % to 83.0 %): **NOT kept.**" in head


def test_broken_promise_has_its_likely_reason(reports: Reports) -> None:
    """Where chance does not explain a miss, the card says what may, and where the missed frauds are."""
    said = decisions(with_recall(reports, 0.8, 0.77, 0.83, recall=0.9))
    assert "changed between the calibration window and the test window" in said
    assert "Missed frauds gather in `country` NA (16 of 20 missed)." in said


def test_broken_promise_without_a_culprit(reports: Reports) -> None:
    """Where no category stands out, none is blamed."""
    said = decisions(with_recall(replace(reports, segments=[]), 0.8, 0.77, 0.83, recall=0.9))
    assert "NOT kept" in said
    assert "gather" not in said


def test_kept_promise_needs_no_reason(reports: Reports) -> None:
    """A kept promise is not explained away."""
    assert "likely reason" not in decisions(with_recall(reports, 0.95, 0.93, 0.97, recall=0.9))


def test_missing_confidence_is_told(reports: Reports) -> None:
    """A target without a confidence is met by chance every second time; with one the card need not say so."""
    assert "No confidence is declared" in decisions(with_recall(reports, 0.95, 0.93, 0.97, recall=0.9))
    assert "No confidence" not in decisions(with_recall(reports, 0.95, 0.93, 0.97, recall=0.9, confidence=0.95))


@pytest.mark.parametrize(
    ("policy", "words", "verdict"),
    [
        ({"precision": 0.2}, "at least 20 % of the flagged requests are fraud", "**NOT kept.**"),
        ({"review_rate": 0.05}, "at most 5 % of all requests are flagged", "**NOT kept.**"),
        ({"review_rate": 0.1}, "at most 10 % of all requests are flagged", "kept."),
        ({"cost": "lowest"}, "missed amounts and reviews cost least, on the calibration rows", "none to keep."),
    ],
)
def test_every_policy_has_words(reports: Reports, policy: dict[str, Any], words: str, verdict: str) -> None:
    """Each policy is told in words, and judged by its own measure in its own direction."""
    decision = {"policy": policy, "threshold": 0.5}
    promised = promise(replace(reports, manifest=reports.manifest | {"decision": decision}))
    assert promised.policy == words
    assert promised.verdict.endswith(verdict)


def test_declared_threshold_is_listed_once(reports: Reports) -> None:
    """An aim that leads to the declared threshold is not a second line."""
    rows = [threshold_row("recall 0.9", 0.0123457), *reports.thresholds]
    found = cells(html(replace(reports, thresholds=rows)), 3)
    assert [row[0] for row in found[1:]] == ["50 % of frauds flagged", "the declared policy"]


# What was not done


def test_comparisons_that_were_not_made_are_told(reports: Reports) -> None:
    """Outside DVC there may be no comparison: the card says so, why it matters, and has no picture of it."""
    bare = replace(reports, selection=None, resampling=None, tuning=None)
    said = making(bare)
    assert "**The ways to rebalance were not compared**" in said
    assert "**Other kinds of model were not compared with this one**" in said
    assert "**There is no report of a search for parameters**" in said
    assert set(pictures(bare)) == {"importance", "precision_recall", "tradeoff", "reliability"}
    assert html(bare).count("<figure>") == 4


def test_missing_comparisons_stop_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stage makes a card from the reports that there are."""
    for stem in ("selection", "resampling", "tuning"):
        (folder / f"reports/mini/{stem}.json").unlink()
    main("mini")
    assert "were not compared" in (folder / "reports/mini/card.html").read_text()
    assert "NOT kept." in capsys.readouterr().out


def test_verdicts_are_told(reports: Reports) -> None:
    """What a comparison found stands in the card in its own words."""
    said = making(reports)
    assert "Kinds of model: xgboost is ahead by 0.1 ± 0.2." in said
    assert "Ways to rebalance: none is no better." in said
    assert "needs a second look" not in said


def test_better_rebalancing_is_a_finding(reports: Reports) -> None:
    """Where another way is better by more than chance and was not taken, the card says so."""
    better = {"value": 0.5, "difference": 0.1, "interval": [0.05, 0.15]}
    report = {**(reports.resampling or {}), "arms": {"none": {"average_precision": better}}}
    assert "**The declared way was kept all the same; it needs a second look.**" in making(
        replace(reports, resampling=report)
    )


# What it was made of


def test_parameters_have_their_origin(reports: Reports) -> None:
    """Each parameter is pinned, found or left; without a report of tuning the card does not guess."""
    said = making(reports)
    assert "pinned by the declaration: `rounds` 20, `max_depth` 3, `learning_rate` 0.3; found" in said
    assert "found by the search: `subsample` 0.7; left at its default: `threads` 2." in said
    assert "not pinned: `subsample` 0.7, `threads` 2." in making(replace(reports, tuning=None))


def test_features_have_kind_unit_and_direction(reports: Reports) -> None:
    """The table says of each feature what it is, and which way the risk may go."""
    contract = reports.manifest["contract"]
    amount = contract["fields"]["amount"] | {"monotone": "increasing"}
    fields = {"amount": amount, "item": contract["fields"]["item"], "visits": contract["fields"]["visits"]}
    bound = contract | {"fields": fields, "features": {"amount_per_visit": {"ratio": ["amount", "visits"]}}}
    table = {
        row[0]: row[1:4] for row in cells(html(replace(reports, manifest=reports.manifest | {"contract": bound})), 1)
    }
    assert table["amount"] == ["money", "USD", "may only rise"]
    assert table["amount_per_visit"] == ["amount divided by visits", "", "may only rise"]
    assert table["item_kind"] == ["category learned from the text of item", "", "free"]


def test_many_features_are_cut(reports: Reports) -> None:
    """Of hundreds of features the card shows the first, and says where the others are."""
    said = making(replace(reports, importance=reports.importance * 10))
    assert said.count("| `momentum` |") == MOST_FEATURES // 8
    assert "55 more features are in `reports/mini/importance.csv`." in said


@pytest.mark.parametrize(
    ("resampling", "words"),
    [
        (Resampling(method="smote", ratio=0.1), "SMOTE added made-up frauds"),
        (Resampling(method="undersample", ratio=0.1), "legitimate rows were left out at random"),
        (Resampling(method="class_weight", ratio=0.5), "as if there were 0.5 of them per legitimate row"),
        (Resampling(method="smote", ratio=0.0), "of training rows only: none."),
        (Resampling(method="none"), "of training rows only: none."),
    ],
)
def test_rebalancing_has_words(reports: Reports, resampling: Resampling, words: str) -> None:
    """Each way to rebalance is told in words, one that changes nothing as none."""
    assert words in making(with_scorer(reports, resampling=resampling))


def test_label_delay_is_told(reports: Reports) -> None:
    """A declared delay is told with the rows it costs; where there is none, the card says what that assumes."""
    assert "No label delay is declared" in data(reports)
    late = with_scorer(reports, split=reports.scorer.split.model_copy(update={"label_delay_days": 7.0, "sample": 0.2}))
    said = data(replace(late, rows=reports.rows | {"rows": 3100}))
    assert "known 7 days after its row, so the 100 rows closer than that" in said
    assert "gave 3,100 rows, a random 20 % of it." in said


def test_reports_without_warnings_have_none(reports: Reports) -> None:
    """A report of rows that knows of no warnings, or has none, is not warned of."""
    old = {key: value for key, value in reports.rows.items() if key != "warnings"}
    assert "warns" not in data(reports) + data(replace(reports, rows=old))


def test_answer_is_told(reports: Reports) -> None:
    """The card says what a caller receives, for both kinds of answer."""
    assert "receives this probability" in purpose(reports)
    contract = reports.manifest["contract"] | {"answer": "decision"}
    assert "receives 1 (flagged) or 0" in purpose(replace(reports, manifest=reports.manifest | {"contract": contract}))


# How good it is


def test_every_measure_has_its_interval_and_meaning(reports: Reports) -> None:
    """Each line of the results has a value, an interval and a meaning."""
    lines = cells(html(reports), 2)
    assert [
        "average precision",
        "0.400",
        "0.380 to 0.420",
        "precision averaged over every recall; guessing gives 0.0500",
    ] in lines
    assert all(all(line) for line in lines)


def test_costs_are_in_the_amount_s_unit(reports: Reports) -> None:
    """Costs are told in the unit of the declared amount, and not at all where none are declared."""
    said = results(reports) + decisions(reports)
    assert "| at the threshold: cost of 1,000 requests, USD | 1,234 |" in said
    assert "costs least on the test window" in said
    free = with_scorer(reports, costs=None)
    assert "cost" not in results(free) + decisions(free)


def test_costs_without_a_unit(reports: Reports) -> None:
    """An amount without a unit is its own unit."""
    said = results(with_scorer(reports, costs=Costs(amount="momentum", review=1.0)))
    assert "cost of 1,000 requests, the unit of `momentum`" in said


def test_entities_are_told(reports: Reports) -> None:
    """Where an entity is declared, the frauds among each day's riskiest are in the results."""
    metrics = reports.metrics | {"entity_precision_at_10": 0.25}
    said = results(replace(with_scorer(reports, entity="card_id"), metrics=metrics))
    assert "| frauds among the top 10 | 25.0 % |  | of each day's riskiest `card_id` values |" in said


@pytest.mark.parametrize(("slope", "words"), [(0.8, "too sure of themselves"), (1.0, "about one"), (1.3, "too timid")])
def test_calibration_has_words(reports: Reports, slope: float, words: str) -> None:
    """The slope is told as what it says about the trees."""
    manifest = reports.manifest | {"calibration": {"slope": slope, "intercept": 0.5}}
    said = calibration(replace(reports, manifest=manifest))
    assert words in said
    assert "and 0.500 is added; both numbers come from calibration rows" in said
    assert "0.200 percentage points apart on average, 2.00 before calibration" in said


def test_segments_that_differ_are_marked(reports: Reports) -> None:
    """A category is marked where its whole interval lies to one side of the overall value, and only there."""
    rows = [
        segment_row("same"),
        segment_row("low", recall=0.7),
        segment_row("high", recall=0.9, false_positives=0.2),
        segment_row("quiet", recall=None, false_positives=0.01),
    ]
    marks = {row[1]: row[-1] for row in cells(html(replace(reports, segments=rows)), -1)[1:]}
    assert marks == {
        "same": "",
        "low": "recall below",
        "high": "recall above, more false alarms",
        "quiet": "fewer false alarms",
    }


def test_many_segments_are_cut(reports: Reports) -> None:
    """Of many categories those that differ are kept, in the report's order, and the card says where the others are."""
    rows = [*(segment_row(f"s{number}") for number in range(40)), segment_row("low", recall=0.1)]
    said = segments(replace(reports, segments=rows))
    assert "1 of 41 are." in said
    assert f"{MOST_SEGMENTS} are shown; all are in `reports/mini/segments.csv`." in said
    assert said.count("| `country` |") == MOST_SEGMENTS
    assert said.rstrip().splitlines()[-1].startswith("| `country` | low |")


def test_no_segments(reports: Reports) -> None:
    """Where no category has enough rows, the card says that instead of an empty table."""
    assert "No category has enough rows" in segments(replace(reports, segments=[]))
