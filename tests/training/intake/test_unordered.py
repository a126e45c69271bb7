"""Whole numbers without an order: ids are told from measures by the rows that they go with."""

import numpy as np
import pandas as pd
import pytest

from training.intake.infer import infer
from training.intake.unordered import unordered_columns

N, SHOPS = 30_000, 3_000


def drawn(seed: int) -> dict[str, pd.Series]:
    """Payments at shops that each have their own risk and prices, and measures of many kinds."""
    rng = np.random.default_rng(seed)
    shop = rng.zipf(1.3, N) % SHOPS
    amount = np.exp(rng.normal(3, 1, N) + rng.normal(0, 0.5, SHOPS)[shop])
    price = np.exp(rng.normal(3, 1, 150))[shop % 150]
    columns = {
        "label": rng.random(N) < rng.beta(0.3, 20, SHOPS)[shop] + 0.005,
        "shop": rng.permutation(SHOPS)[shop] * 7,
        "age": rng.integers(18, 120, N),
        "cents": (amount * 100).round(),
        "price": (price * 100).round() - 1,
        "duration": rng.exponential(300, N).round(),
        "visits": rng.poisson(400, N),
        "minute": rng.integers(0, 1_440, N),
        "seconds_open": (amount.argsort() % 86_400) // 60,
    }
    return {name: pd.Series(values, dtype=float) for name, values in columns.items()}


@pytest.mark.parametrize("seed", range(5))
def test_only_ids_have_no_order(seed: int) -> None:
    """Ids are found whatever their name, and no amount, age, count, duration or time of day is mistaken for one."""
    columns = drawn(seed)
    assert unordered_columns(list(columns)[1:], columns) == ["shop"]


def test_gaps_and_constants_are_no_obstacle() -> None:
    """Missing values and constant columns neither hide an id nor become one."""
    columns = drawn(1)
    columns["shop"] = columns["shop"].mask(np.arange(N) % 50 == 0)
    columns |= {"empty": pd.Series(np.nan, range(N)), "one": pd.Series(1.0, range(N))}
    assert unordered_columns(["one", "empty", "shop", "cents"], columns) == ["shop"]


def test_ids_of_a_file_are_told() -> None:
    """A column of ids is never a count, and the notice says how it was recognised."""
    columns = drawn(2)
    rows = pd.DataFrame({"c": columns["shop"], "cents": columns["cents"], "y": columns["label"].astype(int)})
    inferred = infer(rows, "y", None)
    assert inferred.fields["cents"].type == "count"
    assert "c" not in inferred.fields or inferred.fields["c"].type == "category"
    (notice,) = (notice for notice in inferred.notices if notice.startswith("c: "))
    assert "its whole numbers seem to be ids (the rows of neighbouring numbers are unrelated), such as" in notice
