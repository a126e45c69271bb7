"""Numerals: numbers as people write them."""

import numpy as np
import pandas as pd
import pytest

from training.intake.numbers import read_numbers


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1.5", " 2 ", "1e3"], [1.5, 2, 1000]),
        (["1.5", "NA", "-", None, "null"], [1.5, np.nan, np.nan, np.nan, np.nan]),
        (["$1,200.50", "$3"], [1200.5, 3]),
        (["1.200,50", "3,25"], [1200.5, 3.25]),
        (["12 %", "-5 %"], [12, -5]),
    ],
)
def test_numbers_written_as_people_do(values: list[str | None], numbers: list[float]) -> None:
    """Signs of currencies, separators and words for missing are read."""
    np.testing.assert_equal(read_numbers(pd.Series(values, dtype="str")).tolist(), numbers)
