"""Lines of the log: a sound line becomes a row of columns; any other is counted and stops nothing."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.monitoring.log_lines import BINNING, METRICS, START, outcome, prediction
from training.monitoring.log import EARLIEST, NO_ID, NUMERIC_IDS, read_log_columns
from training.monitoring.log_lines import LONGEST_LINE_BYTES, OTHER, TEXT, merged_kinds

LATEST = START + 1e6
BROKEN = "broken lines"
MISDATED = "lines dated before 2020 or in the future"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def without(line: dict[str, Any], key: str) -> dict[str, Any]:
    """The line without a key."""
    return {name: value for name, value in line.items() if name != key}


def read(*lines: dict[str, Any] | str | bytes) -> tuple[dict[str, Any], Counter[str]]:
    """The columns of these lines, and their counts by kind, with broken lines counted together."""
    columns, counts = read_with_causes(*lines)
    kinds = Counter[str]()
    for kind, count in counts.items():
        kinds[BROKEN if kind.startswith(BROKEN) else kind] += count
    return columns, kinds


def read_with_causes(*lines: dict[str, Any] | str | bytes) -> tuple[dict[str, Any], Counter[str]]:
    """The columns of these lines, and their counts by kind, with the causes of broken lines."""
    text = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    content = [line.encode() if isinstance(line, str) else line for line in text]
    columns, _, counts = read_log_columns(content, "mini", BINNING, latest=LATEST)
    return columns, counts


def test_lines_become_columns() -> None:
    """Each key of a sound line is a value of its column."""
    first = prediction(flagged=True, warnings=["amount", "country"], rate=0.25, version="v2")
    columns, _, counts = read_log_columns(
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
    """Without any line, all columns exist, with the same types and shapes."""
    nothing, something = read()[0], read(prediction(), outcome())[0]
    assert {name: (column.dtype, column.shape[1:]) for name, column in nothing.items()} == {
        name: (column.dtype, column.shape[1:]) for name, column in something.items()
    }
    assert not any(map(len, nothing.values()))


def test_ids_are_absent_or_distinguished() -> None:
    """A prediction may have no id; equal ids get equal codes, and different ids different ones."""
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
        ("", "empty lines"),
        (" \t", "empty lines"),
        ("START RequestId: 8f Version: $LATEST", TEXT),
        ("[]", BROKEN),
        ("7", TEXT),
        ("null", TEXT),
        ("\x00\x00", BROKEN),
        (METRICS, "other lines, such as metrics"),
        ({}, "other lines, such as metrics"),
        (prediction(scorer="refund"), "lines of scorer 'refund'"),
        (outcome(scorer="refund"), "lines of scorer 'refund'"),
        (without(prediction(), "scorer"), "lines of scorer None"),
        pytest.param({"type": "platform.report", "record": {"requestId": "8f"}}, OTHER, id="an event of Lambda's"),
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
        pytest.param(prediction(id=7.5), BROKEN, id="an id that is a fraction"),
        pytest.param(prediction(id=True), BROKEN, id="an id that is a boolean"),
        pytest.param(outcome(id=["a"]), BROKEN, id="an id that is an array"),
        pytest.param(prediction(warnings=7), BROKEN, id="warnings that are a number"),
        pytest.param(prediction(milliseconds="fast"), BROKEN, id="milliseconds that are text"),
        pytest.param(prediction(milliseconds=1e300), BROKEN, id="milliseconds beyond all time"),
        pytest.param(prediction(rate=0), BROKEN, id="a rate of 0"),
        pytest.param(prediction(rate=5e-324), BROKEN, id="a rate whose inverse is infinite"),
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
    """An unusable line is counted by its problem, and the lines around it are read."""
    columns, counts = read(prediction(), line, outcome())
    assert counts == {"predictions": 1, kind: 1, "outcomes": 1}
    assert (len(columns["time"]), len(columns["outcome_time"])) == (1, 1)


@pytest.mark.parametrize("line", [prediction(), outcome()], ids=["a prediction", "an outcome"])
def test_truncated_line_is_broken(line: dict[str, Any]) -> None:
    """A truncated line is broken, wherever it was cut."""
    text = json.dumps(line)
    columns, counts = read(*(text[:end] for end in range(1, len(text))))
    assert counts == {BROKEN: len(text) - 1}
    assert len(columns["time"]) == len(columns["outcome_time"]) == 0


def test_interleaved_line_is_broken() -> None:
    """If another writer's line is inserted into a line, the latter is broken, and the inserted one is read."""
    torn, other = json.dumps(prediction(features={"amount": 1.5, "country": "DE"})), json.dumps(outcome())
    for at in range(1, len(torn)):
        counts = read(torn[:at] + other, torn[at:])[1]
        assert (counts["predictions"], counts["outcomes"]) == (0, 1)
        assert counts[BROKEN] >= 1


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
    """A line dated 1970, in the far future, or in milliseconds is not used: it would belong to no block."""
    usual = "predictions" if line is prediction else "outcomes"
    assert read(line(time=timestamp))[1] == {kind or usual: 1}


