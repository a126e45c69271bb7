"""The customers and fraudsters behind both synthetic files, and random draws that are equal on every processor.

Integers with integer weights decide all choices; results of exp, whose last bits differ between processors,
are rounded before they are compared or written.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.random import Generator

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]
type Mask = npt.NDArray[np.bool_]
type Names = Sequence[str]

DAYS: Final = 182
START: Final = np.datetime64("2025-07-07T00:00:00", "us")  # a Monday
LATE_PATTERN_DAY: Final = 150
SCATTER: Final = 2_654_435_761
HOUR_US: Final = 3_600_000_000

# Weights of the hours from midnight on.
# fmt: off
HOURS: Final = (30, 22, 17, 14, 14, 18, 26, 36, 48, 56, 60, 62, 64, 63, 62, 62, 63, 65, 68, 70, 68, 62, 52, 40)
FRAUD_HOURS: Final = (52, 54, 55, 54, 50, 44, 38, 36, 36, 38, 40, 40, 42, 42, 42, 42, 42, 42, 44, 44, 46, 48, 50, 52)
# fmt: on


class Stream(NamedTuple):
    """How the rows of one customer follow each other: sessions of several rows, while the customer is active."""

    sessions: float = 1.0  # per customer, on average
    rows: float = 1.0  # per session, the median
    gap_minutes: float = 1.0  # between the rows of a session, the median
    active_days: int = DAYS  # from a customer's first session to the last
    host: str = ""  # the segment whose customers a fraudster poses as


class Segment(NamedTuple):
    """A kind of customer or fraudster: its frequency, rows in time, distributions, and restricted fields."""

    name: str
    per_100k: int
    stream: Stream
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
    """The time of each row and the codes of its segment and its customer, in order of time."""

    time: npt.NDArray[np.datetime64]
    day: Integers
    segment: Integers
    customer: Integers
    n_customers: int

    @property
    def seconds(self) -> Integers:
        """The time of each row in whole seconds."""
        return self.time.astype("datetime64[s]").astype(np.int64)


class Drawn(NamedTuple):
    """The rows to publish and, unpublished, the name of the segment of each."""

    table: pa.Table
    segment: npt.NDArray[np.str_]


def pick(rng: Generator, weights: Iterable[int], size: int) -> Integers:
    """Positions drawn with integer weights, which are exact on every processor."""
    edges = np.cumsum(np.fromiter(weights, np.int64))
    return np.searchsorted(edges, rng.integers(edges[-1], size=size), side="right")


def pick_drifting(rng: Generator, first: Iterable[int], last: Iterable[int], day: Integers) -> Integers:
    """Positions drawn with weights that move from `first` to `last` as the days pass."""
    by_last = rng.integers(DAYS, size=day.size) < day
    return np.where(by_last, pick(rng, last, day.size), pick(rng, first, day.size))


def happens(rng: Generator, permille: int | Integers, size: int) -> Mask:
    """True with the given probability, in thousandths, for each row."""
    return rng.integers(1000, size=size) < permille


def keep_to(rng: Generator, codes: Integers, kept: Sequence[tuple[Mask, Integers]]) -> Integers:
    """The codes; in each segment that is restricted to some codes, they are redrawn evenly from these."""
    for rows, allowed in kept:
        codes[rows] = allowed[rng.integers(allowed.size, size=np.count_nonzero(rows))]
    return codes


def heavy_tail(rng: Generator, size: int) -> Floats:
    """Factors that are 1, except for one row in a hundred, where they follow a Pareto distribution."""
    return np.where(happens(rng, 10, size), 1.0 + rng.pareto(1.5, size), 1.0)


def draw_amounts(rng: Generator, usual_usd: Floats, day: Integers, *, growth: float) -> Floats:
    """Dollars and cents around the usual amount, for either file; it grows by the share `growth` over all days."""
    amount = usual_usd * (1.0 + growth * day / DAYS) * heavy_tail(rng, day.size)
    return np.maximum(np.round(amount, 2), 0.01)


def draw_ids(rng: Generator, prefix: str, size: int) -> pa.Array:
    """Unique ids that carry no information."""
    start = int(rng.integers(2**40))
    return pa.array([f"{prefix}{_permuted(start + row):010x}" for row in range(size)])


def draw_names(rng: Generator, prefix: str, codes: Integers) -> pa.Array:
    """A unique name for each code, which carries no information."""
    start = int(rng.integers(2**40))
    names = [f"{prefix}{_permuted(start + code):010x}" for code in range(int(codes.max(initial=-1)) + 1)]
    return pa.array(np.array(names, dtype=object)[codes], pa.string())


def _permuted(number: int) -> int:
    """A number below 2**40, different for each `number` below 2**40, because the multiplier is odd."""
    return number * 678_446_653_037 % 2**40


def texts(names: Names, codes: Integers, missing: Mask | None = None) -> pa.Array:
    """The names at the codes, null where missing."""
    return pa.array(np.array(names, dtype=object)[codes], pa.string(), mask=missing)


def draw_arrivals(rng: Generator, population: Population, n_rows: int) -> Arrivals:
    """The times of either file's rows over 26 weeks of slightly growing traffic, with their segments and customers."""
    days = draw_days(rng, population, n_rows)
    segments = draw_segments(rng, population, days)
    offsets, customers, bounds = [], [], {"": (0, 0)}
    n_customers = 0
    for code, kind in enumerate(population.segments):
        offset, customer, n_own = draw_stream(rng, kind.stream, days[segments == code], code, population)
        bounds[kind.name] = (n_customers, n_own)
        first, n_hosts = bounds[kind.stream.host] if kind.stream.host else bounds[kind.name]
        offsets.append(offset)
        # A fraudster poses as one arbitrary customer of the host segment.
        customers.append(first + (customer * SCATTER % n_hosts if kind.stream.host else customer))
        n_customers += n_own
    offset = np.concatenate(offsets)
    order = np.argsort(offset, kind="stable")
    offset = offset[order]
    return Arrivals(
        time=START + offset.astype("timedelta64[us]"),
        day=offset // (24 * HOUR_US),
        segment=np.repeat(np.arange(len(offsets)), [len(part) for part in offsets])[order],
        customer=np.concatenate(customers)[order],
        n_customers=n_customers,
    )


