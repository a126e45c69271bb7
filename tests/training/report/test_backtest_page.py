"""The backtest's page: well-formed, self-contained, and safe from markup in the data."""

import pytest

from tests.training.replayed_week import START, replayed_week
from tests.training.report.pages import HOSTILE, parsed, require_whole_page, words
from training.monitoring.replay import POLICIES, SECONDS_A_WEEK, policy_total
from training.report.backtest_page import LINES, backtest_page
from training.report.backtest_report import BacktestReport, PolicyReport, Week, backtest_table


def report(*weeks: Week, scorer: str = "mini", **policies: list[Week]) -> BacktestReport:
    """A report in which all policies have these weeks, except policies that are given their own."""
    return BacktestReport(
        scorer=scorer,
        begins="2025-03-05T00:00:00",
        weeks=len(weeks),
        every_weeks=4,
        label_delay_days=2.0,
        policies={
            name: PolicyReport(total=policy_total(policies.get(name, weeks)), weeks=tuple(policies.get(name, weeks)))
            for name in POLICIES
        },
    )


def without_costs(number: int = 0) -> Week:
    """A week of a scorer that declares no costs."""
    return replayed_week(number, missed=None, cost=None)


RETRAINED = replayed_week(1, retrained=True, learned_until=START - SECONDS_A_WEEK, caught_at_frozen_alerts=36)
NOTHING = replayed_week(
    frauds=0, alerts=0, caught=0, caught_at_frozen_alerts=0, average_precision=None, missed=0.0, cost=0.0
)
PAGES = {
    "one week": report(replayed_week()),
    "two weeks": report(replayed_week(), replayed_week(1), scheduled=[replayed_week(), RETRAINED]),
    "no costs": report(without_costs(), without_costs(1)),
    "no frauds": report(NOTHING),
    "a gap": report(replayed_week(), replayed_week(5)),
    "hostile": report(replayed_week(refused=HOSTILE), scorer=HOSTILE),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(name: str) -> None:
    """Any report gives a page that is well-formed, self-contained, reproducible and has two pictures."""
    page = backtest_page(PAGES[name])
    require_whole_page(page, sections=3, pictures=2)
    assert list(parsed(page).iter("strong")) == []
    assert backtest_page(PAGES[name]) == page


def test_hostile_text_is_shown() -> None:
    """Text that looks like markup is shown literally: in the scorer's name, shortened, and in a refusal's reason."""
    page = words(backtest_page(PAGES["hostile"]))
    assert page.count(f"refused: {HOSTILE}") == len(POLICIES)
    assert f"{HOSTILE[:59]}…: 1 weeks replayed" in page


def test_page_describes_the_replay_and_its_policies() -> None:
    """Weeks, delay and schedule are at the top, and each policy has a line with the interval of its recall."""
    page = words(backtest_page(PAGES["two weeks"]))
    assert "mini: 2 weeks replayed from 2025-03-05T00:00:00" in page
    assert "(2 days late)" in page
    assert "scheduled retrains every 4 weeks" in page
    assert "frozen 0 0 8.00 % 75.0 % 37.5 % 75.0 % (64.5 to 83.2) 2,469 2,789" in page
    assert "scheduled 1 0 8.00 % 75.0 % 37.5 % 82.5 % (72.7 to 89.3) 2,469 2,789" in page
    assert list(LINES) == list(POLICIES)


def test_without_costs_there_are_no_columns_of_costs() -> None:
    """A scorer without costs has a table without them."""
    headers = [backtest_table(PAGES[name]).splitlines()[0] for name in ("two weeks", "no costs")]
    assert [header.count("missed") for header in headers] == [1, 0]
    page = words(backtest_page(PAGES["no costs"]))
    assert "missed" not in page
    assert "frozen 0 0 8.00 % 75.0 % 37.5 % 75.0 % (64.5 to 83.2) scheduled" in page


def test_unknown_is_called_so() -> None:
    """Without frauds or alerts, recall and precision are called unknown."""
    assert "frozen 0 0 0 % unknown unknown unknown 0 0 scheduled" in words(backtest_page(PAGES["no frauds"]))


def test_week_has_its_line() -> None:
    """Each week with rows is a line of the table, with its day and each policy's numbers."""
    page = words(backtest_page(PAGES["a gap"]))
    assert f"2025-03-05 40 {'80 30 30 ' * 4}2025-04-09 40 {'80 30 30 ' * 4}" in page


def test_new_models_are_listed() -> None:
    """Each new model is listed with the end of its rows; without any, the page says so."""
    assert "- 2025" not in words(backtest_page(PAGES["one week"]))
    assert words(backtest_page(PAGES["one week"])).endswith("What was retrained Nothing.")
    page = words(backtest_page(PAGES["two weeks"]))
    assert page.endswith("What was retrained 2025-03-12, scheduled: learned from rows until 2025-02-26")
