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

from handler.records.logs import write
from handler.records.telemetry import (
    MOST_VALUES,
    SWAPPED,
    TRACE_VARIABLE,
    TROUBLE,
    Meter,
    StoreMeter,
    _distribution,
    record_cold_start,
    record_failure,
    record_unread,
    trace_root,
)
from handler.scoring.scorer import Answered, Scored

ROOT = Path(__file__).parents[3]
CONTEXT = SimpleNamespace(function_version="7")
COUNTS = ("Scored", "Flagged", "Warned", "Blocked", "Failed", "Unread", "ColdStart", "Swapped", "StoreTrouble")
UNITS = {**dict.fromkeys(COUNTS, "Count"), "Latency": "Milliseconds", "Probability": "None"}


def answered(probabilities: Sequence[float], *, n_warned: int = 0) -> Answered:
    """Predictions with these probabilities, flagged from a half on; the first `n_warned` have two warnings each."""
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


def in_bands(probabilities: Sequence[float]) -> Answered:
    """The same predictions with bands: blocked from 0.9 on."""
    plain = answered(probabilities)
    scored = [
        scored._replace(band="block" if scored.probability >= 0.9 else "review" if scored.is_flagged else "approve")
        for scored in plain.scored
    ]
    return plain._replace(scored=scored)


@pytest.fixture(params=["scored", "batch", "bands", "failed", "unread", "cold", "swapped", "trouble"])
def line(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The line of one invocation, or of a change in the store."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "100%s-fraud")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    writers = {
        "scored": lambda: write(Meter("refund").line(CONTEXT, answered([0.25]), 0.0123456)),
        "batch": lambda: write(Meter("refund").line(CONTEXT, answered([0.25] * 97 + [0.5] * 3, n_warned=7), 1.5)),
        "bands": lambda: write(Meter("refund").line(CONTEXT, in_bands([0.25, 0.5, 0.75, 0.9, 1.0]), 1.5)),
        "failed": lambda: record_failure(CONTEXT),
        "unread": lambda: record_unread(CONTEXT),
        "cold": lambda: record_cold_start(CONTEXT),
        "swapped": lambda: StoreMeter().record("refund", SWAPPED),
        "trouble": lambda: StoreMeter().record("refund", TROUBLE),
    }
    writers[request.param]()
    return written(capfd)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("scored", {"Scored": 1, "Flagged": 0, "Warned": 0, "Latency": 12.346, "Probability": 0.25}),
        (
            "batch",
            {"Scored": 100, "Flagged": 3, "Warned": 7, "Latency": 1500, "Probability": [0.25] * 97 + [0.5] * 3},
        ),
        (
            "bands",
            {"Scored": 5, "Flagged": 4, "Warned": 0, "Blocked": 2, "Latency": 1500}
            | {"Probability": [0.25, 0.5, 0.75, 0.9, 1.0]},
        ),
        ("failed", {"Failed": 1}),
        ("unread", {"Unread": 1}),
        ("cold", {"ColdStart": 1}),
        ("swapped", {"Swapped": 1}),
        ("trouble", {"StoreTrouble": 1}),
    ],
    indirect=["line"],
)
def test_a_line_has_its_values(line: dict[str, Any], values: dict[str, Any]) -> None:
    """Counts are of all predictions, flagged ones and ones with any warning; the latency is to the microsecond."""
    metrics = [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert metrics == list(values)
    assert {name: line[name] for name in metrics} == values
    assert line.get("Scorer") == (None if values.keys() & {"Failed", "Unread", "ColdStart"} else "refund")


@pytest.mark.parametrize("n_requests", [1, 2, 99, 100, 101, 150, 199, 200, 999, 1000])
def test_no_batch_has_more_values_than_the_format_allows(capfd: pytest.CaptureFixture[str], n_requests: int) -> None:
    """CloudWatch drops a line with more. A smaller batch keeps all; the highest, which cause alarms, are kept."""
    write(Meter("refund").line(CONTEXT, answered([index / 1000 for index in range(n_requests)]), 0.1))
    values = written(capfd)["Probability"]
    values = values if isinstance(values, list) else [values]
    assert len(values) == min(n_requests, MOST_VALUES) <= 100
    assert (min(values), max(values)) == (0.0, (n_requests - 1) / 1000)


@given(probabilities=st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=400))
def test_the_kept_values_are_spread_over_the_batch(probabilities: list[float]) -> None:
    """Each is one of the batch's probabilities, and every part of the batch has one."""
    kept = json.loads(_distribution(answered(probabilities).scored))
    kept = kept if isinstance(kept, list) else [kept]
    ordered = [float(f"{value:.6g}") for value in sorted(probabilities)]
    assert set(kept) <= set(ordered)
    assert kept == sorted(kept)
    step = max(len(ordered) / MOST_VALUES, 1)
    for index, value in enumerate(kept):
        assert ordered[int(index * step)] <= value <= ordered[min(int((index + 1) * step), len(ordered) - 1)]


