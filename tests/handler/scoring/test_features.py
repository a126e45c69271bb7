"""Feature encoding of one row."""

from datetime import UTC, datetime
from math import isfinite, isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from handler.scoring.contract import Contract, DerivedFeature, request_model
from handler.scoring.features import build_features, feature_names, feature_types, recorded_features
from handler.scoring.fields import DeclaredField
from handler.scoring.scorer import Scorer

CONTRACT = Contract(
    route="/score",
    answer="probability",
    id=None,
    fields={
        "amount": DeclaredField(type="money"),
        "years": DeclaredField(type="number"),
        "chain": DeclaredField(type="category"),
        "is_new": DeclaredField(type="flag"),
    },
    features={"rate": DerivedFeature(ratio=("amount", "years")), "volume": DerivedFeature(product=("amount", "years"))},
)
FEATURES = build_features(CONTRACT, {"chain": ["ETH", "BTC"]})
REQUEST = request_model("payment", CONTRACT)
numbers = st.none() | st.floats(min_value=-1e15, max_value=1e15)


def test_names_and_types_follow_the_declaration() -> None:
    """The columns of the model: the fields in their order, then the derived features."""
    assert feature_names(CONTRACT) == ["amount", "years", "chain", "is_new", "rate", "volume"]
    assert feature_types(CONTRACT) == ["q", "q", "c", "q", "q", "q"]


def test_a_row_becomes_its_vector() -> None:
    """Money in cents, the category's code, the flag as 0 or 1, the derived numbers."""
    assert FEATURES.encode((19.990001, 2, "BTC", True)) == [19.99, 2.0, 2.0, 1.0, 9.995, 39.98]


@pytest.mark.parametrize("missing", [(None, None, None, None), (nan, nan, None, nan)])
def test_a_missing_value_is_nan(missing: tuple[Any, ...]) -> None:
    """Nothing is imputed."""
    assert all(isnan(value) for value in FEATURES.encode(missing))


def test_an_unknown_category_is_other() -> None:
    """Rare and unseen categories share code 0."""
    assert FEATURES.encode((1, 1, "DOGE", False))[2] == 0.0
    assert FEATURES.display(2, 0.0) == "other"


def test_a_ratio_over_zero_is_missing() -> None:
    """No infinity reaches the model."""
    assert isnan(FEATURES.encode((5, 0, None, None))[4])


@given(
    amount=numbers, years=numbers, chain=st.none() | st.text(min_size=1, max_size=9), is_new=st.none() | st.booleans()
)
def test_every_valid_request_gives_finite_float32_or_missing(
    amount: float | None, years: float | None, chain: str | None, *, is_new: bool | None
) -> None:
    """The encoder has this property for every request that the contract accepts."""
    request: BaseModel = REQUEST(amount=amount, years=years, chain=chain, is_new=is_new)
    for value in FEATURES.encode(tuple(request.model_dump().values())):
        assert isnan(value) or isfinite(np.float32(value))


def private(**ways: str) -> Contract:
    """The contract with an additional text field, and with `private` set to these values for the named fields."""
    fields = {name: field.model_dump() for name, field in CONTRACT.fields.items()}
    fields["note"] = {"type": "text", "categories": "note_kind", "catalogue": "data/notes.csv"}
    for name, way in ways.items():
        fields[name]["private"] = way
    return Contract.model_validate({**CONTRACT.model_dump(), "fields": fields}, strict=False)


@pytest.mark.parametrize(
    ("omitted", "gone"),
    [
        ([], set()),
        (["chain"], {"chain"}),
        (["is_new"], {"is_new"}),
        (["note"], {"note_kind"}),
        (["amount"], {"amount", "rate", "volume"}),
        (["years"], {"years", "rate", "volume"}),
        ([*CONTRACT.fields, "note"], {*feature_names(CONTRACT), "note_kind"}),
    ],
)
def test_omitted_fields_are_not_recorded(omitted: list[str], gone: set[str]) -> None:
    """A ratio and one operand would reveal the other; the other features keep their positions, and none is hashed."""
    contract = private(**dict.fromkeys(omitted, "omit"))
    expected = [(index, name, False) for index, name in enumerate(feature_names(contract)) if name not in gone]
    assert recorded_features(contract) == expected


def test_hashed_fields_are_recorded_and_marked() -> None:
    """A text is recorded under the name of its category feature."""
    recorded = recorded_features(private(chain="hash", note="hash"))
    assert [name for _, name, is_hashed in recorded if is_hashed] == ["chain", "note_kind"]
    assert [name for _, name, _ in recorded] == feature_names(private())


TIMED = Contract.model_validate(
    {
        "route": "/score",
        "answer": "probability",
        "id": None,
        "fields": {"opened": {"type": "date"}, "orders": {"type": "count"}, "seen": {"type": "date"}},
        "features": {
            "hour": {"hour_of_day": "at"},
            "orders_a_day": {"ratio": ("orders", "opened")},
            "weekday": {"day_of_week": "at"},
        },
        "time": "at",
    },
    strict=False,
)


def seconds(text: str) -> float:
    """Seconds since 1970 of a date in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("at", "opened", "vector"),
    [
        # A Saturday, and over a leap day.
        ("2025-03-01 00:00:00", "2024-02-28 00:00:00", [367.0, 734.0, nan, 0.0, 2.0, 5.0]),
        # The hour that summer time takes from a clock in Berlin is an hour in UTC.
        ("2025-03-30 12:00:00", "2025-03-29 12:00:00", [1.0, 2.0, nan, 12.0, 2.0, 6.0]),
        ("2024-12-31 23:59:59", "2024-12-31 11:59:59", [0.5, 1.0, nan, 23.0, 2.0, 1.0]),
        # Before 1970, a Wednesday.
        ("1969-12-31 23:00:00", "1969-12-30 23:00:00", [1.0, 2.0, nan, 23.0, 2.0, 2.0]),
        # Later than the request, but within what clocks may differ: the age is 0, and a ratio to it is missing.
        ("2025-01-06 08:00:00", "2025-01-06 08:04:00", [0.0, 2.0, nan, 8.0, nan, 0.0]),
    ],
)
def test_dates_are_ages_at_the_requests_time(at: str, opened: str, vector: list[float]) -> None:
    """Ages are in days of 86,400 seconds; the hour and the day of the week are those of UTC."""
    orders = 2 * max(vector[0], 0.5)
    vector[1] = orders
    encoded = build_features(TIMED, {}).encode((seconds(opened), orders, None, seconds(at)))
    np.testing.assert_array_equal(encoded, vector)


def test_a_date_is_a_number_to_the_model() -> None:
    """So are the features of the time. Each is recorded unless a date from which it is computed is omitted."""
    assert feature_types(TIMED) == ["q"] * 6
    fields = {name: field.model_dump() for name, field in TIMED.fields.items()}
    fields["opened"]["private"] = "omit"
    private_date = Contract.model_validate({**TIMED.model_dump(), "fields": fields}, strict=False)
    assert [name for _, name, _ in recorded_features(private_date)] == ["orders", "seen", "hour", "weekday"]


def test_cents_make_one_signal(refund: Scorer) -> None:
    """19.990001 and 19.99 are the same amount to the model."""
    vectors = [
        refund.vector(refund.request_model(yearsActive=1.0, amount=amount, ipAccounts=1))
        for amount in (19.990001, 19.99)
    ]
    assert np.array_equal(vectors[0], vectors[1], equal_nan=True)
