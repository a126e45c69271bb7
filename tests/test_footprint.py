"""The figures that `make bench-cost` derives from logs, tables and a memory size."""

import gzip
from pathlib import Path

import pytest

from benchmarks.history.table_units import CountedTable, item_bytes
from benchmarks.serving.footprint import figures_of
from benchmarks.serving.log_bytes import access_line, durations_of, line_figures, metrics_of, response_bytes
from benchmarks.serving.quota import quota_microseconds

METRICS = (
    b'{"_aws":{"CloudWatchMetrics":[{"Namespace":"N","Dimensions":[["FunctionName","FunctionVersion"],'
    b'["FunctionName","Scorer"]],"Metrics":[{"Name":"Scored"},{"Name":"Latency"}]}]},'
    b'"FunctionName":"f","FunctionVersion":"1","Scorer":"%s"}\n'
)
REQUEST = (
    b"START RequestId: 1 Version: 7\n",
    METRICS % b"refund",
    b'{"record":1}\n',
    b"END RequestId: 1\n",
    b"REPORT RequestId: 1\tDuration: 1.25 ms\tBilled Duration: 2 ms\t\n",
)


def test_lines_of_a_log_are_counted_by_kind() -> None:
    """Only lines of the last requests count, and none that the emulator itself prints."""
    start = (b"START RequestId: 0 Version: 7\n", b"30 Nov 2026 [INFO] (rapid) INVOKE START\n")
    figures = line_figures([*start, *REQUEST, *REQUEST], [b"access\n"] * 2, 2)
    assert figures["system"]["lines"] == 3
    assert figures["system"]["bytes"] == sum(len(REQUEST[place]) for place in (0, 3, 4))
    assert figures["record"] == {
        "lines": 1,
        "bytes": len(REQUEST[2]),
        "gzipped": len(gzip.compress(REQUEST[2] * 2)) / 2,
    }
    assert figures["access"]["bytes"] == 7


def test_metrics_are_names_with_dimension_values(tmp_path: Path) -> None:
    """Two metrics, each of one version and of two scorers, are six; a repeated line adds none."""
    log = tmp_path / "log"
    log.write_bytes(METRICS % b"refund" + METRICS % b"refund" + METRICS % b"transaction" + b"START RequestId: 1\n")
    assert metrics_of(log) == 6


def test_durations_are_the_reports(tmp_path: Path) -> None:
    """The init duration, which precedes the duration in the first report, is not one."""
    log = tmp_path / "log"
    first = b"REPORT RequestId: 0\tInit Duration: 0.26 ms\tDuration: 277.81 ms\tBilled Duration: 278 ms\t\n"
    log.write_bytes(first + b"".join(REQUEST))
    assert durations_of(log) == [277.81, 1.25]


def test_access_line_fills_the_format() -> None:
    """The line has API Gateway's values, or a dash for a value that does not exist; no id occurs twice."""
    pattern = '{"path": "$context.path", "status": "$context.status", "error": "$context.error.message"}'
    assert access_line(pattern, "/predict") == b'{"path": "/predict", "status": "200", "error": "-"}\n'
    first, other = (access_line("$context.requestId", "/predict") for _ in range(2))
    assert len(first) == len(other) == len("JKJaXj2VliAEP9g=\n")
    assert first != other


def test_response_has_body_and_headers() -> None:
    """In bytes, a line for each header."""
    assert response_bytes([{"body": "é", "headers": {"a": "b"}}]) == 2 + len("a: b\r\n")


def test_item_has_the_size_that_dynamodb_counts() -> None:
    """Names and values count: here a key of three bytes, a number of ten digits and a list of one element."""
    item = {"k": {"B": "AAAA"}, "x": {"N": "1796015411"}, "l": {"L": [{"B": "AAAA"}]}}
    assert item_bytes(item) == (1 + 3) + (1 + 6) + (1 + 3 + 1 + 3)
    with pytest.raises(ValueError, match="an attribute of type S"):
        item_bytes({"k": {"S": "a"}})


def test_units_are_counted_by_begun_sizes() -> None:
    """A write counts the larger of the item before and after, a read each 4 kB; a missing item costs one unit."""
    table = CountedTable()
    key = '"TableName":"t","Key":{"k":{"B":"AAAA"}}'
    table.call([("GetItem", f"{{{key}}}".encode())], 1.0)
    assert (table.read, table.written) == (1, 0)
    long = "AAAA" * 400
    update = f'"UpdateExpression":"SET b = :b","ExpressionAttributeValues":{{":b":{{"B":"{long}"}}}}'
    table.call([("UpdateItem", f"{{{key},{update}}}".encode())], 1.0)
    assert (table.read, table.written) == (1, 2)
    assert table.kept_bytes() == (1 + 3) + (1 + 1_200)


def test_begun_milliseconds_are_billed() -> None:
    """The figure is the median of each start's mean; the two scorers' requests alternate."""
    start = {"init": 300.0, "used": 60.0, "paced": [1.2, 2.2, 1.4, 2.6], "busy": [0.5, 0.7, 3.1, 0.2]}
    slow = start | {"init": 900.0, "used": 70.0, "paced": [9.0] * 4}
    figures = figures_of([start, slow, start])
    assert (figures["init_ms"], figures["used_mb"]) == (300.0, 70.0)
    assert figures["billed_ms"] == pytest.approx((2 + 3 + 2 + 3) / 4)
    assert figures["busy_billed_ms"] == pytest.approx((1 + 1 + 4 + 1) / 4)
    assert figures["scorers"]["transaction"]["p50_ms"] == pytest.approx(1.3)
    assert figures["scorers"]["refund"]["p50_ms"] == pytest.approx(2.4)


def test_share_of_a_processor_grows_with_the_memory() -> None:
    """1,769 MB are one vCPU: the whole of a period of 20 ms."""
    assert [quota_microseconds(memory) for memory in (256, 1_769, 3_538)] == [2_894, 20_000, 40_000]
