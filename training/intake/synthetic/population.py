"""The customers and fraudsters behind the synthetic rows: when they arrive, and how their rows are labelled."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.random import Generator

from training.intake.synthetic.draws import DAYS, Floats, Integers, Mask, Names, pick

START: Final = np.datetime64("2025-07-07T00:00:00", "us")  # a Monday
LATE_PATTERN_DAY: Final = 150
HOUR_US: Final = 3_600_000_000

# Weights of the hours from midnight on.
# fmt: off
HOURS: Final = (30, 22, 17, 14, 14, 18, 26, 36, 48, 56, 60, 62, 64, 63, 62, 62, 63, 65, 68, 70, 68, 62, 52, 40)
FRAUD_HOURS: Final = (52, 54, 55, 54, 50, 44, 38, 36, 36, 38, 40, 40, 42, 42, 42, 42, 42, 42, 44, 44, 46, 48, 50, 52)
# fmt: on


class Segment(NamedTuple):
    """A kind of customer or fraudster: its frequency, its distributions, and the values it is restricted to."""

    name: str
    per_100k: int
    spreads: tuple[tuple[float, float], ...]  # (median, sigma of the logarithm) of each quantity
    only: Mapping[str, Names] = {}


class Population(NamedTuple):
    """All segments: legitimate, known fraud, and fraud that appears late."""

    legitimate: tuple[Segment, ...]
    fraud: tuple[Segment, ...]
    late_fraud: tuple[Segment, ...]
    weekdays: tuple[int, ...]  # weights, from Monday on

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All segments; their positions are the codes that rows carry."""
        return self.legitimate + self.fraud + self.late_fraud


class Arrivals(NamedTuple):
    """The time of each row and the code of its segment, in order of time."""

    time: npt.NDArray[np.datetime64]
    day: Integers
    segment: Integers


class Drawn(NamedTuple):
    """The rows to publish and, unpublished, the name of the segment of each."""

    table: pa.Table
    segment: npt.NDArray[np.str_]


def draw_arrivals(rng: Generator, population: Population, n_rows: int) -> Arrivals:
    """Times over 26 weeks with slightly growing traffic, and the segment of each row."""
    day = draw_days(rng, population, n_rows)
    segment = draw_segments(rng, population, day)
    hour = draw_hours(rng, is_fraudster(population, segment))
    offset = (24 * day + hour) * HOUR_US + rng.integers(HOUR_US, size=n_rows)
    order = np.argsort(offset, kind="stable")
    return Arrivals(START + offset[order].astype("timedelta64[us]"), day[order], segment[order])


def draw_days(rng: Generator, population: Population, n_rows: int) -> Integers:
    """The day of each row; weekdays differ, and traffic grows by a thousandth of the first day's every day."""
    days = np.arange(DAYS)
    weights = np.array(population.weekdays)[days % 7] * (1000 + days)
    return pick(rng, weights.tolist(), n_rows)


def draw_segments(rng: Generator, population: Population, day: Integers) -> Integers:
    """The code of the segment of each row; the late fraud appears from its day on."""
    n_late = len(population.late_fraud)
    shares = [segment.per_100k for segment in population.segments]
    early = pick(rng, shares[:-n_late] + [0] * n_late, day.size)
    return np.where(day < LATE_PATTERN_DAY, early, pick(rng, shares, day.size))


def draw_hours(rng: Generator, is_fraud: Mask) -> Integers:
    """The hour of each row; fraud is busiest at night."""
    return np.where(is_fraud, pick(rng, FRAUD_HOURS, is_fraud.size), pick(rng, HOURS, is_fraud.size))


def draw_quantities(rng: Generator, population: Population, segment: Integers) -> list[Floats]:
    """One lognormal column for each of the segments' spreads."""
    spreads = np.array([kind.spreads for kind in population.segments])[segment]
    return [median * rng.lognormal(0.0, sigma) for median, sigma in spreads.transpose(1, 2, 0)]


def kept_values(population: Population, segment: Integers, field: str, names: Names) -> list[tuple[Mask, Integers]]:
    """For each segment restricted to some values of the field: its rows, and the values' positions in `names`."""
    return [
        (segment == position, np.array([names.index(value) for value in kind.only[field]]))
        for position, kind in enumerate(population.segments)
        if field in kind.only
    ]


def is_fraudster(population: Population, segment: Integers) -> Mask:
    """True for each row that is fraud, labelled so or not."""
    return segment >= len(population.legitimate)


def draw_labels(rng: Generator, population: Population, segment: Integers) -> npt.NDArray[np.int8]:
    """The published labels: 4 % of the fraud is not labelled, and 3 in 10,000 other rows are."""
    is_fraud = is_fraudster(population, segment)
    is_wrong = rng.integers(10_000, size=segment.size) < np.where(is_fraud, 400, 3)
    return (is_fraud ^ is_wrong).astype(np.int8)


def segment_names(population: Population, segment: Integers) -> npt.NDArray[np.str_]:
    """The name of the segment of each row."""
    return np.array([kind.name for kind in population.segments])[segment]
