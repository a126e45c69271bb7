"""The backtest as a user runs it: what it prints and writes, and how a mistake ends."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training import backtest
from training.monitoring.replay import POLICIES, SECONDS_A_WEEK

WRITTEN = ["backtest.csv", "backtest.html", "backtest.json"]


@pytest.fixture
def workplace(trained: Path, tmp_path: Path) -> Path:
    """A user's folder after `make train`: the declaration, the data, and what tuning found."""
    folder = tmp_path / "workplace"
    (folder / "build" / "mini").mkdir(parents=True)
    shutil.copy(trained / "build" / "mini" / "tuned.json", folder / "build" / "mini")
    shutil.copytree(trained / "data", folder / "data")
    shutil.copy(trained / "params.yaml", folder)
    return folder


@pytest.fixture
def run_here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command in this process, which is quicker; returns what it exits with: None, a status or a sentence."""

    def run(*arguments: str) -> Any:  # noqa: ANN401 - None, an int or a text
        monkeypatch.chdir(workplace)
        monkeypatch.setattr(sys, "argv", ["backtest", *arguments])
        try:
            backtest.main()
        except SystemExit as ended:
            return ended.code
        return None

    return run


def read_report(workplace: Path) -> dict[str, Any]:
    """The report that the command wrote."""
    found: dict[str, Any] = json.loads((workplace / "reports" / "mini" / "backtest.json").read_text())
    return found


def declare(workplace: Path, old: str, new: str) -> None:
    """Change a line of the declaration."""
    text = (workplace / "params.yaml").read_text()
    assert text.count(old) == 1
    (workplace / "params.yaml").write_text(text.replace(old, new))


def test_command_prints_and_writes(
    workplace: Path, run_here: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends well, with a line a policy and the page's name, and leaves its three files and nothing else."""
    before = {path for path in workplace.rglob("*") if path.is_file()}
    assert run_here("mini", "--every", "1") is None
    printed = capsys.readouterr()
    assert printed.err == ""
    *_, headers, frozen, scheduled, on_retrain, on_watch, last = printed.out.splitlines()
    assert " ".join(headers.split()) == "policy retrained refused alerts recall at the frozen model's alerts cost"
    names = [line[:12].strip() for line in (frozen, scheduled, on_retrain, on_watch)]
    assert names == list(POLICIES)
    assert last == "reports/mini/backtest.html"
    sums = read_report(workplace)["policies"]["frozen"]["total"]
    recall = f"{sums['recall']:.3f}"
    assert frozen.split()[1:] == ["0", "0", f"{sums['alerts']}", recall, recall, f"{sums['cost']:,.0f}"]
    folder = workplace / "reports" / "mini"
    assert {path for path in workplace.rglob("*") if path.is_file()} - before == {folder / name for name in WRITTEN}


def test_replay_begins_where_training_ended(workplace: Path, trained: Path, run_here: Callable[..., Any]) -> None:
    """Without a date the weeks begin with the calibration window's first row, to the second."""
    assert run_here("mini") is None
    report = read_report(workplace)
    begins = pd.read_parquet(trained / "build" / "mini" / "rows" / "calibrate.parquet")["at"].min()
    assert report["from"] == pd.Timestamp(begins, unit="s").isoformat()
    weeks = report["policies"]["frozen"]["weeks"]
    assert [week["from"] for week in weeks] == [begins + number * SECONDS_A_WEEK for number in range(3)]
    assert (report["weeks"], report["every_weeks"], report["label_delay_days"]) == (3, 4, 0)


def test_since_is_where_it_begins(workplace: Path, run_here: Callable[..., Any]) -> None:
    """A date is midnight in UTC, in all three files."""
    assert run_here("mini", "--since", "2025-02-12", "--every", "2") is None
    report = read_report(workplace)
    assert (report["from"], report["weeks"], report["every_weeks"]) == ("2025-02-12T00:00:00", 2, 2)
    table = pd.read_csv(workplace / "reports" / "mini" / "backtest.csv")
    assert table["week"].unique().tolist() == ["2025-02-12T00:00:00", "2025-02-19T00:00:00"]
    page = (workplace / "reports" / "mini" / "backtest.html").read_text()
    assert "<td>2025-02-12</td>" in page


