"""The bill's lines equal a calculation by hand."""

from dataclasses import replace

import pytest

from tests.training.delivery.small_footprint import FOOTPRINT, TEMPLATE
from training.delivery.bill import (
    DASHBOARD,
    HISTORY_TABLE,
    MILLION,
    MODEL_BUCKET,
    PREDICTION_LOG,
    SECRETS,
    TRACING,
    Line,
    lines_of,
    totals_of,
)
from training.delivery.prices import GB
from training.errors import StageError


def lines(requests: int = MILLION, option: str = "") -> dict[str, Line]:
    """The bill's lines for an option, by their names."""
    return {line.what: line for line in lines_of(requests, FOOTPRINT, TEMPLATE) if line.option == option}


def test_gateway_and_lambda() -> None:
    """A million requests of 2 ms at 1 GB are 2,000 GB-seconds, which cost a fifth less on arm64."""
    bill = lines()
    assert bill["API Gateway, HTTP API"].x86_64 == pytest.approx(1.0)
    assert bill["answers to the internet"].x86_64 == pytest.approx(0.09)
    assert bill["Lambda, requests"].arm64 == pytest.approx(0.2)
    time = bill["Lambda, time at 1024 MB"]
    assert time.x86_64 == pytest.approx(2_000 * 0.0000166667)
    assert time.arm64 == pytest.approx(2_000 * 0.0000133334)
    assert time.amount == "2.00 ms each: 2,000 GB-s"


def test_snapshot_is_paid_by_the_month() -> None:
    """One GB is cached for 730 hours, and one environment is restored every two hours."""
    bill = lines()
    assert bill["SnapStart, snapshot cached"].x86_64 == pytest.approx(730 * 3600 * 0.0000015046)
    assert bill["SnapStart, restored"].x86_64 == pytest.approx(365 * 0.0001397998)


def test_logs_count_their_lines() -> None:
    """Three lines of 222 bytes in total count as 300 bytes, with 26 for each line; a GB costs half a dollar."""
    bill = lines()
    assert bill["function's log: START, END, REPORT"].x86_64 == pytest.approx(300e6 / GB * 0.5)
    assert bill["function's log: lines of metrics"].x86_64 == pytest.approx(500e6 / GB * 0.5)
    assert bill["access log"].x86_64 == pytest.approx(400e6 / GB * 0.5)
    kept = 150e6 / GB * 30 / (730 / 24) * 0.03
    assert bill["logs, kept for 30 days"].x86_64 == pytest.approx(kept)


def test_metrics_and_alarms() -> None:
    """18 metrics at 0.30 each, and 13 metrics read by alarms at 0.10 each."""
    bill = lines()
    assert bill["CloudWatch, custom metrics"].x86_64 == pytest.approx(5.4)
    assert bill["CloudWatch, alarms"].x86_64 == pytest.approx(1.3)


def test_prediction_log() -> None:
    """A record in the log, 5 kB of it for Firehose, an object every five minutes, and a year in the bucket."""
    bill = lines(option=PREDICTION_LOG)
    assert bill["function's log: records of predictions"].x86_64 == pytest.approx(1_000e6 / GB * 0.5)
    assert bill["Firehose, at most a record a request"].x86_64 == pytest.approx(5_120e6 / GB * 0.029)
    assert bill["Firehose, decompressed"].x86_64 == pytest.approx(974e6 / GB * 0.00325)
    assert bill["S3, objects written"].x86_64 == pytest.approx(8_760 * 0.005 / 1_000)
    assert bill["S3, kept for 365 days"].x86_64 == pytest.approx(200e6 * 12 / GB * 0.023)
    assert lines(10, PREDICTION_LOG)["S3, objects written"].amount == "10 objects"


def test_model_bucket() -> None:
    """One environment reads two pointers every 30 seconds: 175,200 times a month."""
    bill = lines(option=MODEL_BUCKET)
    assert bill["S3, pointers read"].amount == "175,200 reads"
    assert bill["S3, pointers read"].x86_64 == pytest.approx(0.07008)
    # 2 ms of 5,000 requests a second keep ten environments at work.
    assert lines(5_000 * 730 * 3600, MODEL_BUCKET)["S3, pointers read"].amount == "1,752,000 reads"


def test_history_table() -> None:
    """Each request costs three writes, half a read and 5 ms of waiting; one GB is kept and backed up."""
    bill = lines(option=HISTORY_TABLE)
    assert bill["DynamoDB, writes"].x86_64 == pytest.approx(3 * 0.625)
    assert bill["DynamoDB, reads"].x86_64 == pytest.approx(0.5 * 0.125)
    assert bill["DynamoDB, kept and backed up"].x86_64 == pytest.approx(0.45)
    assert bill["Lambda, waiting for DynamoDB"].arm64 == pytest.approx(5_000 * 0.0000133334)


def test_secrets_traces_and_dashboard() -> None:
    """Two secrets, each read by 365 starts; one trace per request if no second has two requests; one dashboard."""
    assert lines(option=SECRETS)["Secrets Manager"].x86_64 == pytest.approx(0.8 + 730 * 0.05 / 10_000)
    assert lines(option=TRACING)["X-Ray, traces recorded"].x86_64 == pytest.approx(5.0)
    twice = lines(2 * 730 * 3600, TRACING)["X-Ray, traces recorded"]
    assert twice.x86_64 == pytest.approx(1.05 * 730 * 3600 * 5 / 1e6)
    assert lines(option=DASHBOARD)["CloudWatch, dashboard"].x86_64 == pytest.approx(3.0)


def test_totals_leave_out_what_is_off_by_default() -> None:
    """The smaller total is the sum of the lines without an option; the options' lines make the difference."""
    every = lines_of(MILLION, FOOTPRINT, TEMPLATE)
    default, whole = (totals_of(every, with_options=with_options) for with_options in (False, True))
    assert default.x86_64 == pytest.approx(sum(line.x86_64 for line in lines().values()))
    options = sum(line.arm64 for line in every if line.option)
    assert whole.arm64 - default.arm64 == pytest.approx(options)
    assert default.arm64 < default.x86_64


def test_memory_size_that_was_not_measured_is_refused() -> None:
    """The message has that size and the measured ones."""
    other = replace(TEMPLATE, memory_mb=768)
    with pytest.raises(StageError, match=r"MemorySize is 768, but reports/footprint\.json has only 1024; add it"):
        lines_of(1, FOOTPRINT, other)
