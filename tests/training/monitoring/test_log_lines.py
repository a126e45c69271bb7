"""Lines of the log: a sound line becomes a row of columns, any other is counted and ends no run."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.monitoring.log_lines import BINNING, METRICS, START, outcome, prediction
from training.monitoring.log_lines import EARLIEST, LONGEST_LINE_BYTES, NO_ID, read_columns

LATEST = START + 1e6
BROKEN = "broken lines"
MISDATED = "lines dated before 2020 or in the future"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def without(line: dict[str, Any], key: str) -> dict[str, Any]:
    """A line that lacks a key."""
    return {name: value for name, value in line.items() if name != key}


def read(*lines: dict[str, Any] | str | bytes) -> tuple[dict[str, Any], Counter[str]]:
    """The columns of lines, and what they are counted as."""
    text = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    content = [line.encode() if isinstance(line, str) else line for line in text]
    columns, _, counts = read_columns(content, "mini", BINNING, latest=LATEST)
    return columns, counts


def test_lines_become_columns() -> None:
    """Each key of a sound line is a value of its column."""
    first = prediction(flagged=True, warnings=["amount", "country"], rate=0.25, version="v2")
    columns, _, counts = read_columns(
        [json.dumps(line).encode() for line in (first, outcome(label=0), prediction(time=START + 1))],
        "mini",
        BINNING,
        latest=LATEST,
    )
    assert columns["time"].tolist() == [START, START + 1]
    assert columns["flagged"].tolist() == [True, False]
    assert columns["n_warnings"].tolist() == [2, 0]
    assert columns["weight"].tolist() == [4, 1]
    assert columns["version"].tolist() == [1, 0]
    assert columns["bins"].tolist() == [[3, 2], [3, 2]]
    assert columns["outcome_label"].tolist() == [0]
    assert columns["outcome_id"].tolist() == columns["id"].tolist()[:1]
    assert counts == {"predictions": 2, "outcomes": 1}


def test_no_line_has_every_column() -> None:
    """Without a line all columns are there, of the types and shapes that they have with one."""
    nothing, something = read()[0], read(prediction(), outcome())[0]
    assert {name: (column.dtype, column.shape[1:]) for name, column in nothing.items()} == {
        name: (column.dtype, column.shape[1:]) for name, column in something.items()
    }
    assert not any(map(len, nothing.values()))


def test_ids_are_absent_or_distinguished() -> None:
    """A prediction without an id has none; equal ids are equal, different ones are not."""
    lines = [prediction(id=name, time=START + at) for at, name in enumerate([None, "a", "b", "a", ""])]
    first, *ids = read(*lines)[0]["id"].tolist()
    assert first == NO_ID
    assert NO_ID not in ids
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (json.dumps(prediction())[:-20], BROKEN),
        (json.dumps(prediction()) + json.dumps(prediction()), BROKEN),
        ("", "empty lines"),
        (" \t", "empty lines"),
        ("START RequestId: 8f Version: $LATEST", BROKEN),
        ("[]", BROKEN),
        (json.dumps([prediction()]), BROKEN),
        ("7", BROKEN),
        ("null", BROKEN),
        ("\x00\x00", BROKEN),
        (METRICS, "other lines, such as metrics"),
        ({}, "other lines, such as metrics"),
        (prediction(scorer="refund"), "lines of other scorers"),
        (outcome(scorer="refund"), "lines of other scorers"),
        (without(prediction(), "scorer"), "lines of other scorers"),
        (prediction(record=0), "lines of format 0"),
        (prediction(record=2), "lines of format 2"),
        (outcome(outcome="1"), "lines of format '1'"),
        *((without(prediction(), key), BROKEN) for key in ("time", "version", "features", "probability")),
        *((without(outcome(), key), BROKEN) for key in ("time", "id", "label")),
        (prediction(probability="0.5"), BROKEN),
        (prediction(probability=None), BROKEN),
        (prediction(flagged=1), BROKEN),
        (prediction(time="2026-01-01"), BROKEN),
        (prediction(version=None), BROKEN),
        (prediction(features=[1.5, "DE"]), BROKEN),
        (outcome(label="fraud"), BROKEN),
        (outcome(label=None), BROKEN),
        (outcome(id=7), BROKEN),
        pytest.param(prediction(id=7), BROKEN, id="an id that is a number"),
        pytest.param(prediction(warnings=None), BROKEN, id="warnings that are null"),
        pytest.param(prediction(milliseconds="fast"), BROKEN, id="milliseconds that are text"),
        pytest.param(prediction(rate=0), BROKEN, id="a rate of 0"),
        pytest.param(prediction(rate="0.1"), BROKEN, id="a rate that is text"),
        pytest.param(prediction(features={"country": ["DE"]}), BROKEN, id="a label that is an array"),
        pytest.param(prediction(features={"amount": 10**400}), BROKEN, id="a number beyond floats"),
        pytest.param(prediction(time=10**400), BROKEN, id="a time beyond floats"),
        pytest.param(outcome(label=300), BROKEN, id="a label beyond a byte"),
        pytest.param(prediction(probability=float("nan")), BROKEN, id="a probability of NaN"),
        pytest.param(prediction(probability=1.5), BROKEN, id="a probability above 1"),
        pytest.param(prediction(time=float("nan")), BROKEN, id="a time of NaN"),
        pytest.param(outcome(label=2), BROKEN, id="a label of 2"),
    ],
)
def test_unusable_line_is_counted(line: dict[str, Any] | str, kind: str) -> None:
    """A line that cannot be used is counted under what is wrong with it, and the lines around it are read."""
    columns, counts = read(prediction(), line, outcome())
    assert counts == {"predictions": 1, kind: 1, "outcomes": 1}
    assert (len(columns["time"]), len(columns["outcome_time"])) == (1, 1)


@pytest.mark.parametrize("line", [prediction(), outcome()], ids=["a prediction", "an outcome"])
def test_truncated_line_is_broken(line: dict[str, Any]) -> None:
    """Wherever a line ends before its end, it is no record."""
    text = json.dumps(line)
    columns, counts = read(*(text[:end] for end in range(1, len(text))))
    assert counts == {BROKEN: len(text) - 1}
    assert len(columns["time"]) == len(columns["outcome_time"]) == 0


def test_interleaved_lines_are_broken() -> None:
    """Wherever another writer's line stands in the middle of one, neither is taken for a record."""
    torn, other = json.dumps(prediction(features={"amount": 1.5, "country": "DE"})), json.dumps(outcome())
    for at in range(1, len(torn)):
        assert read(torn[:at] + other, torn[at:])[1] == {BROKEN: 2}


