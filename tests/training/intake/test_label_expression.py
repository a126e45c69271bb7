"""LABEL: columns and expressions that are accepted, and those that are refused."""

import re
import shutil
import subprocess
from itertools import cycle, product
from keyword import kwlist, softkwlist
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataError
from training.intake.label_expression import evaluate, quoted_name, read_label_expression, typed_label

PROJECT = Path(__file__).parents[3]
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
        # An open dispute is no label yet, unless the expression names it.
        ('status == "chargeback"', [1, 0, None, None]),
        ('status != "chargeback"', [0, 1, None, None]),
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
    """An expression is true or false, or undecided because a value is missing."""
    truths = evaluate(expression, LABELLED)[0]
    assert [None if pd.isna(value) else int(value) for value in truths] == truth


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("__import__('os').system('true')", "it may contain only columns, constants, comparisons"),
        ("rating.real < 0", "LABEL contains rating.real; it may contain"),
        ("rating < limit + 1", "LABEL contains limit + 1; it may contain"),
        ("rating < (limit or 1)", "compares rating with limit or 1, which is not a constant"),
        ("-rating", "LABEL contains -rating; it may contain"),
        ("1 < 2", "one side of a comparison must be a column"),
        ("rating & limit", "it may contain only columns"),
        ("rating is 3", "with is or is not, which are only for None"),
        ('status = "chargeback"', "cannot be read"),
        ("Status", "did you mean status?"),
        ("is  paid", "did you mean is paid?"),
        ("status == chargeback", "it names chargeback, which is not a column"),
    ],
)
def test_anything_else_is_refused(expression: str, why: str) -> None:
    """Anything that is not a comparison of columns is refused with a sentence, and never executed."""
    with pytest.raises(DataError) as refused:
        evaluate(expression, LABELLED)
    assert why in str(refused.value)


@pytest.mark.parametrize("values", [[0, 1], ["0", "1"], [0.0, 1.0], [False, True], ["false", "TRUE"], ["0.0", "1.0"]])
def test_label_may_be_0_and_1_or_a_truth(values: list[Any]) -> None:
    """0 and 1, or true and false, are labels, whether typed or as text."""
    assert read_label_expression(pd.DataFrame({"y": values}), "y")[0].tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "suggestion"),
    [
        (["legit", "fraud", "legit"], "LABEL='`is it` == \"fraud\"' (1 fraud)"),
        (["no", "no", "yes"], "LABEL='`is it` == \"yes\"' (1 fraud)"),
        (["1", "2", "1"], "LABEL='`is it` == 2' (1 fraud)"),
        (["1", "2", "2", "2", "unknown", "unknown"], "LABEL='`is it` == 1' (1 fraud)"),
        ([-3, 2, 5], "LABEL='`is it` < 0' (1 fraud)"),
        ([0.5, 1.5, 2.5], "LABEL='`is it` > 0.5' (2 frauds)"),
        (["0", "0", "1", "-1"], "LABEL='`is it` == 1' (1 fraud)"),
        (["paid", "paid", "open"], "LABEL='`is it` == \"open\"' (1 fraud)"),
        (["fraud", "no fraud", "no fraud", "nonfraud"], "LABEL='`is it` == \"fraud\"' (1 fraud)"),
        (["paid", "paid"], "name another column"),
    ],
)
def test_other_labels_are_not_guessed(values: list[Any], suggestion: str) -> None:
    """A label with other values is refused; the message counts them and suggests an expression."""
    with pytest.raises(DataError) as refused:
        read_label_expression(pd.DataFrame({"is it": values}), "is it")
    assert str(refused.value).endswith(suggestion)


def test_label_of_one_class_is_refused() -> None:
    """A label that is the same in all rows is refused, with the values that the file has."""
    with pytest.raises(DataError, match=r"status == \"x\", which marks no row as a fraud.*'paid' \(1 time\)"):
        read_label_expression(LABELLED, 'status == "x"')


def test_label_the_wrong_way_round_is_noticed() -> None:
    """A warning is given if more rows are frauds than legitimate."""
    assert (
        "WARNING: LABEL marks 75% of the rows as frauds: is it inverted?"
        in read_label_expression(LABELLED, "`is paid`")[2][-1]
    )


