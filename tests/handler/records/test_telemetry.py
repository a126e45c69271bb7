"""The metrics line, as CloudWatch reads it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.records.telemetry import (
    MOST_VALUES,
    SWAPPED,
    TROUBLE,
    Meter,
    StoreMeter,
    _distribution,
    record_failure,
    write,
)
from handler.scoring.scorer import Answered, Scored

ROOT = Path(__file__).parents[3]
CONTEXT = SimpleNamespace(function_version="7")
# Of CloudWatch's own list of units (API reference, MetricDatum), those that the function has a use for.
UNITS = {"Count", "Milliseconds", "None"}


def answered(probabilities: Sequence[float], *, n_warned: int = 0) -> Answered:
    """So many predictions, flagged from a half on, of which the first few have a warning."""
    scored = [Scored([], 0.0, probability, probability >= 0.5) for probability in probabilities]
    answers = [{"warnings": [{"field": "amount"}] * 2} if index < n_warned else {} for index in range(len(scored))]
    return Answered([SimpleNamespace()] * len(scored), scored, answers)


def written(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one line that was written, parsed."""
    text = capfd.readouterr().out
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@pytest.fixture(params=["scored", "batch", "failed", "swapped", "trouble"])
def line(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The line of one invocation, or of what became of the store."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "100%s-fraud")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    ways = {
        "scored": lambda: write(Meter("refund").line(CONTEXT, answered([0.25]), 0.0123456)),
        "batch": lambda: write(Meter("refund").line(CONTEXT, answered([0.25] * 97 + [0.5] * 3, n_warned=7), 1.5)),
        "failed": lambda: record_failure(CONTEXT),
        "swapped": lambda: StoreMeter().record("refund", SWAPPED),
        "trouble": lambda: StoreMeter().record("refund", TROUBLE),
    }
    ways[request.param]()
    return written(capfd)


@pytest.mark.parametrize("line", ["batch"], indirect=True)
def test_the_line_holds_every_count(line: dict[str, Any]) -> None:
    """Requests, those flagged, those with any warning, however many; and says of which scorer."""
    assert (line["Scored"], line["Flagged"], line["Warned"], line["Scorer"]) == (100, 3, 7, "refund")


@pytest.mark.parametrize("line", ["scored"], indirect=True)
def test_the_line_holds_the_time_an_answer_took(line: dict[str, Any]) -> None:
    """In milliseconds, to the microsecond."""
    assert line["Latency"] == 12.346


@pytest.mark.parametrize("line", ["scored"], indirect=True)
def test_the_line_of_a_request_has_one_probability(line: dict[str, Any]) -> None:
    """A number."""
    assert line["Probability"] == 0.25


@pytest.mark.parametrize("line", ["batch"], indirect=True)
def test_the_line_of_a_batch_has_all_its_probabilities(line: dict[str, Any]) -> None:
    """As many as the format allows, of which CloudWatch makes percentiles."""
    assert line["Probability"] == [0.25] * 97 + [0.5] * 3


@pytest.mark.parametrize("n_requests", [1, 2, 99, 100, 101, 150, 199, 200, 999, 1000])
def test_no_batch_has_more_values_than_the_format_allows(capfd: pytest.CaptureFixture[str], n_requests: int) -> None:
    """CloudWatch drops a line with more; a smaller batch has them all."""
    write(Meter("refund").line(CONTEXT, answered([index / 1000 for index in range(n_requests)]), 0.1))
    values = written(capfd)["Probability"]
    assert len(values if isinstance(values, list) else [values]) == min(n_requests, MOST_VALUES) <= 100


@given(
    probabilities=st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=400),
)
def test_the_kept_values_are_spread_over_the_batch(probabilities: list[float]) -> None:
    """Whatever the probabilities: each of them is the batch's own, and no tenth of the batch goes without one."""
    kept = json.loads(_distribution(answered(probabilities).scored))
    kept = kept if isinstance(kept, list) else [kept]
    ordered = [float(f"{value:.6g}") for value in sorted(probabilities)]
    assert set(kept) <= set(ordered)
    assert kept == sorted(kept)
    step = max(len(ordered) / MOST_VALUES, 1)
    for index, value in enumerate(kept):
        assert ordered[int(index * step)] <= value <= ordered[min(int((index + 1) * step), len(ordered) - 1)]


def test_the_extremes_of_a_batch_are_among_its_values(capfd: pytest.CaptureFixture[str]) -> None:
    """The highest are those that somebody is alarmed by."""
    write(Meter("refund").line(CONTEXT, answered([index / 1000 for index in range(1000)]), 0.1))
    values = written(capfd)["Probability"]
    assert (min(values), max(values)) == (0.0, 0.999)