def test_line_beyond_all_length_is_broken() -> None:
    """A line longer than any record is not parsed."""
    assert read(prediction(id="a" * LONGEST_LINE_BYTES))[1] == {BROKEN: 1}
    assert read(prediction(id="a" * (LONGEST_LINE_BYTES // 2)))[1] == {"predictions": 1}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param(b"\xff\xfe\x00", BROKEN, id="no UTF-8"),
        pytest.param(json.dumps(prediction()).encode() + b"\r", "predictions", id="a carriage return at the end"),
        pytest.param(b"[" * 100_000 + b"1", TEXT, id="brackets without end"),
        pytest.param(b'{"a":' * 100_000, BROKEN, id="objects within objects"),
        pytest.param(b'{"record":' * 100_000, BROKEN, id="objects without end"),
        pytest.param(json.dumps(prediction()).encode().replace(b'"a"', b'"\\ud800"'), BROKEN, id="half a character"),
    ],
)
def test_bytes_of_any_kind_are_counted(line: bytes, kind: str) -> None:
    """Neither the encoding nor the nesting of a line stops the run."""
    assert read(line)[1] == {kind: 1}


def test_format_of_garbage_is_named_in_short() -> None:
    """If a line's format is arbitrary text, the report shortens it."""
    ((kind, count),) = read(prediction(record="x" * 1_000))[1].items()
    assert (kind, count) == ("lines of format '" + "x" * 19, 1)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (json.dumps(prediction())[:-20], "no JSON, or cut short"),
        ("[7]", "no record"),
        ('  "probability": 0.25,', "part of a longer object; write each on one line, as jq -c does"),
        ('2026-11-20,"' + json.dumps(prediction()).replace('"', '""') + '"', "its quotes are doubled, as in CSV"),
        (str(prediction()), "in Python's notation; write JSON"),
        (json.dumps(prediction()).replace('"', '\\"'), "its quotes are escaped"),
        (
            {"awslogs": {"data": "H4sIAAAAAAAAA6tWKkktLlGyUlAqS8wpTtVRUEpMKU4tAgBmEPoQFwAAAA=="}},
            "packed within an envelope",
        ),
        (prediction(probability="0.5"), "no usable probability"),
        (without(prediction(), "features"), "no usable features"),
        (prediction(time="2026-11-20T10:00:00Z"), "no usable time"),
        (prediction(features={"amount": ["DE"]}), "no usable features"),
        (outcome(label="fraud"), "no usable label"),
        (outcome(id=None), "no usable id"),
    ],
)
def test_cause_is_named(line: dict[str, Any] | str, cause: str) -> None:
    """A broken line is counted with its cause."""
    (kind,) = read_with_causes(line)[1]
    assert kind.startswith(f"broken lines ({cause}")


def test_numeric_ids_are_read_as_text() -> None:
    """A numeric id is read as its digits, joins its outcome, and is counted."""
    columns, counts = read(prediction(id=7), outcome(id="7"), prediction(id=7.0), outcome(id=8))
    assert counts == {"predictions": 2, "outcomes": 2, NUMERIC_IDS: 3}
    assert set(columns["id"].tolist()) == {columns["outcome_id"][0]}
    assert columns["outcome_id"][0] != columns["outcome_id"][1]


def test_null_is_as_absent() -> None:
    """Optional values may be null."""
    (columns, counts), (expected, _) = read(prediction(warnings=None, rate=None, milliseconds=None)), read(prediction())
    assert counts == {"predictions": 1}
    assert columns["n_warnings"].tolist() == expected["n_warnings"].tolist() == [0]
    assert columns["weight"].tolist() == [1]


