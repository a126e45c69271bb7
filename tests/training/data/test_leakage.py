"""Columns that cannot be what they should are told, each with its remedy; sound ones are not."""

import numpy as np
import pandas as pd
import pytest

from training.data.leakage import leakage_warnings
from training.declaration import ScorerDeclaration


def told(rows: pd.DataFrame, scorer: ScorerDeclaration, **columns: object) -> list[str]:
    """What is said of the mini rows with these columns in place of their own."""
    return leakage_warnings(rows.assign(**columns), scorer)


@pytest.fixture
def rows(mini_rows: pd.DataFrame) -> pd.DataFrame:
    """The mini rows as prepare hands them on: flags are numbers."""
    return mini_rows.assign(is_new=pd.to_numeric(mini_rows["is_new"].astype(object).map({True: 1, False: 0})))


def test_sound_columns_are_not_suspected(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Not one of the mini scorer's."""
    assert leakage_warnings(rows, mini_scorer) == []


def test_a_constant_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """By its name and value."""
    assert told(rows, mini_scorer, country="DE") == [
        "country is always 'DE' in the training window and can teach nothing; remove it from fields"
    ]


def test_a_value_that_is_either_there_or_missing_is_no_constant(
    rows: pd.DataFrame, mini_scorer: ScorerDeclaration
) -> None:
    """Its absence may say something."""
    assert told(rows, mini_scorer, speed=rows["speed"].where(rows["speed"].isna(), 1.0)) == []


def test_an_empty_column_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """By its name."""
    assert told(rows, mini_scorer, speed=np.nan) == [
        "speed has no value at all in the training window; remove it from fields"
    ]


@pytest.mark.parametrize(("name", "prefix"), [("country", "customer-"), ("visits", "")])
def test_an_id_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration, name: str, prefix: str) -> None:
    """A category or a whole number that differs in nearly every row."""
    ids = pd.Series([f"{prefix}{number}" for number in np.random.default_rng(1).permutation(len(rows))])
    said = told(rows, mini_scorer, **{name: ids if prefix else ids.astype(float)})
    assert len(said) == 1
    assert said[0].startswith(f"{name} differs in 1,500 of 1,500 rows: an id")
    assert said[0].endswith("remove it from fields, or declare it as id")


def test_a_measure_may_differ_in_every_row(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """A number with fractions is no id."""
    assert told(rows, mini_scorer, speed=np.random.default_rng(1).random(len(rows))) == []


def test_a_column_that_gives_the_label_away_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Loudly, with its ROC AUC and the remedy, whichever way it points."""
    noise = np.random.default_rng(1).random(len(rows))
    for sign in (1, -1):
        said = told(rows, mini_scorer, speed=sign * (rows["is_fraud"] + 0.5 * noise))
        assert len(said) == 1
        assert said[0] == (
            "speed GIVES THE LABEL AWAY: by itself it ranks is_fraud with a ROC AUC of 1.0000; if it is only known "
            "after the fact (a chargeback, a closed account), remove it from fields"
        )


def test_a_value_that_only_frauds_have_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Filled in after the fact, missing otherwise."""
    said = told(rows, mini_scorer, speed=pd.Series(5.5, rows.index).where(rows["is_fraud"] == 1))
    assert [sentence.split(":")[0] for sentence in said] == ["speed GIVES THE LABEL AWAY"]


def test_a_category_that_gives_the_label_away_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Such as the outcome of a review."""
    said = told(rows, mini_scorer, country=np.where(rows["is_fraud"] == 1, "charged back", "settled"))
    assert [sentence.split(":")[0] for sentence in said] == ["country GIVES THE LABEL AWAY"]


def test_rare_labels_of_a_category_give_nothing_away(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """A label of a few rows knows its label by chance."""
    names = [f"shop-{number // 2}" for number in np.random.default_rng(1).permutation(len(rows))]
    assert not [sentence for sentence in told(rows, mini_scorer, country=names) if "GIVES" in sentence]


def test_a_leak_with_gaps_is_told(rows: pd.DataFrame, mini_scorer: ScorerDeclaration) -> None:
    """Where it is known it knows all."""
    is_known = np.random.default_rng(2).random(len(rows)) < 0.7
    said = told(rows, mini_scorer, speed=(rows["is_fraud"] + 0.0).where(is_known))
    assert [sentence.split(":")[0] for sentence in said] == ["speed GIVES THE LABEL AWAY"]