COLUMNS = ("Is Fraud?", "fraud$", "it's", 'a "b"', "a`b", "a-b", "2023", "%", "日本", "quoted_0", "class", "None")
VALUES = (["1", "2", "2", "unknown", "unknown"], ["Yes", "No", "No"], [-1.5, 2.0, 3.0])
KEYWORDS = sorted({*kwlist, *softkwlist} - {*COLUMNS})
# The values do not matter for quoting a name; numbers are the fastest to read.
NAMED = [*zip(COLUMNS, cycle(VALUES), strict=False), *product(KEYWORDS, VALUES[2:])]
TEXTS = st.text(
    st.characters(exclude_categories=("C", "Z"), include_characters=" `'\"$\\#"), min_size=1, max_size=8
).map(str.strip)


def suggestion_of(rows: pd.DataFrame, column: str) -> tuple[str, int]:
    """The expression that the refusal suggests, and the number of frauds that it promises."""
    with pytest.raises(DataError) as refused:
        read_label_expression(rows, column)
    match = re.search(r"such as LABEL='(.*)' \(([\d,]+) frauds?\)$", str(refused.value), re.DOTALL)
    assert match
    return match[1].replace("'\\''", "'"), int(match[2].replace(",", ""))


@pytest.mark.parametrize(("column", "values"), NAMED)
def test_suggestion_suits_every_column_name(column: str, values: list[Any]) -> None:
    """Whatever the column's name, the suggestion can be read and gives as many frauds as it promises."""
    rows = pd.DataFrame({column: values, "other": range(len(values))})
    expression, n_frauds = suggestion_of(rows, column)
    is_fraud, columns, _ = read_label_expression(rows, expression)
    assert (int(is_fraud.sum()), columns) == (n_frauds, {column})
    assert is_fraud.tolist()[0] is True
    assert n_frauds == 1


@settings(max_examples=25)
@given(column=TEXTS.filter(bool), values=st.lists(TEXTS.filter(bool), min_size=2, max_size=6, unique=True))
def test_suggestion_suits_every_value(column: str, values: list[str]) -> None:
    """Whatever texts a label holds, the suggestion gives as many frauds as it promises, and rows of both classes."""
    # "blue" is not a label, so the column is refused.
    rows = pd.DataFrame({column: [*values, "blue"] * 3}, dtype="str")
    expression, n_frauds = suggestion_of(rows, column)
    assert read_label_expression(rows, expression)[0].sum() == n_frauds
    assert 0 < n_frauds < len(rows)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["1", "2", "unknown", "Pending", "n/a", "y", "-7"]), max_size=40))
def test_number_and_text_are_the_same_label(values: list[str]) -> None:
    """Whether a constant is written as a number or as a text, the same rows are frauds, legitimate and left out."""
    rows = pd.DataFrame({"y": ["1", "2", *values]}, dtype="str")
    as_number, as_string = (read_label_expression(rows, expression) for expression in ("y == 1", 'y == "1"'))
    assert as_number[0].tolist() == as_string[0].tolist()
    n_left_out = int(as_number[0].isna().sum())
    assert n_left_out == sum(value.lower() in {"unknown", "pending", "n/a", "y"} for value in values)


def test_values_that_say_unknown_are_left_out() -> None:
    """Rows whose label is not known yet are left out and counted; the notice says how to count them as legitimate."""
    rows = pd.DataFrame({"class": ["1"] * 2 + ["2"] * 5 + ["unknown"] * 9})
    is_fraud, _, notices = read_label_expression(rows, "`class` == 1")
    assert is_fraud.notna().sum() == 7
    assert "class: 9 rows say 'unknown' and are left out, because the label is not known" in notices[-1]
    counted = re.search(r"LABEL='(.*)'$", notices[-1])
    assert counted
    is_fraud, _, notices = read_label_expression(rows, counted[1])
    assert is_fraud.tolist() == [True] * 2 + [False] * 14
    assert notices == ["class: left out, because LABEL is computed from it"]