def draw_stream(
    rng: Generator, stream: Stream, days: Integers, code: int, population: Population
) -> tuple[Integers, Integers, int]:
    """Microseconds since the start and the customer of each row of a segment, and how many customers it has.

    `days` are the days drawn for its rows one by one; sessions and customers begin on some of them.
    """
    n_rows = len(days)
    size = np.maximum(np.rint(stream.rows * rng.lognormal(0.0, 0.6, n_rows)), 1).astype(np.int64)
    n_sessions = int(np.searchsorted(np.cumsum(size), n_rows)) + 1 if n_rows else 0
    session = np.repeat(np.arange(n_sessions), size[:n_sessions])[:n_rows]
    n_customers = max(round(n_sessions / stream.sessions), 1)
    # The smaller of two draws: some customers are busier than others.
    customer = np.minimum(rng.integers(n_customers, size=n_sessions), rng.integers(n_customers, size=n_sessions))
    opening = LATE_PATTERN_DAY if code >= len(population.segments) - len(population.late_fraud) else 0
    day = days[:n_sessions]
    if stream.active_days < DAYS:
        began = days[rng.integers(max(n_rows, 1), size=n_customers)] if n_rows else day
        day = began[customer] + rng.integers(stream.active_days, size=n_sessions)
        day = np.where(day < DAYS, day, opening + (day - DAYS) % (DAYS - opening))
    hour = draw_hours(rng, np.full(n_sessions, code >= len(population.legitimate)))
    start = (24 * day + hour) * HOUR_US + rng.integers(HOUR_US, size=n_sessions)
    gap = np.rint(60 * stream.gap_minutes * rng.lognormal(0.0, 1.0, n_rows)).astype(np.int64) * 1_000_000
    is_first = np.diff(session, prepend=-1) > 0
    elapsed = np.cumsum(np.where(is_first, 0, gap))
    offset = start[session] + elapsed - elapsed[is_first][session]
    # A session that would end after the last day is moved to end with it.
    last = offset[np.append(np.flatnonzero(is_first)[1:], n_rows) - 1] if n_rows else offset
    late = np.maximum(last - (24 * DAYS * HOUR_US - 1), 0)
    return offset - late[session], customer[session], n_customers


