"""The backtest command: its output and files, and how mistakes end."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.training.workplace import Workplace
from training import backtest
from training.monitoring.replay import POLICIES
from training.report.backtest_report import WEEK_COLUMNS


def declare(workplace: Workplace, old: str, new: str) -> None:
    """Change a line of the declaration."""
    path = workplace.folder / "params.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_command_prints_and_writes(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each policy and the page's name are printed, and three files written; totals are sums of weeks."""
    before = {path for path in workplace.folder.rglob("*") if path.is_file()}
    assert workplace.run(backtest, "mini", "--every", "1") is None
    printed = capsys.readouterr()
    assert printed.err == ""
    *_, headers, frozen, scheduled, on_retrain, on_watch, last = printed.out.splitlines()
    assert " ".join(headers.split()) == "policy retrained refused alerts recall at the frozen model's alerts cost"
    names = [line[:12].strip() for line in (frozen, scheduled, on_retrain, on_watch)]
    assert names == list(POLICIES)
    assert last == "reports/mini/backtest.html"
    report, table = workplace.report("backtest"), pd.read_csv(workplace.reports / "backtest.csv")
    sums = report["policies"]["frozen"]["total"]
    recall = f"{sums['recall']:.3f}"
    assert frozen.split()[1:] == ["0", "0", f"{sums['alerts']}", recall, recall, f"{sums['cost']:,.0f}"]
    after = {path for path in workplace.folder.rglob("*") if path.is_file()}
    assert after - before == {workplace.reports / f"backtest.{end}" for end in ("csv", "html", "json")}
    assert table["policy"].tolist() == [name for name in POLICIES for _ in range(report["weeks"])]
    assert list(table.columns) == ["policy", "week", *WEEK_COLUMNS]
    weeks = [week for policy in report["policies"].values() for week in policy["weeks"]]
    for name in WEEK_COLUMNS:
        assert table[name].tolist() == [week[name] for week in weeks]
    for policy in report["policies"].values():
        for name in ("rows", "frauds", "alerts", "caught", "caught_at_frozen_alerts"):
            assert policy["total"][name] == sum(week[name] for week in policy["weeks"])


def test_replay_begins_where_training_ended(workplace: Workplace, trained: Path) -> None:
    """Without a date, the weeks begin with the test window's first row, to the second, even for other windows."""
    assert workplace.run(backtest, "mini") is None
    report = workplace.report("backtest")
    begins = pd.read_parquet(trained / "build" / "mini" / "rows" / "test.parquet")["at"].min()
    assert report["from"] == pd.Timestamp(begins, unit="s").isoformat()
    weeks = report["policies"]["frozen"]["weeks"]
    assert [week["from"] for week in weeks] == [begins]
    assert (report["weeks"], report["every_weeks"], report["label_delay_days"]) == (1, 4, 0)
    # With a shorter window, the models learn from rows that end later.
    assert workplace.run(backtest, "mini", "--days", "7") is None
    after = workplace.report("backtest")["policies"]["frozen"]["weeks"]
    assert [week["from"] for week in after] == [week["from"] for week in weeks]
    assert after[0]["learned_until"] == pytest.approx(begins - 7 * 86_400, abs=86_400)
    assert weeks[0]["learned_until"] < after[0]["learned_until"]


def test_since_is_where_it_begins(workplace: Workplace) -> None:
    """The date is midnight in UTC, in all three files."""
    assert workplace.run(backtest, "mini", "--since", "2025-02-12", "--every", "2") is None
    report = workplace.report("backtest")
    assert (report["from"], report["weeks"], report["every_weeks"]) == ("2025-02-12T00:00:00", 2, 2)
    assert pd.read_csv(workplace.reports / "backtest.csv")["week"].unique().tolist() == [
        "2025-02-12T00:00:00",
        "2025-02-19T00:00:00",
    ]
    assert "<td>2025-02-12</td>" in (workplace.reports / "backtest.html").read_text()


def test_declared_windows_of_days_are_replayed(workplace: Workplace) -> None:
    """A split that is declared in days is replayed without any option."""
    declare(workplace, "{test: 0.2}", "{calibrate_days: 10, test_days: 15}")
    assert workplace.run(backtest, "mini") is None
    assert workplace.report("backtest")["weeks"] == 2


def test_without_costs_there_are_none_in_the_report(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Without declared costs, the report has none, and the printed column is empty."""
    declare(workplace, "{amount: amount, review: 2.0}", "null")
    assert workplace.run(backtest, "mini") is None
    text = (workplace.reports / "backtest.json").read_text()
    assert "cost" not in text
    assert "missed" not in text
    frozen = next(line for line in capsys.readouterr().out.splitlines() if re.match(r"frozen +0", line))
    assert len(frozen.split()) == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("nobody", r"params\.yaml: there is no scorers\.nobody; the declared scorers are mini"),
        (
            "mini --since 2030-01-01",
            r"no whole week from 2030-01-01T00:00:00 on has rows; the last row is dated 2025-03-01T\S+; .*",
        ),
        (
            "mini --since 2024-12-01",
            r"no first model can be trained on 2024-12-01T00:00:00: no label was known on .*; begin later",
        ),
        (
            "mini --days 400",
            r"no first model can be trained on \S+: the train window has no rows; it must have both .*",
        ),
    ],
    ids=["unknown scorer", "after the end", "before anything was known", "too long a window"],
)
def test_mistake_ends_in_a_sentence(workplace: Workplace, arguments: str, sentence: str) -> None:
    """A mistake ends the command with one sentence that names it, and nothing is written."""
    assert re.fullmatch(f"backtest: {sentence}", str(workplace.run(backtest, *arguments.split())))
    assert not workplace.reports.exists()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("build/mini/tuned.json", r"cannot be read: No such file or directory; run python -m training.tune mini, .*"),
        ("build/mini/resampling.json", r"cannot be read: .*; run python -m training.compare mini, or dvc repro"),
        ("data/rows.parquet", r"does not exist; it must be .*"),
        ("params.yaml", r"cannot be read: .*"),
    ],
)
def test_missing_file_is_named(workplace: Workplace, path: str, sentence: str) -> None:
    """A missing file is named, with the command that makes it."""
    (workplace.folder / path).unlink()
    assert re.fullmatch(f"backtest: {re.escape(path)} {sentence}", str(workplace.run(backtest, "mini")))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--every", "0"), "--every is 0; it must be at least 1"),
        (("--every", "-3"), "--every is -3; it must be at least 1"),
        (("--since", "yesterday"), "'yesterday' is not a date such as 2026-11-24"),
        (("--days", "0"), "--days is 0; it must be above 0"),
        (("--days", "-2.5"), "--days is -2.5; it must be above 0"),
        (("--days", "soon"), "--days: invalid float value: 'soon'"),
    ],
)
def test_impossible_option_is_named(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    """The message names the option, its value and what is allowed."""
    assert workplace.run(backtest, "mini", *arguments) == 2
    assert sentence in capsys.readouterr().err