def test_only_other_value_is_a_class() -> None:
    """If an account is either closed or open, `open` does not mean that the label is still to come."""
    rows = pd.DataFrame({"status": ["closed", "open", "open"]})
    assert read_label_expression(rows, 'status == "closed"')[0].tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("expression", "notice"),
    [
        ('y == "fraud"', "y: these count as legitimate: 'paid' (3 times), 'refunded' (1 time)"),
        ('y != "paid"', "y: these count as frauds: 'refunded' (1 time), 'fraud' (1 time)"),
        ('y in ("fraud", "refunded")', ""),
    ],
)
def test_values_that_are_not_named_are_told(expression: str, notice: str) -> None:
    """If an equality leaves several values on one side, the notice names them with their counts."""
    rows = pd.DataFrame({"y": ["paid", "paid", "paid", "refunded", "fraud"]})
    assert [text for text in read_label_expression(rows, expression)[2] if "these count" in text] == [notice] * bool(
        notice
    )


@pytest.mark.parametrize(
    ("strays", "notice"),
    [
        ({0: "[0/1]"}, "y: row 1 holds '[0/1]', which is not a label, and is left out"),
        ({7: "y"}, "y: row 8 holds 'y', the name of the column (a repeated header?), and is left out"),
        (
            {7: "y", 99: "y"},
            "y: 2 rows (the first is row 8) hold 'y', the name of the column (a repeated header?), and are left out",
        ),
    ],
)
@pytest.mark.parametrize("label", ["y", "y == 1", 'y == "1"'])
def test_values_that_are_no_label_are_named(strays: dict[int, str], notice: str, label: str) -> None:
    """A unit or a repeated header among the labels is left out, and the notice names its row."""
    values = ["0", "1", "0"] * 100
    for row, value in strays.items():
        values[row] = value
    is_fraud, _, notices = read_label_expression(pd.DataFrame({"y": values}), label)
    assert is_fraud[is_fraud.isna()].index.tolist() == list(strays)
    assert notice in notices


def test_many_values_that_are_no_label_are_refused() -> None:
    """More strays than an accident explains stop a column of 0 and 1."""
    with pytest.raises(DataError, match=r"'x' is not 0, 1, true or false"):
        read_label_expression(pd.DataFrame({"y": ["0", "1"] * 20 + ["x"]}), "y")


@pytest.mark.parametrize("column", ["class", "Is Fraud?", "fraud$", "a-b"])
def test_missing_backticks_are_told(column: str) -> None:
    """If a column needs backticks, the refusal shows the expression with them."""
    with pytest.raises(DataError) as refused:
        read_label_expression(pd.DataFrame({column: ["1", "2"], "s": 1}), f"{column} == 1")
    assert str(refused.value).endswith(f"{column} needs backticks: LABEL='`{column}` == 1'")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    "column", ["Is Fraud?", "class", "it's", 'a "b"', "x#y", "50%", "!x", "a`b", "fraud$", "$(x) y"]
)
def test_suggestion_survives_shell_and_make(column: str) -> None:
    """The suggested expression arrives unchanged if it is pasted after `make try`."""
    expression = f"{quoted_name(column)} == 1"
    command = f"make --old-file .venv/.installed try PYTHON=echo DATA=a.csv {typed_label(expression)}"
    ended = subprocess.run(["bash", "-c", command], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"--label {expression} --time" in ended.stdout


@pytest.mark.parametrize("label", ['y == "Fraud"', 'y != "Fraud"', 'y in ("Fraud", "chargeback")'])
def test_other_spellings_of_a_named_value_are_warned_of(label: str) -> None:
    """Values that differ from a named one only by case or blanks are reported, with an expression for all of them."""
    rows = pd.DataFrame({"y": ["Fraud", "fraud ", " FRAUD", "ok", "fraudulent", " FRAUD"] * 3})
    warning = next(
        notice for notice in read_label_expression(rows, label)[2] if "WARNING" in notice and "hold" in notice
    )
    assert warning.startswith("WARNING: y: 9 rows hold ' FRAUD' or 'fraud ', which LABEL does not name")
    suggested = warning.partition("name all: ")[2]
    assert int(evaluate(suggested, rows)[0].sum()) == 12


def test_a_named_value_may_be_there_in_other_spellings_alone() -> None:
    """If this leaves no fraud at all, the error shows the values."""
    with pytest.raises(DataError, match=r"which marks no row as a fraud .* y holds 'FRAUD'"):
        read_label_expression(pd.DataFrame({"y": ["FRAUD", "ok"]}), 'y == "Fraud"')
