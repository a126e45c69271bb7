"""Numbers as people write them, and codes that are not numbers."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.intake.numbers import numbers_of, read_numbers


def texts(*values: str | None) -> pd.Series:
    """A column of a CSV."""
    return pd.Series(values, dtype="str")


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1.5", " 2 ", "1e3"], [1.5, 2, 1000]),
        (["1.5", "NA", "-", None, "null", "\\N", "(null)", "?"], [1.5, *[np.nan] * 7]),
        (["$1,200.50", "$3"], [1200.5, 3]),
        (["1.200,50", "3,25"], [1200.5, 3.25]),
        (["1.234", "12.345,67"], [1234, 12345.67]),
        (["1'234.50", "12\N{RIGHT SINGLE QUOTATION MARK}345"], [1234.5, 12345]),
        (["1\N{NO-BREAK SPACE}234,56", "1\N{NARROW NO-BREAK SPACE}234\N{THIN SPACE}567,89"], [1234.56, 1234567.89]),
        (["40 000 HUF", "1 234,5 Ft"], [40000, 1234.5]),
        (["1.200 €", "3.500 €"], [1200, 3500]),
        (["5EUR", "EUR5", "USD 1,200.00", "5 IDR", "zł 5", "5 Kč", "R$ 5", "US$5", "5 kr."], [5, 5, 1200, *[5] * 6]),
        (["-5", "5-", "(5)", "\N{MINUS SIGN}5", "\N{EN DASH}5", "- 5", "5 DR", "5DR."], [-5] * 8),
        (["$-77.00", "-$77", "$(77)", "($77.00)", "77-€", "-77 EUR", "EUR -77", "77 EUR-"], [-77] * 8),
        (["5 CR", "+5", "5+", "5 DR"], [5, 5, 5, -5]),
        (["5,00 S", "6,00 H"], [-5, 6]),
        (["120.00", "35.00 CR", "7.50"], [120, -35, 7.5]),
        (["12 %", "-5 %", "3%"], [12, -5, 3]),
        (["1,5E-03", "2,5E+02"], [0.0015, 250]),
        (["\N{FULLWIDTH DIGIT FIVE}", "x", "1.234.567"], [5, np.nan, 1234567]),
    ],
)
def test_numbers_written_as_people_do(values: list[str | None], numbers: list[float]) -> None:
    """Currency and debit signs, separators, quotation marks and words for missing values are understood."""
    np.testing.assert_equal(read_numbers(texts(*values)).tolist(), numbers)


@pytest.mark.parametrize(
    "code",
    [
        *("+99 555 001451", "+1 555 001 451", "+99555001451 ext", "030 123 456", "555-123-4567", "(555) 123-4567"),
        *("(555) 123 456", "4000 0000 0247 8647", "4000-0000-0247-8647", "3782 822463 10005", "12-34-56 12345678"),
        *("DE89 3704 0044 0532 0130 00", "192.0.2.1", "192.0.2", "1,23", "12C", "2025-01-31", "1,2,3", "12:30"),
    ],
)
def test_codes_are_no_numbers(code: str) -> None:
    """Phone, card and account numbers in their usual grouping are not read as numbers."""
    expected = 1.23 if code == "1,23" else np.nan
    np.testing.assert_equal(read_numbers(texts(code, code)).tolist(), [expected] * 2)


@given(
    st.lists(st.integers(-(10**12), 10**12), min_size=5),
    st.sampled_from([(",", "."), (".", ","), ("'", "."), (" ", ",")]),
)
def test_separators_do_not_change_a_number(cents: list[int], marks: tuple[str, str]) -> None:
    """Amounts with cents are the same numbers whichever separators a country uses."""
    plain = [f"{cent / 100:,.2f}" for cent in cents]
    spelled = [text.replace(",", "\0").replace(".", marks[1]).replace("\0", marks[0]) for text in plain]
    assert read_numbers(texts(*spelled, f"1{marks[1]}50")).tolist() == [
        *(float(t.replace(",", "")) for t in plain),
        1.5,
    ]


@pytest.mark.parametrize("token", ["\\N", "(null)", "<null>", "n/a", "-", "?", "nil", "x", "not known"])
def test_a_repeated_word_among_numbers_is_nothing(token: str) -> None:
    """A column stays numeric if a quarter of its cells hold one word for a missing value, even an unusual one."""
    read = numbers_of(texts(*[str(number) for number in range(75)], *[token] * 25))
    assert read.are_numbers
    assert read.numbers.isna().sum() == 25
    assert {**read.nothing, **read.words} == {token: 25}


def test_bands_are_no_numbers() -> None:
    """Several different words beside a few numbers are categories rather than missing values."""
    assert not numbers_of(texts(*["none", "1", "2 to 4", "more than 4"] * 25)).are_numbers


def test_currencies_are_counted() -> None:
    """Currency names are counted, by which columns with several currencies are recognised."""
    read = numbers_of(texts("5 EUR", "7 €", "5 USD", "5 EUR", "x"))
    assert read.currencies == Counter({"EUR": 2, "€": 1, "USD": 1})
