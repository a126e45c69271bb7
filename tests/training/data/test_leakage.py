"""Columns that give the label away, or teach nothing, are reported with a remedy; sound ones are not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from handler.scoring.fields import DeclaredField
from training.data.leakage import leakage_warnings
from training.declaration import ScorerDeclaration

WarningsWith = Callable[..., list[str]]
GIVES_AWAY = (
    " GIVES THE LABEL AWAY: on its own it predicts is_fraud with a ROC AUC of 1.0000; if it is only known "
    "after the fact (a chargeback, a rule's decision, a closed account), leave it out"
)


@pytest.fixture
def rows(mini_rows: pd.DataFrame) -> pd.DataFrame:
    """The mini rows as `prepare` passes them on: flags are numbers."""
    return mini_rows.assign(is_new=pd.to_numeric(mini_rows["is_new"].astype(object).map({True: 1, False: 0})))


@pytest.fixture
def warnings_with(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> WarningsWith:
    """The warnings on the mini rows with some columns replaced."""
    return lambda **columns: leakage_warnings(rows.assign(**columns), mini_scorer)


def test_sound_columns_have_no_warning(rows: pd.DataFrame, warnings_with: WarningsWith) -> None:
    """Neither the mini scorer's columns, nor a number that differs in every row or is often missing, are reported."""
    assert warnings_with() == []
    assert warnings_with(speed=np.random.default_rng(1).random(len(rows))) == []
    assert warnings_with(speed=rows["speed"].where(rows["speed"].isna(), 1.0)) == []


def test_columns_that_teach_nothing_are_reported(warnings_with: WarningsWith) -> None:
    """A constant is named with its value; a column without any value is reported too."""
    assert warnings_with(country="DE") == [
        "country is always 'DE' in the training window, so a model learns nothing from it; leave it out"
    ]
    assert warnings_with(speed=np.nan) == ["speed has no value at all in the training window; leave it out"]


@pytest.mark.parametrize(("name", "prefix"), [("country", "customer-"), ("visits", "")])
def test_an_id_is_reported(rows: pd.DataFrame, warnings_with: WarningsWith, name: str, prefix: str) -> None:
    """A category or a whole number that differs in nearly every row is an id."""
    ids = pd.Series([f"{prefix}{number}" for number in np.random.default_rng(1).permutation(len(rows))])
    [warning] = warnings_with(**{name: ids if prefix else ids.astype(float)})
    assert warning.startswith(f"{name} has 1,500 different values in 1,500 rows: it is an id")
    assert warning.endswith("leave it out, or declare it as id")


@pytest.mark.parametrize(
    ("name", "values_of"),
    [
        ("speed", lambda label, noise: label + 0.5 * noise),
        ("speed", lambda label, noise: -label - 0.5 * noise),
        ("speed", lambda label, _noise: pd.Series(5.5, label.index).where(label == 1)),
        ("speed", lambda label, noise: (label + 0.0).where(noise < 0.7)),
        ("country", lambda label, _noise: np.where(label == 1, "charged back", "settled")),
    ],
    ids=["higher for frauds", "lower for frauds", "frauds alone have it", "with gaps", "a review's outcome"],
)
def test_a_column_that_gives_the_label_away_is_reported(
    rows: pd.DataFrame, warnings_with: WarningsWith, name: str, values_of: Callable[..., object]
) -> None:
    """The warning names the column's ROC AUC and the remedy, whether it is higher or lower for frauds."""
    values = values_of(rows["is_fraud"], np.random.default_rng(1).random(len(rows)))
    assert warnings_with(**{name: values}) == [f"{name}{GIVES_AWAY}"]


def test_rare_categories_give_nothing_away(rows: pd.DataFrame, warnings_with: WarningsWith) -> None:
    """A category with only a few rows ranks them by chance, which is not reported."""
    names = [f"shop-{number // 2}" for number in np.random.default_rng(1).permutation(len(rows))]
    assert not [warning for warning in warnings_with(country=names) if "GIVES" in warning]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("speed", 7.25, "7.25"), ("speed", np.nan, "missing"), ("country", "XX", "'XX'"), ("is_new", 1.0, "true")],
)
def test_a_value_of_frauds_alone_is_reported(
    rows: pd.DataFrame, warnings_with: WarningsWith, name: str, value: object, shown: str
) -> None:
    """A value, or a missing one, that half of the frauds and no legitimate row have is reported with its counts."""
    is_fraud = rows["is_fraud"] == 1
    values = (
        rows[name].fillna(3.0) if name == "speed" else rows[name].fillna("DE") if name == "country" else 0.0 * is_fraud
    )
    is_told = is_fraud & (np.arange(len(rows)) % 2 == 0)
    [warning] = warnings_with(**{name: values.where(~is_told, value)})
    assert warning == (
        f"{name} MAY GIVE THE LABEL AWAY: it is {shown} in {is_told.sum()} of {is_fraud.sum()} frauds and in no "
        "legitimate row; if it is only known after the fact (a chargeback, a rule's decision, a closed account), "
        "leave it out"
    )


def test_a_few_legitimate_rows_make_a_difference(rows: pd.DataFrame, warnings_with: WarningsWith) -> None:
    """A value that a tenth as many legitimate rows have is a strong feature, and no leak."""
    is_fraud = rows["is_fraud"] == 1
    is_legitimate = ~is_fraud & (is_fraud.shift(7, fill_value=False)) & (np.arange(len(rows)) % 5 == 0)
    assert (
        warnings_with(
            speed=rows["speed"]
            .fillna(3.0)
            .mask(is_fraud & (np.arange(len(rows)) % 2 == 0), 99.0)
            .mask(is_legitimate, 99.0)
        )
        == []
    )


@pytest.mark.parametrize("name", ["isFlaggedFraud", "chargeback_count", "was_flagged"])
def test_a_name_of_the_aftermath_is_reported(rows: pd.DataFrame, mini_scorer: ScorerDeclaration, name: str) -> None:
    """A column whose name suggests that it is filled after a fraud is reported, whatever it holds."""
    scorer = mini_scorer.model_copy(update={"fields": {name: mini_scorer.fields["visits"]}})
    [warning] = leakage_warnings(rows.rename(columns={"visits": name}), scorer)
    assert warning.startswith(f"{name} MAY GIVE THE LABEL AWAY: its name says ")


def test_a_date_is_judged_by_its_age(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """A date is judged by its age, which is what the model sees: an age of 0 for frauds alone gives the label away."""
    seconds = (rows["at"] - pd.Timestamp(0)).dt.total_seconds()
    age = pd.Series(np.random.default_rng(1).exponential(300, len(rows)) * 86_400)
    scorer = mini_scorer.model_copy(update={"fields": {"opened": DeclaredField(type="date")}})

    def warnings(opened: pd.Series) -> list[str]:
        return leakage_warnings(rows.assign(at=seconds, opened=opened), scorer)

    assert warnings(seconds - age) == []
    assert warnings(seconds - age.where(rows["is_fraud"] == 0, 0)) == [f"opened{GIVES_AWAY}"]
    assert warnings(seconds - 3 * 86_400) == [
        "opened is always 3 days old in the training window, so a model learns nothing from it; leave it out"
    ]
    few = (rows["is_fraud"] == 1) & (np.arange(len(rows)) % 2 == 0)
    (warning,) = warnings(seconds - age.where(~few, 86_400))
    assert warning.startswith(f"opened MAY GIVE THE LABEL AWAY: it is 1 day old in {few.sum()} of ")
