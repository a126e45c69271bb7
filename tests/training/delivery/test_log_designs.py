"""What records of predictions cost by the ways to their bucket."""

import pytest

from tests.training.delivery.small_footprint import FOOTPRINT, TEMPLATE
from training.delivery.bill import MILLION, PREDICTION_LOG, lines_of
from training.delivery.log_designs import log_designs
from training.delivery.prices import GB, PRICES


def test_ways_of_the_records() -> None:
    """Without the lines of metrics Firehose unpacks, and the bucket keeps, less; the rest is as it was."""
    usd = log_designs(MILLION, FOOTPRINT, TEMPLATE)
    today = sum(line.x86_64 for line in lines_of(MILLION, FOOTPRINT, TEMPLATE) if line.option == PREDICTION_LOG)
    assert usd["today"] == pytest.approx(today)
    spared = 474e6 / GB * PRICES.decompressed.usd + 60e6 * 12 / GB * 0.023
    assert usd["narrowed"] == pytest.approx(today - spared)
    direct = 5_120e6 / GB * 0.029 + 5_000 * 0.0000166667 + 8_760 * 0.005 / 1_000 + 200e6 * 12 / GB * 0.023 + 0.1
    assert usd["direct"] == pytest.approx(direct)
    # All of 1,800 bytes at a quarter, in place of 800 at a half that nobody keeps any more.
    kept = 110e6 / GB * 30 / (730 / 24) * 0.03
    delivery = 1_800e6 / GB * 0.25 - 800e6 / GB * 0.5 - kept + 8_760 * 0.005 / 1_000 + 310e6 * 12 / GB * 0.023
    assert usd["delivery"] == pytest.approx(delivery)