# Each one packs lines of JSON into one text, in which all of them must be found.
ENVELOPES = {
    "without line ends": "".join,
    "line ends written out": "\\n".join,
    "an array": lambda lines: f"[{', '.join(lines)}]",
    "an array over lines": lambda lines: "[\n" + ",\n".join(lines) + "\n]",
    "a mark of UTF-8": lambda lines: "\ufeff" + "\n".join(lines),
    "carriage returns": "\r\n".join,
    "journald": lambda lines: "\n".join(f"Nov 20 10:00:00 host uvicorn[17]: {line}" for line in lines),
    "an export of CloudWatch Logs": lambda lines: "\n".join(f"2026-11-20T10:00:00.000Z {line}" for line in lines),
    "Kubernetes": lambda lines: "\n".join(f"2026-11-20T10:00:00.000000000Z stdout F {line}" for line in lines),
    "docker compose": lambda lines: "\n".join(f"\x1b[36mapi-1  |\x1b[0m {line}" for line in lines),
    "Docker's files": lambda lines: "\n".join(json.dumps({"log": f"{line}\n", "stream": "stdout"}) for line in lines),
    "journalctl -o json": lambda lines: "\n".join(json.dumps({"MESSAGE": line, "_PID": "1"}) for line in lines),
    "a subscription": lambda lines: json.dumps(
        {"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "message": f"{line}\n"} for line in lines]}
    ),
    "messages of several lines": lambda lines: json.dumps({"logEvents": [{"message": "\n".join(lines)}]}),
    "a subscription in Docker's files": lambda lines: json.dumps(
        {"log": json.dumps({"logEvents": [{"message": line} for line in lines]})}
    ),
    "Lambda's telemetry": lambda lines: "\n".join(json.dumps({"type": "function", "record": line}) for line in lines),
    "objects": lambda lines: "\n".join(json.dumps({"jsonPayload": json.loads(line)}) for line in lines),
    "the AWS CLI": lambda lines: json.dumps({"events": [{"message": line} for line in lines]}, indent=4),
}


@pytest.mark.parametrize("name", [name for name in ENVELOPES if name != "the AWS CLI"])
def test_envelope_is_opened(name: str) -> None:
    """Every record is read, whatever a delivery wraps around it, and no line is broken."""
    lines = [prediction(id="a"), outcome(id="a"), prediction(id="}{"), prediction(id='"\\\u00fc', scorer="other")]
    text = ENVELOPES[name]([json.dumps(line, ensure_ascii=False) for line in lines])
    columns, counts = read(*text.split("\n"))
    del counts["empty lines"]
    assert counts == {"predictions": 2, "outcomes": 1, "lines of scorer 'other'": 1}
    assert columns["id"].tolist() == read(*lines)[0]["id"].tolist()


def test_member_of_a_printed_document_is_opened() -> None:
    """Messages printed by the AWS CLI are read line by line; the lines around them are counted as broken."""
    text = ENVELOPES["the AWS CLI"]([json.dumps(prediction()), json.dumps(outcome())])
    counts = read(*text.split("\n"))[1]
    assert (counts["predictions"], counts["outcomes"]) == (1, 1)


def test_torn_record_in_an_envelope_is_broken() -> None:
    """A truncated record within an envelope is counted, and its neighbours are read."""
    torn = [json.dumps(prediction()), json.dumps(prediction())[:-30], json.dumps(outcome())]
    counts = read(json.dumps({"logEvents": [{"message": line} for line in torn]}))[1]
    assert counts == {"predictions": 1, "outcomes": 1, BROKEN: 1}


def test_text_that_quotes_a_record_is_no_record() -> None:
    """A record quoted within another record's value is not read."""
    assert read(prediction(features={"country": json.dumps(outcome())}))[1] == {"predictions": 1}


def test_rare_kinds_are_counted_together() -> None:
    """If a foreign log has many formats, the report names some of them, and the total is right."""
    counts = merged_kinds(Counter({"predictions": 5, **{f"lines of format {number}": 1 for number in range(1_000)}}))
    assert len(counts) < 50
    assert (counts["predictions"], counts.total()) == (5, 1_005)


@given(st.binary(max_size=50))
def test_no_line_harms_its_neighbours(content: bytes) -> None:
    """Whatever bytes are between two sound lines, both are read, and each line is counted at least once."""
    between = content.split(b"\n")
    columns, counts = read(prediction(), *between, outcome())
    assert (len(columns["time"]), len(columns["outcome_time"])) == (1, 1)
    assert sum(counts.values()) >= 2 + len(between)


@given(st.dictionaries(st.sampled_from([*prediction(), "outcome", "label", "rate"]), JSON, max_size=3), st.booleans())
def test_no_value_ends_the_run(changes: dict[str, Any], is_outcome: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever value a key has, the line is counted once, and all columns have matching lengths."""
    columns, counts = read(outcome(**changes) if is_outcome else prediction(**changes))
    del counts[NUMERIC_IDS]
    assert sum(counts.values()) == 1
    lengths = {name: len(column) for name, column in columns.items()}
    assert {length for name, length in lengths.items() if not name.startswith("outcome_")} == {counts["predictions"]}
    assert {length for name, length in lengths.items() if name.startswith("outcome_")} == {counts["outcomes"]}


@pytest.mark.parametrize("audit", [[], False, {"region": []}, {"region": 1}, {"region": False}])
def test_a_broken_audit_value_is_a_broken_line(audit: Any) -> None:  # noqa: ANN401 - any JSON
    """The line is counted as broken, and the lines around it are read."""
    _, counts = read_with_causes(prediction(audit=audit), prediction(audit={"region": None}), prediction(list="allow"))
    assert counts["broken lines (no usable audit)"] == 1
    assert counts["predictions"] == 2


def test_what_a_list_decided_is_read() -> None:
    """Records tell which requests a list blocked or served."""
    columns, _ = read(*(prediction(list=name) for name in ("block", "review", "allow")), prediction())
    assert columns["listed_as_blocked"].tolist() == [True, False, False, False]
    assert columns["listed_as_served"].tolist() == [False, True, True, False]
