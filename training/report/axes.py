"""Axes of the reports' plots: every text and tick at a fixed place, so that a plot is the same on every machine."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from training.report.markdown import one_line

Side = Literal["x", "y"]

# Sizes in points: text is not measured, as its size depends on the machine's fonts.
INCH = 72
WIDTH, HEIGHT = 264, 185
LEFT, RIGHT, TOP, BOTTOM = 54, 16, 20, 34
LINE, PANEL, GAP = 14, 165, 16
# The assumed width of a letter, and how many letters of a name are shown.
LETTER, LONGEST = 4.6, 22
INK, GREY, BLUE, ORANGE = "#101010", "#8a8a8a", "#1f6fb2", "#c2571a"
# A share below this power of ten is drawn at the edge.
LOWEST_DECADE = -6
MOST_LABELS = 5


def blank_axes() -> tuple[Figure, Axes]:
    """A figure of the usual size and its axes."""
    figure = Figure((WIDTH / INCH, HEIGHT / INCH))
    return figure, _placed(figure, LEFT, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP)


def _placed(figure: Figure, left: float, width: float, height: float) -> Axes:
    """Axes at a place given in points."""
    across, up = (float(inches) * INCH for inches in figure.get_size_inches())
    axes = figure.add_axes((left / across, BOTTOM / up, width / across, height / up))
    axes.xaxis.set_label_coords(0.5, -18 / height)
    axes.yaxis.set_label_coords(-38 / width, 0.5)
    return axes


def line_axes(names: Sequence[str], *, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with one line per name, the first at the top, and panels side by side that share the lines."""
    labels = [one_line(name, longest=LONGEST) for name in names]
    left, height = 12 + LETTER * max(map(len, labels)), LINE * len(labels)
    figure = Figure(((left + panels * (PANEL + GAP)) / INCH, (BOTTOM + height + 6) / INCH))
    all_axes = [_placed(figure, left + number * (PANEL + GAP), PANEL, height) for number in range(panels)]
    for number, axes in enumerate(all_axes):
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), labels if number == 0 else [""] * len(labels))
        axes.tick_params("y", length=0)
    return figure, all_axes


def decades(shares: Iterable[float]) -> list[float]:
    """The powers of ten from the one below the smallest positive share up to 1, at least two."""
    lowest = min((Decimal(repr(share)).adjusted() for share in shares if share > 0), default=LOWEST_DECADE)
    return [float(f"1e{power}") for power in range(min(max(lowest, LOWEST_DECADE), -1), 1)]


def percent_ticks(axes: Axes, side: Side, ticks: Sequence[float]) -> None:
    """Put ticks at shares, labelled in per cent; if there are many, only every second one has a label."""
    every = 2 if len(ticks) > MOST_LABELS else 1
    labels = [f"{_plain(100 * tick)} %" if place % every == 0 else "" for place, tick in enumerate(ticks[::-1])][::-1]
    _ticks(axes, side, ticks, labels, (ticks[0] / 1.3, 1.3) if ticks[0] else (-0.02, 1.02))


def round_ticks(axes: Axes, side: Side, values: Sequence[float]) -> None:
    """Put three to six ticks at round numbers around values, the outer ones at the ends of the axis."""
    low, high = Decimal(repr(float(min(values)))), Decimal(repr(float(max(values))))
    rough = (high - low or abs(low) or Decimal(1)) / 4
    step = next(step for factor in (1, 2, 5, 10) if (step := Decimal(factor).scaleb(rough.adjusted())) >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [float(number * step) for number in range(first, max(last, first + 1) + 1)]
    _ticks(axes, side, ticks, [_plain(tick) for tick in ticks], (ticks[0], ticks[-1]))


def _ticks(axes: Axes, side: Side, ticks: Sequence[float], labels: Sequence[str], limits: tuple[float, float]) -> None:
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks(ticks, labels)
    axis.set_minor_locator(NullLocator())
    axes.set(**{f"{side}lim": limits})


def _plain(number: float) -> str:
    """A number without an exponent: 0.001."""
    return f"{Decimal(f'{number:.6g}').normalize():f}"


def write_key(figure: Figure, *words: tuple[str, str]) -> None:
    """Write a legend above the axes, each entry in its colour."""
    left = float(LEFT)
    for word, color in words:
        figure.text(left / WIDTH, 1 - 12 / HEIGHT, word, color=color)
        left += LETTER * len(word) + 10