@pytest.mark.parametrize("line", [prediction, outcome])
@pytest.mark.parametrize(
    ("timestamp", "kind"),
    [
        (0.0, MISDATED),
        (-1e300, MISDATED),
        (EARLIEST - 1, MISDATED),
        (EARLIEST, None),
        (LATEST, None),
        (LATEST + 1, MISDATED),
        (START * 1000, MISDATED),
        (1e300, MISDATED),
    ],
)
def test_wrong_clock_is_counted(line: Any, timestamp: float, kind: str | None) -> None:  # noqa: ANN401 - a function
    """A line from 1970, from the far future, or in milliseconds is not used: its block would be nowhere."""
    usual = "predictions" if line is prediction else "outcomes"
    assert read(line(time=timestamp))[1] == {kind or usual: 1}


def test_line_beyond_all_length_is_broken() -> None:
    """A line that is longer than any record is not parsed."""
    assert read(prediction(id="a" * LONGEST_LINE_BYTES))[1] == {BROKEN: 1}
    assert read(prediction(id="a" * (LONGEST_LINE_BYTES // 2)))[1] == {"predictions": 1}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param(b"\xff\xfe\x00", BROKEN, id="no UTF-8"),
        pytest.param(json.dumps(prediction()).encode() + b"\r", "predictions", id="a carriage return at the end"),
        pytest.param(b"[" * 100_000, BROKEN, id="brackets without end"),
        pytest.param(b'{"record":' * 100_000, BROKEN, id="objects without end"),
        pytest.param(json.dumps(prediction()).encode().replace(b'"a"', b'"\\ud800"'), BROKEN, id="half a character"),
    ],
)
def test_bytes_of_any_kind_are_counted(line: bytes, kind: str) -> None:
    """Neither the encoding of a line nor its depth ends the run."""
    assert read(line)[1] == {kind: 1}


def test_format_of_garbage_is_named_in_short() -> None:
    """Where a line has anything for a format, the report's name for it stays short."""
    ((kind, count),) = read(prediction(record="x" * 1_000))[1].items()
    assert (kind, count) == ("lines of format '" + "x" * 19, 1)


@given(st.binary(max_size=50))
def test_no_line_harms_its_neighbours(content: bytes) -> None:
    """Whatever bytes stand between two sound lines, the two are read, and each line is counted."""
    between = content.split(b"\n")
    columns, counts = read(prediction(), *between, outcome())
    assert (len(columns["time"]), len(columns["outcome_time"])) == (1, 1)
    assert sum(counts.values()) == 2 + len(between)


@given(st.dictionaries(st.sampled_from([*prediction(), "outcome", "label", "rate"]), JSON, max_size=3), st.booleans())
def test_no_value_ends_the_run(changes: dict[str, Any], is_outcome: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever a key holds, the line is counted once, and all columns stay as long as they must."""
    columns, counts = read(outcome(**changes) if is_outcome else prediction(**changes))
    assert sum(counts.values()) == 1
    lengths = {name: len(column) for name, column in columns.items()}
    assert {length for name, length in lengths.items() if not name.startswith("outcome_")} == {counts["predictions"]}
    assert {length for name, length in lengths.items() if name.startswith("outcome_")} == {counts["outcomes"]}
