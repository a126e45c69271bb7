"""The backtest's page: well-formed, self-contained, and no text of the data acts as markup."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from training.monitoring.replay import POLICIES, SECONDS_A_WEEK, total
from training.report.backtest_page import LINES, backtest_page, policy_table
from training.report.backtest_report import BacktestReport, PolicyReport, Week, WeekEstimate

START = 1_741_132_800
"""2025-03-05T00:00:00, in UTC."""
HOSTILE = "<script>alert('1')</script> | `a` [b](javascript:c) & **d** <img src=x>"


def week(number: int = 0, **changes: Any) -> Week:  # noqa: ANN401 - whatever a week holds
    """A week as a replay describes it."""
    usual: dict[str, Any] = {
        "begins": START + number * SECONDS_A_WEEK,
        "state": "ok",
        "retrained": False,
        "refused": None,
        "learned_until": START - 2 * SECONDS_A_WEEK,
        "rows": 1_000,
        "frauds": 40,
        "alerts": 80,
        "caught": 30,
        "caught_at_frozen_alerts": 30,
        "average_precision": 0.5,
        "estimated": WeekEstimate(recall=0.7, precision=0.4, average_precision=0.5),
        "missed": 1_234.5,
        "cost": 1_394.5,
    }
    return Week(**usual | changes)


def report(*weeks: Week, scorer: str = "mini", **policies: list[Week]) -> BacktestReport:
    """A report in which every policy has these weeks, except for the policies that are given others."""
    return BacktestReport(
        scorer=scorer,
        begins="2025-03-05T00:00:00",
        weeks=len(weeks),
        every_weeks=4,
        label_delay_days=2.0,
        policies={
            name: PolicyReport(total=total(policies.get(name, weeks)), weeks=tuple(policies.get(name, weeks)))
            for name in POLICIES
        },
    )


def without_costs(number: int = 0) -> Week:
    """A week of a scorer that declares no costs."""
    return week(number, missed=None, cost=None)


def parsed(page: str) -> ET.Element:
    """The page, read as XML."""
    return ET.fromstring(page)  # noqa: S314 - our own page


def words(page: str) -> str:
    """What a reader sees of the page outside its pictures."""
    root = parsed(page)
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag.endswith("}svg") or one.tag == "svg"]:
            parent.remove(child)
    return " ".join("".join(root.itertext()).split())


RETRAINED = week(1, retrained=True, learned_until=START - SECONDS_A_WEEK, caught_at_frozen_alerts=36)
NOTHING = week(frauds=0, alerts=0, caught=0, caught_at_frozen_alerts=0, average_precision=None, missed=0.0, cost=0.0)
PAGES = {
    "one week": report(week()),
    "two weeks": report(week(), week(1), scheduled=[week(), RETRAINED]),
    "no costs": report(without_costs(), without_costs(1)),
    "no frauds": report(NOTHING),
    "a gap": report(week(), week(5)),
    "hostile": report(week(refused=HOSTILE), scorer=HOSTILE),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_well_formed(name: str) -> None:
    """Whatever was replayed, the page is XML with one heading, a section for each part and two pictures."""
    root = parsed(backtest_page(PAGES[name]))
    assert len(list(root.iter("h1"))) == 1
    assert len(list(root.iter("section"))) == 3
    assert len([element for element in root.iter() if element.tag.endswith("svg")]) == 2


@pytest.mark.parametrize("name", PAGES)
def test_page_is_self_contained(name: str) -> None:
    """The page loads nothing from elsewhere and runs nothing."""
    page = backtest_page(PAGES[name])
    assert set(re.findall(r"https?://[^\"'\s<>)]+", page)) <= {"http://www.w3.org/2000/svg"}
    tags = {element.tag.rpartition("}")[2] for element in parsed(page).iter()}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "a", "object", "strong"})


def test_hostile_text_is_shown() -> None:
    """Text that looks like markup is shown as it is: as the scorer's name, cut, and as what speaks against a model."""
    page = words(backtest_page(PAGES["hostile"]))
    assert page.count(f"refused: {HOSTILE}") == len(POLICIES)
    assert f"{HOSTILE[:59]}…: 1 weeks replayed" in page


def test_page_says_what_was_replayed() -> None:
    """The weeks, the delay and the schedule stand at the top."""
    page = words(backtest_page(PAGES["two weeks"]))
    assert "mini: 2 weeks replayed from 2025-03-05T00:00:00" in page
    assert "(2 days late)" in page
    assert "Scheduled is every 4 weeks" in page


def test_policy_has_its_line() -> None:
    """What a policy did, caught and cost is a line of the table, with the interval of what is compared."""
    page = words(backtest_page(PAGES["two weeks"]))
    assert "frozen 0 0 8.00 % 75.0 % 37.5 % 75.0 % (64.5 to 83.2) 2,469 2,789" in page
    assert "scheduled 1 0 8.00 % 75.0 % 37.5 % 82.5 % (72.7 to 89.3) 2,469 2,789" in page


def test_without_costs_there_are_no_columns_of_costs() -> None:
    """A scorer without costs has a table without them."""
    headers = [policy_table(PAGES[name]).splitlines()[0] for name in ("two weeks", "no costs")]
    assert [header.count("missed") for header in headers] == [2, 0]
    page = words(backtest_page(PAGES["no costs"]))
    assert "missed" not in page
    assert "frozen 0 0 8.00 % 75.0 % 37.5 % 75.0 % (64.5 to 83.2) scheduled" in page


def test_unknown_is_called_so() -> None:
    """Without a fraud and an alert recall and precision are unknown."""
    assert "frozen 0 0 0 % unknown unknown unknown 0 0 scheduled" in words(backtest_page(PAGES["no frauds"]))


def test_week_has_its_line() -> None:
    """A week's day and numbers are a line of the table, policy by policy; a week without rows has none."""
    page = words(backtest_page(PAGES["a gap"]))
    assert f"2025-03-05 40 {'80 30 30 ' * 4}2025-04-09 40 {'80 30 30 ' * 4}" in page


def test_moves_are_listed() -> None:
    """Each new model is listed with what it learned from, and where there is none the page says so."""
    assert "- 2025" not in words(backtest_page(PAGES["one week"]))
    assert words(backtest_page(PAGES["one week"])).endswith("What was retrained Nothing.")
    page = words(backtest_page(PAGES["two weeks"]))
    assert page.endswith("What was retrained 2025-03-12, scheduled: learned from rows until 2025-02-26")


def test_every_policy_has_its_line_style() -> None:
    """Each policy is drawn."""
    assert list(LINES) == list(POLICIES)


def test_pictures_say_what_they_show() -> None:
    """The pictures have a title and a description for who does not see them."""
    root = parsed(backtest_page(PAGES["two weeks"]))
    for picture in (element for element in root.iter() if element.tag.endswith("svg")):
        assert {"title", "desc"} <= {child.tag.rpartition("}")[2] for child in picture}


def test_page_is_the_same_twice() -> None:
    """The same report makes the same page."""
    assert backtest_page(PAGES["two weeks"]) == backtest_page(PAGES["two weeks"])