@pytest.mark.parametrize("probability", [0.0, 1e-300, 1.23456789e-7, 0.999999999, 1.0])
def test_a_probability_is_a_number_in_json(capfd: pytest.CaptureFixture[str], probability: float) -> None:
    """It has six significant digits, however small it is."""
    write(Meter("refund").line(CONTEXT, answered([probability]), 0.1))
    assert written(capfd)["Probability"] == pytest.approx(probability, rel=1e-5)


TRACE = "1-6afacd18-5d1f7b3a0c9e42186f0b7d10"


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        (f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1", {"RequestId": "r-1", "Trace": TRACE}),
        # X-Ray keeps no trace of a request that is not sampled.
        (f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=0", {"RequestId": "r-1"}),
        ("", {"RequestId": "r-1"}),
        ("Root=garbage;Sampled=1", {"RequestId": "r-1"}),
    ],
)
def test_a_line_names_its_invocation(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], header: str, ids: dict[str, str]
) -> None:
    """Its ids lead to the other log lines of the invocation and, if there is one, to its trace."""
    monkeypatch.setenv(TRACE_VARIABLE, header)
    context = SimpleNamespace(function_version="7", aws_request_id="r-1")
    write(Meter("refund").line(context, answered([0.25]), 0.1))
    line = written(capfd)
    assert {name: line[name] for name in ("RequestId", "Trace") if name in line} == ids


@pytest.mark.parametrize(
    ("text", "root"),
    [
        (f"Root={TRACE}", TRACE),
        (f"Self=1-0-1; Root={TRACE};Sampled=?", TRACE),
        (f"Parent=1;Root={TRACE}", TRACE),
        (f"Root={TRACE}0", ""),
        (f"Root={TRACE[:-1]}", ""),
        (f"Root={TRACE.upper()}", ""),
        (f"NotRoot={TRACE}", ""),
        ('Root=1-"}{', ""),
        ("Root=" * 5_000, ""),
        ("\xff\x00", ""),
    ],
)
def test_garbage_names_no_trace(text: str, root: str) -> None:
    """A caller may send any header."""
    assert trace_root(text) == root


@pytest.mark.parametrize("line", ["swapped", "trouble"], indirect=True)
def test_a_change_in_the_store_is_counted_by_scorer(line: dict[str, Any]) -> None:
    """It also counts for the function as a whole. A version, which may serve only briefly, has no series of its own."""
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["FunctionName"], ["FunctionName", "Scorer"]]


def test_outside_lambda_the_line_has_local_names(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under uvicorn there is neither a function nor its version."""
    for name in ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"):
        monkeypatch.delenv(name, raising=False)
    StoreMeter().record("refund", SWAPPED)
    line = written(capfd)
    assert (line["FunctionName"], line["FunctionVersion"]) == ("local", "local")


def test_the_line_has_the_function_and_its_version(line: dict[str, Any]) -> None:
    """The version is the context's, as a snapshot's may be outdated; a swap has no context and uses the environment."""
    assert (line["FunctionName"], line["FunctionVersion"]) == ("100%s-fraud", "7")


def test_the_line_is_in_cloudwatchs_format(line: dict[str, Any]) -> None:
    """Dimensions are strings, metrics one to a hundred numbers; only the version, for log searches, is neither."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "FraudScorer"
    assert 1.7e12 < line["_aws"]["Timestamp"] < 1e13
    dimensions = {name for names in directive["Dimensions"] for name in names}
    metrics = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert line.keys() - {"_aws", "FunctionVersion"} <= dimensions | metrics.keys() <= line.keys()
    assert all(isinstance(line[name], str) for name in dimensions)
    for name, unit in metrics.items():
        values = line[name] if isinstance(line[name], list) else [line[name]]
        assert 1 <= len(values) <= 100
        assert all(type(value) in {int, float} for value in values)
        assert unit == UNITS[name]


BROKEN_STDOUT = """
import os
from types import SimpleNamespace
from handler.scoring.scorer import Answered, Scored
from handler.records.logs import write
from handler.records.telemetry import SWAPPED, Meter, StoreMeter, record_failure

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
    """The watcher's thread goes on, too: stdout may be closed, a pipe without a reader or a full device."""
    command = [sys.executable, "-c", BROKEN_STDOUT]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (run.returncode, run.stderr) == (0, "on " * 3)
