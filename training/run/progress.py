"""The progress of long work, as a bar on a terminal or lines in a log."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from time import perf_counter

from tqdm import tqdm

# A rate measured over less time is mostly chance, and short work needs none.
PACE_AFTER_SECONDS = 2


class ProgressCounter:
    """Counts up to a total and shows rate and time left, in a bar on a terminal or in at most ten lines of a log."""

    def __init__(self, name: str, total: int, unit: str = "") -> None:
        """Begin at 0."""
        self._name, self._total, self._unit = name, max(total, 1), unit
        self._count, self._tenths, self._start = 0, 0, perf_counter()
        self._bar = (
            tqdm(desc=name, total=total, unit=unit or "it", unit_scale=bool(unit)) if sys.stderr.isatty() else None
        )

    def add(self, count: int = 1) -> None:
        """Add to the count."""
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
        elif (tenths := self._count * 10 // self._total) > self._tenths:
            self._tenths = tenths
            say(f"{self._name}: {self._count:,} of {self._total:,}{self._unit and f' {self._unit}'}{self._pace()}")

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def _pace(self) -> str:
        """The rate and the time left, or nothing while the rate means little."""
        seconds = perf_counter() - self._start
        if seconds < PACE_AFTER_SECONDS:
            return ""
        rate = self._count / seconds
        seconds_left = max(self._total - self._count, 0) / rate
        return f", {rate:,.{0 if rate >= 10 else 1}f} a second, {seconds_left:,.0f} s left"  # noqa: PLR2004 - two digits


def progress[T](
    items: Iterable[T], name: str, *, total: int, size: Callable[[T], int] = lambda _: 1, unit: str = ""
) -> Iterator[T]:
    """The items; each adds its `size`, by default 1, to the count when the next one is requested."""
    counter = ProgressCounter(name, total, unit)
    try:
        for item in items:
            yield item
            counter.add(size(item))
    finally:
        counter.close()


def say(line: str) -> None:
    """Print a line immediately, above the bar if there is one."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


@cache
def warn_once(line: str) -> None:
    """Print a line on stderr, unless this process has printed it already."""
    tqdm.write(line, file=sys.stderr)