def draw_days(rng: Generator, population: Population, n_rows: int) -> Integers:
    """The day of each row of either file; weekdays differ, and traffic grows by 0.001 of the first day's every day."""
    days = np.arange(DAYS)
    weights = np.array(population.weekdays)[days % 7] * (1000 + days)
    return pick(rng, weights.tolist(), n_rows)


def draw_segments(rng: Generator, population: Population, day: Integers) -> Integers:
    """The code of the segment of each row of either file; the late fraud appears from its day on."""
    n_late = len(population.late_fraud)
    shares = [segment.per_100k for segment in population.segments]
    early = pick(rng, shares[:-n_late] + [0] * n_late, day.size)
    return np.where(day < LATE_PATTERN_DAY, early, pick(rng, shares, day.size))


def draw_hours(rng: Generator, is_fraud: Mask) -> Integers:
    """The hour of each row of either file; fraud is busiest at night."""
    return np.where(is_fraud, pick(rng, FRAUD_HOURS, is_fraud.size), pick(rng, HOURS, is_fraud.size))


def draw_quantities(rng: Generator, population: Population, segment: Integers) -> list[Floats]:
    """One lognormal column for each of the spreads of a population's segments."""
    spreads = np.array([kind.spreads for kind in population.segments])[segment]
    return [median * rng.lognormal(0.0, sigma) for median, sigma in spreads.transpose(1, 2, 0)]


def of_customer(arrivals: Arrivals, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """For each row, the value in the first row of the same customer."""
    first = np.zeros(arrivals.n_customers, np.int64)
    first[arrivals.customer[::-1]] = np.arange(len(values))[::-1]
    return values[first[arrivals.customer]]


class Earlier(NamedTuple):
    """The earlier rows of the same entity in each row's window: positions among the rows sorted by entity and time."""

    order: Integers
    begin: Integers
    end: Integers


def earlier_rows(entity: Integers, seconds: Integers, over: int, step: int) -> Earlier:
    """The rows of the same entity from t - over, rounded down to a multiple of step, to before t; all in seconds."""
    order = np.lexsort((seconds, entity))
    ordered = entity[order] * 2**40 + seconds[order]
    return Earlier(
        order,
        np.searchsorted(ordered, entity * 2**40 + (seconds - over) // step * step),
        np.searchsorted(ordered, entity * 2**40 + seconds),
    )


def kept_values(population: Population, segment: Integers, field: str, names: Names) -> list[tuple[Mask, Integers]]:
    """For each segment of a population with only some values of the field: its rows, and their positions in `names`."""
    return [
        (segment == position, np.array([names.index(value) for value in kind.only[field]]))
        for position, kind in enumerate(population.segments)
        if field in kind.only
    ]


def is_fraudster(population: Population, segment: Integers) -> Mask:
    """True for each row of a population that is fraud, labelled so or not."""
    return segment >= len(population.legitimate)


def draw_labels(rng: Generator, population: Population, segment: Integers) -> npt.NDArray[np.int8]:
    """The published labels of either file: 4 % of the frauds are not labelled so, and 3 in 10,000 other rows are."""
    is_fraud = is_fraudster(population, segment)
    is_wrong = rng.integers(10_000, size=segment.size) < np.where(is_fraud, 400, 3)
    return (is_fraud ^ is_wrong).astype(np.int8)


def segment_names(population: Population, segment: Integers) -> npt.NDArray[np.str_]:
    """The name of the population's segment of each row."""
    return np.array([kind.name for kind in population.segments])[segment]