@pytest.mark.parametrize("probability", [0.0, 1e-300, 1.23456789e-7, 0.999999999, 1.0])
def test_a_probability_is_a_number_in_json(capfd: pytest.CaptureFixture[str], probability: float) -> None:
    """However small, to six digits."""
    write(Meter("refund").line(CONTEXT, answered([probability]), 0.1))
    assert written(capfd)["Probability"] == pytest.approx(probability, rel=1e-5)


@pytest.mark.parametrize("line", ["failed"], indirect=True)
def test_a_failure_is_one(line: dict[str, Any]) -> None:
    """Whatever was asked."""
    assert line["Failed"] == 1


@pytest.mark.parametrize(("line", "name"), [("swapped", "Swapped"), ("trouble", "StoreTrouble")], indirect=["line"])
def test_what_becomes_of_the_store_is_one_of_its_scorer(line: dict[str, Any], name: str) -> None:
    """By scorer, and of the function as a whole: a version that ends soon has no series of its own."""
    assert (line[name], line["Scorer"]) == (1, "refund")
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["FunctionName"], ["FunctionName", "Scorer"]]


def test_outside_lambda_the_line_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Under uvicorn there is neither a function nor its version."""
    for name in ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"):
        monkeypatch.delenv(name, raising=False)
    StoreMeter().record("refund", SWAPPED)
    line = written(capfd)
    assert (line["FunctionName"], line["FunctionVersion"]) == ("local", "local")


def test_the_line_says_of_which_version(line: dict[str, Any]) -> None:
    """The context's, which a snapshot cannot make stale; a swap, which has none, the environment's."""
    assert (line["FunctionName"], line["FunctionVersion"]) == ("100%s-fraud", "7")


def test_every_name_of_the_directive_is_in_the_line(line: dict[str, Any]) -> None:
    """CloudWatch drops a metric whose dimension or value is missing."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    names = {name for names in directive["Dimensions"] for name in names}
    assert names | {metric["Name"] for metric in directive["Metrics"]} <= line.keys()
    assert directive["Namespace"] == "FraudScorer"


def test_nothing_is_in_the_line_that_the_directive_does_not_name(line: dict[str, Any]) -> None:
    """But the version, which the line of the store has for whoever searches the log."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    names = {name for names in directive["Dimensions"] for name in names}
    assert line.keys() - {"_aws", "FunctionVersion"} <= names | {metric["Name"] for metric in directive["Metrics"]}


def test_every_value_is_as_the_format_has_it(line: dict[str, Any]) -> None:
    """A dimension is a text, a metric a number, or up to a hundred of them, in a unit that CloudWatch knows."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    for name in {name for names in directive["Dimensions"] for name in names}:
        assert isinstance(line[name], str)
    for metric in directive["Metrics"]:
        values = line[metric["Name"]]
        values = values if isinstance(values, list) else [values]
        assert 1 <= len(values) <= 100
        assert all(type(value) in {int, float} for value in values)
        assert metric["Unit"] in UNITS


@pytest.mark.parametrize(
    ("line", "units"),
    [
        (
            "batch",
            {
                "Scored": "Count",
                "Flagged": "Count",
                "Warned": "Count",
                "Latency": "Milliseconds",
                "Probability": "None",
            },
        ),
        ("failed", {"Failed": "Count"}),
        ("trouble", {"StoreTrouble": "Count"}),
    ],
    indirect=["line"],
)
def test_each_metric_has_its_unit(line: dict[str, Any], units: dict[str, str]) -> None:
    """And is declared once."""
    metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert {metric["Name"]: metric["Unit"] for metric in metrics} == units
    assert len(metrics) == len(units)


def test_the_time_is_in_milliseconds(line: dict[str, Any]) -> None:
    """Since 1970, as the format asks."""
    assert 1.7e12 < line["_aws"]["Timestamp"] < 1e13


BROKEN_STDOUT = """
import os
from types import SimpleNamespace
from handler.scoring.scorer import Answered, Scored
from handler.records.telemetry import SWAPPED, Meter, StoreMeter, record_failure, write

def nobody_reads():
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)

def is_full():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

context = SimpleNamespace(function_version="7")
for break_stdout in (lambda: os.close(1), nobody_reads, is_full):
    break_stdout()
    write(Meter("refund").line(context, Answered([None], [Scored([], 0.0, 0.5, True)], [{}]), 0.1))
    StoreMeter().record("refund", SWAPPED)
    record_failure(context)
    os.write(2, b"on ")
os._exit(0)
"""


def test_a_line_that_cannot_be_written_fails_no_request() -> None:
    """Nor the thread that looks at the store: stdout is closed, a pipe that nobody reads, a full device."""
    command = [sys.executable, "-c", BROKEN_STDOUT]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (run.returncode, run.stderr) == (0, "on " * 3)
