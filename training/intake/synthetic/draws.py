"""Random draws that are the same on every processor, to the last bit.

Integers with integer weights decide all choices; results of exp, whose last bits differ between processors,
are rounded before they are compared or written.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.random import Generator

type Floats = npt.NDArray[np.float64]
type Integers = npt.NDArray[np.int64]
type Mask = npt.NDArray[np.bool_]
type Names = Sequence[str]

DAYS: Final = 182


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
    """Dollars and cents around the usual amount, which grows by the share `growth` from the first day to the last."""
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
