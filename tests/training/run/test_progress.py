"""Progress: a bar on a terminal, and a few lines in a log."""

import contextlib
import io
import os
import select
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.run import progress as module
from training.run.progress import PACE_AFTER_SECONDS, progress, say


@contextlib.contextmanager
def terminal() -> Iterator[int]:
    """Make a real terminal the error stream; yields the descriptor from which its output can be read."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    termios.tcsetwinsize(theirs, (24, 80))
    with open(theirs, "w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):  # noqa: PTH123 - a number, not a path
        yield ours
    os.close(ours)


def read_until(other_end: int, text: str) -> str:
    """The output of a terminal, which arrives in pieces, up to some text or until nothing more comes."""
    shown = ""
    while text not in shown and select.select([other_end], [], [], 5)[0]:
        shown += os.read(other_end, 65_536).decode()
    return shown


def lines_of(total: int) -> list[str]:
    """The lines that progress over `total` items prints into a log."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert list(progress(range(total), "folds", total=total)) == list(range(total))
    assert err.getvalue() == ""
    return out.getvalue().splitlines()


@given(total=st.integers(0, 300))
def test_log_has_at_most_ten_lines(total: int) -> None:
    """However many items there are, a log has at most ten lines, the last one for the end."""
    lines = lines_of(total)
    assert len(lines) == min(total, 10)
    assert lines[-1:] == ([f"folds: {total} of {total}"] if total else [])


def test_log_of_a_worked_case() -> None:
    """Every second of twenty items is logged, and every one of three."""
    assert lines_of(20) == [f"folds: {count} of 20" for count in range(2, 21, 2)]
    assert lines_of(3) == ["folds: 1 of 3", "folds: 2 of 3", "folds: 3 of 3"]


def test_item_is_counted_when_it_is_finished(capsys: pytest.CaptureFixture[str]) -> None:
    """An item is counted when the next one is requested, not when it begins."""
    items = progress(["a", "b"], "folds", total=2)
    assert next(items) == "a"
    assert capsys.readouterr().out == ""
    assert next(items) == "b"
    assert capsys.readouterr().out == "folds: 1 of 2\n"


def test_terminal_has_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal shows a bar with a name and the progress, and no lines are printed.

    Sizes are abbreviated, and the rate has their unit.
    """
    with terminal() as other_end:
        assert list(progress("abcd", "folds", total=4)) == ["a", "b", "c", "d"]
        drawn = read_until(other_end, "4/4")
    for part in ("\r", "folds", "4/4"):
        assert part in drawn
    with terminal() as other_end:
        list(progress(["a" * 4_000] * 2, "rows", total=8_000, size=len, unit="rows"))
        drawn = read_until(other_end, "8.00k/8.00k")
    assert "8.00k/8.00k" in drawn
    assert "rows/s" in drawn
    assert capsys.readouterr().out == ""


def test_line_goes_to_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    """A line is printed to the output, not to the error stream."""
    say("fold 1 of 4: 0.71")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("fold 1 of 4: 0.71\n", "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose time is the list's only entry, which a test may change."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def test_log_has_the_rate_of_long_work(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A line has the rate and the time left as soon as the rate is meaningful."""
    counter = module.ProgressCounter("rows checked", 50_000, "rows")
    clock[0] += PACE_AFTER_SECONDS - 0.01
    counter.add(10_000)
    clock[0] += 2.01
    counter.add(10_000)
    clock[0] += 6
    counter.add(30_000)
    assert capsys.readouterr().out.splitlines() == [
        "rows checked: 10,000 of 50,000 rows",
        "rows checked: 20,000 of 50,000 rows, 5,000 a second, 6 s left",
        "rows checked: 50,000 of 50,000 rows, 5,000 a second, 0 s left",
    ]


def test_rates_and_times_at_their_limits(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A rate below ten has a digit; with more items than expected, the time left is 0, and nothing is divided by 0."""
    counter = module.ProgressCounter("trials", 4)
    clock[0] += 8
    counter.add()
    assert capsys.readouterr().out == "trials: 1 of 4, 0.1 a second, 24 s left\n"
    counter = module.ProgressCounter("rows", 0, "rows")
    clock[0] += 4
    counter.add(100)
    assert capsys.readouterr().out == "rows: 100 of 1 rows, 25 a second, 0 s left\n"


def test_sizes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """An item counts by its size."""
    chunks = [[0] * 40, [0] * 40, [0] * 20]
    assert list(progress(chunks, "rows", total=100, size=len, unit="rows")) == chunks
    assert capsys.readouterr().out.splitlines() == [
        "rows: 40 of 100 rows",
        "rows: 80 of 100 rows",
        "rows: 100 of 100 rows",
    ]
