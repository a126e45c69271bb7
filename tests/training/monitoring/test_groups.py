"""Groups: how often each group's legitimate requests are flagged, and when this cannot be measured."""

from typing import Any

import numpy as np
import pytest

from tests.training.monitoring.test_blocks import log_of
from training.monitoring.blocks import join_outcomes
from training.monitoring.groups import group_rates
from training.monitoring.log import Log
from training.params import Monitoring
from training.report.monitor_report import GroupRates

NORTH, SOUTH = 11, 12


def groups_of(log: Log) -> dict[str, GroupRates]:
    """The rates by region in a log."""
    rates = group_rates(log, join_outcomes(log, Monitoring(), 0).label)
    return {rate.group: rate for rate in rates}


def log_with(n_each: int, flagged: list[bool], outcomes: list[tuple[Any, ...]], **columns: Any) -> Log:  # noqa: ANN401
    """A log of `n_each` predictions in the north, then as many in the south."""
    log = log_of([0] * 2 * n_each, outcomes, flagged=flagged, **columns)
    regions = np.repeat(np.array([NORTH, SOUTH], dtype=np.uint64), n_each)
    return Log(**{**log.__dict__, "audit": {"region": regions}, "audit_texts": {NORTH: "north", SOUTH: "south"}})


def test_rates_are_those_of_legitimate_requests() -> None:
    """With all 300 requests of each group labelled, rates count the legitimate ones."""
    flagged = [number % 300 < (60 if number < 300 else 20) for number in range(600)]
    outcomes = [(1, number + 1, int(number % 300 < 10)) for number in range(600)]
    north, south = groups_of(log_with(300, flagged, outcomes)).values()
    assert (north.false_positive_rate, south.false_positive_rate) == (50 / 290, 10 / 290)
    assert north.ratio == pytest.approx(5)
    assert south.ratio == pytest.approx(0.2)
    assert north.ratio_interval
    assert 2.5 < north.ratio_interval[0] < 5 < north.ratio_interval[1] < 11


def test_a_few_known_requests_tell_nothing() -> None:
    """If only two of a group's requests are known, because they were reviewed, no ratio is reported."""
    outcomes = [(1, 1, 0), (1, 2, 0), *((1, number + 1, 0) for number in range(300, 600))]
    north, south = groups_of(log_with(300, [True] * 2 + [False] * 598, outcomes)).values()
    assert (north.legitimate, north.ratio, south.ratio) == (2, None, None)


def test_unknown_blocks_make_rates_unknown() -> None:
    """Without outcomes of blocked requests the rates are unknown; a control group measures them."""
    blocked = [1] * 30 + [0] * 270 + [0] * 300
    flagged = [bool(held) for held in blocked]
    outcomes = [(1, number + 1, 0) for number in range(30, 600)]
    for rate in groups_of(log_with(300, flagged, outcomes, blocked=blocked)).values():
        assert (rate.false_positive_rate, rate.ratio, rate.legitimate) == (None, None, 0)
    weight = [10.0] * 3 + [0.0] * 27 + [1.0] * 570
    outcomes += [(1, number + 1, 0) for number in range(3)]
    north, _ = groups_of(log_with(300, flagged, outcomes, blocked=blocked, label_weight=weight)).values()
    assert north.false_positive_rate == pytest.approx(30 / 300)
