"""Columns of dates, and the time features that suit a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.declaration import declared_scorer
from training.intake.infer import Inferred, infer
from training.intake.suggested_params import params_text, settings_for

N = 2_000


def rows(days: float = 90, start: str = "2024-01-01") -> pd.DataFrame:
    """Rows over some days, each with the opening date of an account; one in ten is a fraud."""
    rng = np.random.default_rng(1)
    at = pd.Timestamp(start) + pd.to_timedelta(np.sort(rng.random(N)) * days, unit="D").round("s")
    opened = at - pd.to_timedelta(1 + rng.exponential(300, N), unit="D").round("s")
    return pd.DataFrame(
        {"at": at, "amount": rng.lognormal(3, 1, N).round(2), "opened": opened, "y": np.arange(N) % 10 == 0}
    )


def notice_of(inferred: Inferred, column: str) -> str:
    """The notice about a column."""
    return next(notice for notice in inferred.notices if notice.startswith(f"{column}: ")).removeprefix(f"{column}: ")


def test_a_date_before_the_time_is_a_field() -> None:
    """It is kept as typed dates, and the notice says how it is used."""
    inferred = infer(rows(), "y", "at")
    assert {name: field.type for name, field in inferred.fields.items()} == {"amount": "money", "opened": "date"}
    assert inferred.rows["opened"].dt.tz_localize(None).tolist() == rows()["opened"].tolist()
    assert notice_of(inferred, "opened") == "its age in days at TIME is used"


@pytest.mark.parametrize("time", [None, "number"])
def test_without_dates_as_times_there_is_no_age(time: str | None) -> None:
    """Dates have no age without TIME, or if TIME only numbers the rows."""
    inferred = infer(rows().assign(number=np.arange(N)), "y", time)
    assert "opened" not in inferred.fields
    assert inferred.features == {}
    assert notice_of(inferred, "opened") == "left out, it holds dates; with TIME their age could be used"


def test_dates_that_are_known_later_are_left_out() -> None:
    """A chargeback date gives the label away, and no request has one."""
    late = rows()
    late["chargeback"] = (late["at"] + pd.Timedelta("30D")).where(late["y"])
    inferred = infer(late, "y", "at")
    assert "chargeback" not in inferred.fields
    expected = "left out, 200 of its 200 dates are after TIME, so they are not known when a request is sent"
    assert notice_of(inferred, "chargeback") == expected


def test_dates_that_are_later_in_frauds_alone_are_left_out() -> None:
    """A column with even a few such dates is left out: setting them missing would give the label away instead."""
    late = rows()
    late.loc[late.index[late["y"]][:10], "opened"] = late["at"] + pd.Timedelta("1D")
    assert "opened" not in infer(late, "y", "at").fields


def test_a_few_later_dates_become_missing() -> None:
    """Later dates would be quarantined, so they become missing; up to five minutes are allowed, as in a request."""
    late = rows()
    late.loc[:4, "opened"] = late["at"] + pd.Timedelta("5min 1s")
    late.loc[5:9, "opened"] = late["at"] + pd.Timedelta("5min")
    inferred = infer(late, "y", "at")
    assert inferred.rows["opened"].isna().tolist() == [True] * 5 + [False] * (N - 5)
    assert notice_of(inferred, "opened").endswith("; 5 dates are after TIME and become missing")


def test_a_copy_of_the_time_is_left_out() -> None:
    """A column that is always equally long before TIME, as in another time zone, is left out."""
    inferred = infer(rows().assign(local=lambda table: table["at"] - pd.Timedelta("2h")), "y", "at")
    assert notice_of(inferred, "local") == (
        "left out, it is always the same time before TIME, so its age carries no information"
    )


@pytest.mark.parametrize(
    ("days", "resolution", "features"),
    [
        (90, "s", ["hour_of_day", "day_of_week"]),
        (20, "s", ["hour_of_day"]),
        (5, "s", []),
        (90, "D", ["day_of_week"]),
        (90, "7D", []),
    ],
)
def test_features_of_the_time_suit_the_rows(days: float, resolution: str, features: list[str]) -> None:
    """Hour or weekday is left out if the data cover too few days, or if times are too coarse."""
    inferred = infer(rows(days).assign(at=lambda table: table["at"].dt.floor(resolution)), "y", "at")
    assert list(inferred.features) == features


def test_seconds_since_1970_are_times(tmp_path: Path) -> None:
    """They give time features, and the written declaration is valid with names that clash with no column."""
    table = rows().assign(
        at=lambda table: (table["at"] - pd.Timestamp(0)).dt.total_seconds(), hour_of_day=list("ab") * 1000
    )
    inferred = infer(table.rename(columns={"at": "no"}), "y", "no")
    assert list(inferred.features) == ["hour_of_day_2", "day_of_week"]
    path = tmp_path / "params.yaml"
    path.write_text(params_text("shop", "/shop", "pay.csv", inferred, settings_for(inferred)))
    scorer = declared_scorer("shop", path)
    assert (scorer.fields, scorer.features) == (inferred.fields, inferred.features)
    assert scorer.contract.time == "no"
