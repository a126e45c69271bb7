"""Label: columns, expressions, and what is refused."""

from typing import Any

import pandas as pd
import pytest

from training.errors import DataError
from training.intake.label_expression import evaluate, read_label

LABELLED = pd.DataFrame(
    {
        "status": ["chargeback", "paid", None, "open"],
        "rating": ["-3", "2", "0", None],
        "is paid": [False, True, True, True],
        "limit": [5, 1, 1, 1],
    }
)


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        ("rating < 0", [1, 0, 0, None]),
        ("0 > rating", [1, 0, 0, None]),
        ("-5 <= rating <= 0", [1, 0, 1, None]),
        ('status == "chargeback"', [1, 0, None, 0]),
        ('status != "chargeback"', [0, 1, None, 1]),
        ('status in ("chargeback", "open")', [1, 0, None, 1]),
        ('status not in ("chargeback", "open")', [0, 1, None, 0]),
        ('not (status == "paid" or rating > 1)', [1, 0, None, None]),
        ('status == "open" and rating < 0', [0, 0, 0, None]),
        ("status is None", [0, 0, 1, 0]),
        ("status is not None", [1, 1, 0, 1]),
        ("not `is paid`", [1, 0, 0, 0]),
        ("`is paid` == False", [1, 0, 0, 0]),
        ("rating < limit", [1, 0, 1, None]),
        ("status > 'm'", [0, 1, None, 1]),
        ("status == rating", [0, 0, None, None]),
    ],
)
def test_expression_has_a_truth(expression: str, truth: list[int | None]) -> None:
    """An expression is true, false, or left open by a missing value."""
    truths = evaluate(expression, LABELLED)[0]
    assert [None if pd.isna(value) else int(value) for value in truths] == truth


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("__import__('os').system('true')", "it may have columns, constants, comparisons"),
        ("rating.real < 0", "LABEL has rating.real; it may have"),
        ("rating < limit + 1", "LABEL has limit + 1; it may have"),
        ("rating < (limit or 1)", "compares rating with limit or 1, which is not a constant"),
        ("-rating", "LABEL has -rating; it may have"),
        ("1 < 2", "one side of a comparison must be a column"),
        ("rating & limit", "it may have columns"),
        ("rating is 3", "by is or is not, which are for None"),
        ('status = "chargeback"', "cannot be read"),
        ("Status", "did you mean status?"),
        ("is  paid", "did you mean is paid?"),
        ("status == chargeback", "it has chargeback, which is not a column"),
    ],
)
def test_anything_else_is_refused(expression: str, why: str) -> None:
    """What is no comparison of columns is refused with a sentence, and never run."""
    with pytest.raises(DataError) as refused:
        evaluate(expression, LABELLED)
    assert why in str(refused.value)


@pytest.mark.parametrize("values", [[0, 1], ["0", "1"], [0.0, 1.0], [False, True], ["false", "TRUE"], ["0.0", "1.0"]])
def test_label_may_be_0_and_1_or_a_truth(values: list[Any]) -> None:
    """Both numbers and truth values are labels, as such or as text."""
    assert read_label(pd.DataFrame({"y": values}), "y")[0].tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "suggestion"),
    [
        (["legit", "fraud", "legit"], "LABEL='is it == \"fraud\"'"),
        (["no", "no", "yes"], "LABEL='is it == \"yes\"'"),
        (["1", "2", "1"], "LABEL='is it == 2'"),
        ([-3, 2, 5], "LABEL='is it < 0'"),
        (["paid", "paid", "open"], "LABEL='is it == \"open\"'"),
    ],
)
def test_other_labels_are_not_guessed(values: list[Any], suggestion: str) -> None:
    """A label of other values is refused; the message counts them and spells the expression."""
    with pytest.raises(DataError) as refused:
        read_label(pd.DataFrame({"is it": values}), "is it")
    assert suggestion.replace("is it", "`is it`") in str(refused.value)
    assert "1 times" in str(refused.value)


def test_label_of_one_class_is_refused() -> None:
    """A label that is the same in all rows is refused, with the values that the file has."""
    with pytest.raises(DataError, match=r"status == \"x\", by which no row is a fraud.*'paid' \(1 times\)"):
        read_label(LABELLED, 'status == "x"')


def test_label_the_wrong_way_round_is_noticed() -> None:
    """More frauds than legitimate rows bring a warning."""
    assert "WARNING: by LABEL 75% of the rows are frauds: is it inverted?" in read_label(LABELLED, "`is paid`")[2][-1]
