"""The metrics line, as CloudWatch reads it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from handler.telemetry import SWAPPED, Meter, StoreMeter, record_failure

CONTEXT = SimpleNamespace(function_version="7")


@pytest.fixture(params=["scored", "failed", "swapped"])
def line(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The line of one invocation, or of one swap, parsed."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "100%s-fraud")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    if request.param == "scored":
        Meter("refund").record(CONTEXT, 100, 3)
    elif request.param == "swapped":
        StoreMeter().record("refund", SWAPPED)
    else:
        record_failure(CONTEXT)
    written = capfd.readouterr().out
    assert written.endswith("}\n")
    assert written.count("\n") == 1
    parsed: dict[str, Any] = json.loads(written)
    return parsed


@pytest.mark.parametrize("line", ["scored"], indirect=True)
def test_the_line_holds_both_counts(line: dict[str, Any]) -> None:
    """And says of which scorer."""
    assert (line["Scored"], line["Flagged"], line["Scorer"]) == (100, 3, "refund")


@pytest.mark.parametrize("line", ["failed"], indirect=True)
def test_a_failure_is_one(line: dict[str, Any]) -> None:
    """Whatever was asked."""
    assert line["Failed"] == 1


@pytest.mark.parametrize("line", ["swapped"], indirect=True)
def test_a_swap_is_one_of_its_scorer(line: dict[str, Any]) -> None:
    """By scorer, and of the function as a whole: a version that ends soon has no series of its own."""
    assert (line["Swapped"], line["Scorer"]) == (1, "refund")
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["FunctionName"], ["FunctionName", "Scorer"]]


def test_outside_lambda_the_line_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Under uvicorn there is neither a function nor its version."""
    for name in ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"):
        monkeypatch.delenv(name, raising=False)
    StoreMeter().record("refund", SWAPPED)
    line = json.loads(capfd.readouterr().out)
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


def test_the_time_is_in_milliseconds(line: dict[str, Any]) -> None:
    """Since 1970, as the format asks."""
    assert 1.7e12 < line["_aws"]["Timestamp"] < 1e13
