"""The figures of a model card: what they show for given reports, and SVG that is the same on every machine."""

import re
from collections.abc import Callable
from functools import cache, partial

import matplotlib as mpl
import pytest
from matplotlib import style
from matplotlib.axes import Axes

from tests.training.report.pages import parsed
from training.report.axes import LOWEST_DECADE, blank_axes, decades, percent_ticks, round_ticks
from training.report.card_figures import importance_figure, pictures
from training.report.card_reports import Reports
from training.report.html import Picture, svg

Draw = Callable[[str], str]
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("precision_recall", "reliability", "tradeoff", "costs", "importance", "candidates", "variants", "history")


def importance_svg(*names: str) -> str:
    """The plot of features with equal importance, as SVG."""
    rows = [{"feature": name, "gain": 0.1, "permutation": 0.02, "permutation_std": 0.01} for name in names]
    return svg("x", Picture("", "", partial(importance_figure, rows)))


@pytest.fixture(scope="module")
def draw(reports: Reports) -> Draw:
    """Draw one of the card's plots as SVG."""
    drawings = pictures(reports)
    return lambda name: svg(name, Picture("A caption", "What <it> shows & why", drawings[name].draw))


@pytest.fixture(scope="module")
def drawn(draw: Draw) -> Draw:
    """As `draw`, but drawing each plot only once."""
    return cache(draw)


def texts(content: str) -> list[str]:
    """The texts in a picture."""
    return ["".join(element.itertext()) for element in parsed(content).iter(f"{SVG}text")]


def labels(axes: Axes, side: str) -> list[str]:
    """The labels of an axis's ticks."""
    return [label.get_text() for label in (axes.get_xticklabels() if side == "x" else axes.get_yticklabels())]


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_one_element_that_says_what_it_shows(drawn: Draw, name: str) -> None:
    """A picture is one svg element that refers to its given title and description.

    Every id begins with the picture's name, so that pictures on a page do not clash, and every reference exists.
    """
    content = drawn(name)
    root = parsed(content)
    assert root.tag == f"{SVG}svg"
    assert root.attrib["aria-labelledby"] == f"{name}-title {name}-desc"
    assert (root[0].attrib["id"], root[0].text) == (f"{name}-title", "A caption")
    assert (root[1].attrib["id"], root[1].text) == (f"{name}-desc", "What <it> shows & why")
    ids = re.findall(r' id="([^"]*)"', content)
    assert len(ids) == len(set(ids))
    assert all(id_.startswith(f"{name}-") for id_ in ids)
    assert set(re.findall(r"#([\w-]+)", content)) <= set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_the_same_everywhere(drawn: Draw, name: str) -> None:
    """Pictures have no date, version, local font, stylesheet or excess digits, and use the page's colours."""
    content = drawn(name)
    for secret in ("metadata", "Matplotlib", "font-family", "<style", "2026"):
        assert secret not in content
    assert re.search(r"\d\.\d{3}", re.sub(r"<(title|desc|text).*?</\1>", "", content)) is None
    colours = {"none", "var(--ink)", "var(--grey)", "var(--blue)", "var(--orange)"}
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", content)) <= colours


@pytest.mark.parametrize("name", NAMES)
def test_user_s_settings_do_not_show(drawn: Draw, draw: Draw, name: str) -> None:
    """A user's own matplotlib settings change nothing, and are restored."""
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9}):
        assert draw(name) == drawn(name)
        assert mpl.rcParams["font.size"] == 20


def test_bars_stop_at_the_most_used_features() -> None:
    """The plot shows only the first twelve features."""
    shown = texts(importance_svg(*(f"f{number}" for number in range(30))))
    assert [text for text in shown if text.startswith("f")] == [f"f{number}" for number in range(12)]


def test_hostile_name_is_shown_as_it_is() -> None:
    """A name with markup, mathematics or a line break is shown literally, on one line."""
    shown = texts(importance_svg("<b>&\n$x^2$", "a" * 64))
    assert "<b>& $x^2$" in shown
    assert "a" * 21 + "…" in shown


def test_lines_are_those_of_the_reports(reports: Reports) -> None:
    """Precision and recall follow the report's thresholds in order of recall.

    On logarithmic axes an observed rate of 0 is at the lower edge; trials show the best value so far.
    """
    with style.context("default"):
        lines = {name: picture.draw().axes[0].lines for name, picture in pictures(reports).items()}
    assert list(lines["precision_recall"][0].get_xdata()) == [0.0, 0.4, 0.9, 1.0]
    assert [0.01, 0.08] in [list(line.get_ydata()) for line in lines["reliability"]]
    assert list(lines["history"][0].get_ydata()) == [0.4, 0.4, 0.45]


def test_costs_are_stacked(reports: Reports) -> None:
    """The top edge of the last part is the whole cost; the line marks the declared threshold's alert rate."""
    with style.context("default"):
        axes = pictures(reports)["costs"].draw().axes[0]
    tops = [part.get_paths()[0].vertices for part in axes.collections]
    assert [float(vertices[:, 1].max()) for vertices in tops] == [89.99, 90.0, 99.0, 101.0]
    assert list(axes.lines[0].get_xdata()) == [reports.declared["alert_rate"]] * 2


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([0.02, 0.5], [0.01, 0.1, 1.0]),
        ([0.0, 0.001], [0.001, 0.01, 0.1, 1.0]),
        ([0.5], [0.1, 1.0]),
        ([0.0], [float(f"1e{power}") for power in range(LOWEST_DECADE, 1)]),
        ([1e-12], [float(f"1e{power}") for power in range(LOWEST_DECADE, 1)]),
    ],
)
def test_decades(shares: list[float], expected: list[float]) -> None:
    """Decades begin below the smallest share above 0, but not below the lowest that can be shown."""
    assert decades(shares) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.29], ["0", "0.1", "0.2", "0.3"]),
        ([-0.03, 0.02], ["-0.04", "-0.02", "0", "0.02"]),
        ([0, 20], ["0", "5", "10", "15", "20"]),
        ([0.4, 0.4], ["0.4", "0.5"]),
        ([0.0, 0.0], ["0", "0.5"]),
    ],
)
def test_round_ticks(values: list[float], expected: list[str]) -> None:
    """Ticks are round numbers around the values, even around a single one."""
    axes = blank_axes()[1]
    round_ticks(axes, "x", values)
    assert labels(axes, "x") == expected


def test_many_decades_keep_every_second_label() -> None:
    """If labels would overlap, every second one is kept, including 100 %."""
    axes = blank_axes()[1]
    percent_ticks(axes, "x", decades([1e-5]))
    assert labels(axes, "x") == ["", "0.01 %", "", "1 %", "", "100 %"]