def test_table_and_totals_hold_the_weeks(workplace: Path, run_here: Callable[..., Any]) -> None:
    """The table has a line for each policy and week with the week's numbers, and a policy's totals are their sums."""
    assert run_here("mini", "--every", "1") is None
    report = read_report(workplace)
    table = pd.read_csv(workplace / "reports" / "mini" / "backtest.csv")
    assert table["policy"].tolist() == [name for name in POLICIES for _ in range(report["weeks"])]
    assert list(table.columns) == ["policy", "week", *backtest.COLUMNS]
    weeks = [week for one in report["policies"].values() for week in one["weeks"]]
    for name in backtest.COLUMNS:
        assert table[name].tolist() == [week[name] for week in weeks]
    for policy in report["policies"].values():
        for name in ("rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts"):
            assert policy["total"][name] == sum(week[name] for week in policy["weeks"])


def test_windows_of_days_are_asked_for(workplace: Path, run_here: Callable[..., Any]) -> None:
    """With other windows the weeks are the same, and the models have learned from rows until nearer to them."""
    assert run_here("mini") is None
    before = read_report(workplace)["policies"]["frozen"]["weeks"]
    assert run_here("mini", "--days", "7", "3.5") is None
    after = read_report(workplace)["policies"]["frozen"]["weeks"]
    assert [week["from"] for week in after] == [week["from"] for week in before]
    assert after[0]["learned_until"] == pytest.approx(before[0]["from"] - 10.5 * 86_400, abs=86_400)
    assert before[0]["learned_until"] < after[0]["learned_until"]


def test_declared_windows_of_days_are_replayed(workplace: Path, run_here: Callable[..., Any]) -> None:
    """A scorer whose split is declared by days needs no option."""
    declare(workplace, "{train: 0.6, calibrate: 0.2, test: 0.2}", "{calibrate_days: 10, test_days: 10}")
    assert run_here("mini") is None
    assert read_report(workplace)["weeks"] == 2


def test_without_costs_nothing_is_said_of_them(
    workplace: Path, run_here: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A scorer that declares no costs has none in the report, and an empty column on the terminal."""
    declare(workplace, "{amount: amount, review: 2.0}", "null")
    assert run_here("mini") is None
    text = (workplace / "reports" / "mini" / "backtest.json").read_text()
    assert "cost" not in text
    assert "missed" not in text
    frozen = next(line for line in capsys.readouterr().out.splitlines() if re.match(r"frozen +0", line))
    assert len(frozen.split()) == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nobody",), r"backtest: params\.yaml: there is no scorers\.nobody; declared are mini"),
        (
            ("mini", "--since", "2030-01-01"),
            r"backtest: no whole week from 2030-01-01T00:00:00 on has rows; the last row is of 2025-03-01T\S+; .*",
        ),
        (
            ("mini", "--since", "2024-12-01"),
            r"backtest: no first model can be made on 2024-12-01T00:00:00: no label was known on .*; begin later",
        ),
        (
            ("mini", "--days", "400", "7"),
            r"backtest: no first model can be made on \S+: the train window has no rows; it must have both .*",
        ),
        (
            ("mini", "--days", "0", "7"),
            r"backtest: no first model can be made on \S+: the calibrate window has no rows; it must have both .*",
        ),
    ],
    ids=["unknown scorer", "after the end", "before anything was known", "too long windows", "no window"],
)
def test_mistake_ends_in_a_sentence(
    workplace: Path, run_here: Callable[..., Any], arguments: tuple[str, ...], sentence: str
) -> None:
    """A mistake ends the command with one sentence that names it, and nothing is written."""
    assert re.fullmatch(sentence, str(run_here(*arguments)))
    assert not (workplace / "reports").exists()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: (folder / "build" / "mini" / "tuned.json").unlink(),
            r"backtest: build/mini/tuned\.json cannot be read: No such file or directory; `make train` tunes",
        ),
        (
            lambda folder: (folder / "data" / "rows.parquet").unlink(),
            r"backtest: data/rows\.parquet does not exist; it must be .*",
        ),
        (lambda folder: (folder / "params.yaml").unlink(), r"backtest: params\.yaml cannot be read: .*"),
    ],
    ids=["not tuned", "no data", "no declaration"],
)
def test_missing_file_is_named(
    workplace: Path, run_here: Callable[..., Any], spoil: Callable[[Path], None], sentence: str
) -> None:
    """What is not there is named, with what makes it."""
    spoil(workplace)
    assert re.fullmatch(sentence, str(run_here("mini")))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--every", "0"), "--every is 0; it must be at least 1"),
        (("--every", "-3"), "--every is -3; it must be at least 1"),
        (("--since", "yesterday"), "'yesterday' is not a date such as 2026-11-24"),
        (("--days", "7"), "--days: expected 2 arguments"),
    ],
)
def test_impossible_option_is_named(
    run_here: Callable[..., Any], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    """The message names the option, its value and what would be right."""
    assert run_here("mini", *arguments) == 2
    assert sentence in capsys.readouterr().err
