"""Warnings: each value that was rare or absent in training has a sentence, and never fails a request."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.bundle import Bundle
from handler.scoring.contract import Contract, Warned
from handler.scoring.fields import DeclaredField
from handler.scoring.outliers import Outliers
from handler.scoring.scorer import Scorer, load_scorer
from handler.scoring.sentence import number_text
from training.data.requests import field_values
from training.model.bins import binned
from training.model.distributions import describe

BUILD = Path(__file__).parents[3] / "build"
NAMES = ("refund", "transaction")
REFUND: dict[str, Any] = {"yearsActive": 2.5, "amount": 45.0, "ipAccounts": 1, "refunds": 2}
TRANSACTION: dict[str, Any] = {
    "amount_usd": 75.0,
    "gas_price": 20.5,
    "tx_count_24h": 1,
    "address_age_days": 400,
    "avg_tx_value": 60.0,
    "chain": "ETH",
    "token_type": "USDT",
    "sender_country": "US",
}

Warn = Callable[..., dict[str, str]]


def sentences(scorer: Scorer, request: dict[str, Any]) -> dict[str, str]:
    """The sentences of an answer's warnings, by field."""
    answer = scorer.answer(scorer.request_model.model_validate(request))
    return {warning["field"]: warning["sentence"] for warning in answer.get("warnings", [])}


@pytest.fixture
def warn(transaction: Scorer) -> Warn:
    """The warnings of a usual transaction with changed values."""
    return lambda **changes: sentences(transaction, TRANSACTION | changes)


def test_a_usual_request_has_no_warnings(refund: Scorer, transaction: Scorer) -> None:
    """The requests that the tests below change."""
    assert sentences(refund, REFUND) == sentences(transaction, TRANSACTION) == {}


def ends(scorer: Scorer, name: str) -> tuple[float, float, float, float]:
    """A number's minimum in training, its two limits of rare values, and its maximum in training."""
    percentiles = scorer.bundle.reference[name]["percentiles"]
    low, high = scorer.bundle.baseline["features"][name]["rare"]
    return percentiles[0], low, high, percentiles[-1]


@pytest.mark.parametrize(
    ("name", "value", "text"), [("gas_price", 123456.789, "123,456.79"), ("avg_tx_value", 0.01, "0.01")]
)
def test_a_number_outside_the_training_range_has_a_warning(
    warn: Warn, transaction: Scorer, name: str, value: float, text: str
) -> None:
    """The value may be above or below; the sentence has the rounded range."""
    least, *_, most = ends(transaction, name)
    assert not least <= value <= most
    sentence = f"{name} {text} is outside the range seen in training, {number_text(least)} to {number_text(most)}"
    assert warn(**{name: value})[name] == sentence


@pytest.mark.parametrize("name", ["gas_price", "avg_tx_value", "tx_count_24h"])
def test_a_number_near_the_ends_of_training_is_rare(warn: Warn, transaction: Scorer, name: str) -> None:
    """Up to the maximum in training, and down to the minimum where that is below the limit of rare values."""
    least, low, high, most = ends(transaction, name)
    assert high < most
    assert least < low or name != "avg_tx_value"
    rare = [int(most) if name == "tx_count_24h" else most, *([(least + low) / 2] if least < low else [])]
    for value in rare:
        assert warn(**{name: value})[name].endswith(" is rarer than one in a thousand")


@pytest.mark.parametrize(("name", "sides"), [("gas_price", [1, 2]), ("address_age_days", [1]), ("amount_usd", [2])])
def test_the_limits_of_rare_values_are_not_rare(warn: Warn, transaction: Scorer, name: str, sides: list[int]) -> None:
    """They are not rare even when rounded to as many digits as the data has."""
    for limit in (ends(transaction, name)[side] for side in sides):
        assert " is rarer than " not in warn(**{name: float(f"{limit:.7g}")}).get(name, "")


@pytest.mark.parametrize("name", ["gas_price", "tx_count_24h", "avg_tx_value", "token_type", "sender_country"])
def test_a_missing_value_alone_has_no_warning(transaction: Scorer, name: str) -> None:
    """It has one only in an unlikely combination; the reasons have the share of missing values."""
    request = {key: value for key, value in TRANSACTION.items() if key != name}
    for sentence in sentences(transaction, request).values():
        assert "is hardly ever seen together with" in sentence


@pytest.mark.parametrize("name", ["chain", "token_type", "sender_country"])
def test_a_new_category_has_a_warning(warn: Warn, name: str) -> None:
    """The sentence quotes the value as it was sent."""
    assert warn(**{name: "it's new"}) == {name: f'{name} "it\'s new" is new, or was too rare in training to be learned'}


def test_a_text_without_a_category_has_a_warning(refund: Scorer) -> None:
    """The warning has the name of the category feature."""
    sentence = "item_category 'zzqx zzqx' is new, or was too rare in training to be learned"
    assert sentences(refund, {**REFUND, "item": "zzqx zzqx"}) == {"item_category": sentence}


def test_each_unusual_value_has_its_warning(transaction: Scorer) -> None:
    """Numbers (derived ones, too) come first, in the order of the features; a category has the value that was sent."""
    changes = {"gas_price": 1e6, "chain": "new", "sender_country": "newer", "amount_usd": 1e9}
    request = transaction.request_model.model_validate(TRANSACTION | changes)
    values = {warning["field"]: warning["value"] for warning in transaction.answer(request)["warnings"]}
    assert list(values) == ["amount_usd", "gas_price", "amount_to_average", "chain", "sender_country"]
    assert changes.items() <= values.items()


def pairing(parent: int, child: int, rows: list[list[float]], n_features: int = 6) -> dict[str, Any]:
    """Learned combinations of refunds in which one feature depends on another, by log-probability.

    Numbers have two bins: missing or not; the category has three: missing, its first codes, its others.
    """
    number = {"edges": []}
    bins = [number, number, number, number, {"codes": [0] * 6 + [1] * 7}, number]
    tables: list[list[list[float]]] = [[[-1.0] * 3] for _ in range(n_features)]
    tables[child] = rows
    parents = [-1] * n_features
    parents[child] = parent
    marginals = [[-1.0] * 3] * n_features
    places = [*range(n_features - 1), -1]
    return {
        "places": places,
        "bins": bins,
        "parents": parents,
        "tables": tables,
        "marginals": marginals,
        "limit": -10.0,
    }


YEARS, AMOUNT, IP, REFUNDS, ITEM, _ = range(6)
DEFAULT = [-1.0] * 3


def paired(scorer: Scorer, combinations: dict[str, Any]) -> Scorer:
    """The scorer with other learned combinations."""
    bundle: Bundle = replace(scorer.bundle, baseline={**scorer.bundle.baseline, "combinations": combinations})
    return Scorer(bundle)


@pytest.mark.parametrize(
    ("combinations", "sent", "warning"),
    [
        (
            pairing(ITEM, AMOUNT, [DEFAULT, DEFAULT, [-1.0, -9.0, -1.0]]),
            {"amount": 123.5, "item": "Pad Thai with tofu"},
            ("amount", 123.5, "amount 123.5 is hardly ever seen together with item_category Food, Perishable"),
        ),
        (
            pairing(AMOUNT, ITEM, [DEFAULT, [-1.0, -1.0, -9.0]]),
            {"amount": 123.5, "item": "Pad Thai with tofu"},
            (
                "item_category",
                "Food, Perishable",
                "item_category Food, Perishable is hardly ever seen together with amount 123.5",
            ),
        ),
        (
            pairing(YEARS, REFUNDS, [DEFAULT, [-9.0, -1.0]]),
            {"refunds": None},
            ("refunds", None, "refunds missing is hardly ever seen together with years_active 2.5"),
        ),
        (
            pairing(REFUNDS, AMOUNT, [[-1.0, -9.0], DEFAULT]),
            {"refunds": None},
            ("amount", 45.0, "amount 45 is hardly ever seen together with refunds missing"),
        ),
    ],
    ids=["number", "category", "missing", "with missing"],
)
def test_an_unlikely_combination_has_a_warning(
    refund: Scorer, combinations: dict[str, Any], sent: dict[str, Any], warning: tuple[str, float | str | None, str]
) -> None:
    """It has both values, and the name of the feature that depends on the other."""
    scorer = paired(refund, combinations)
    answer = scorer.answer(scorer.request_model.model_validate(REFUND | sent))
    assert answer["warnings"] == [dict(zip(("field", "value", "sentence"), warning, strict=True))]
    assert scorer.answer_model.model_validate(answer)


@pytest.mark.parametrize("odd", [{"amount": 1e9}, {"item": "zzqx zzqx"}], ids=["number", "category"])
def test_an_unusual_value_hides_combinations(refund: Scorer, odd: dict[str, Any]) -> None:
    """Any combination with it is unlikely: one warning suffices."""
    scorer = paired(refund, pairing(YEARS, IP, [DEFAULT, [-1.0, -99.0]]))
    assert list(sentences(scorer, REFUND)) == ["ip_accounts"]
    warnings = sentences(scorer, REFUND | odd)
    assert warnings
    assert not any("together" in sentence for sentence in warnings.values())


@cache
def scorer_of(name: str) -> Scorer:
    """A scorer, where fixtures cannot be used."""
    return load_scorer(BUILD / "bundles" / name)


def values_of(field: DeclaredField) -> st.SearchStrategy[Any]:
    """Every value that a contract allows a field, its limits included."""
    if field.type == "flag":
        return st.booleans()
    if field.type in {"category", "text", "key"}:
        return st.text(min_size=1, max_size=min(field.max_length, 60)) | st.just("x" * field.max_length)
    ends = st.sampled_from([field.lowest, field.highest])
    if field.type == "count":
        return st.integers(int(field.lowest), int(field.highest)) | ends.map(int)
    return st.floats(field.lowest, field.highest) | ends


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[Scorer, dict[str, Any]]:
    """A golden request of a real scorer with some values replaced and some optional ones missing."""
    scorer = scorer_of(draw(st.sampled_from(NAMES)))
    request = dict(draw(st.sampled_from(scorer.bundle.golden))["request"])
    for name, field in scorer.contract.fields.items():
        key = field.alias or name
        change = draw(st.sampled_from(["none", "none", "another golden one", "any", "missing"]))
        if change == "another golden one":
            other = draw(st.sampled_from(scorer.bundle.golden))["request"]
            request |= {key: other[key]} if key in other else {}
        elif change == "any":
            request[key] = draw(values_of(field))
        elif change == "missing" and not field.required:
            request.pop(key, None)
    return scorer, request


@given(drawn=valid_requests())
def test_the_warnings_of_every_valid_request_are_valid(drawn: tuple[Scorer, dict[str, Any]]) -> None:
    """Each is as documented, JSON and of a feature; a feature has one at most, and a combination is the only one."""
    scorer, request = drawn
    answer = scorer.answer(scorer.request_model.model_validate_json(json.dumps(request)))
    warnings = answer.get("warnings", [])
    assert [Warned.model_validate(warning).model_dump() for warning in warnings] == warnings
    json.dumps(warnings, allow_nan=False)
    fields = [warning["field"] for warning in warnings]
    assert len(fields) == len(set(fields))
    assert set(fields) <= set(scorer.bundle.features.names)
    kinds = ("is hardly ever seen together with", "is new, or", "is outside the range", "is rarer than")
    used = [next(kind for kind in kinds if kind in warning["sentence"]) for warning in warnings]
    assert kinds[0] not in used or len(used) == 1


@given(drawn=valid_requests())
def test_a_request_has_the_same_warnings_in_a_batch(drawn: tuple[Scorer, dict[str, Any]]) -> None:
    """Whatever the other requests are."""
    scorer, request = drawn
    golden = [case["request"] for case in scorer.bundle.golden[:2]]
    batch = [scorer.request_model.model_validate(item) for item in (golden[0], request, golden[1])]
    assert scorer.answers(batch)[1].get("warnings") == scorer.answer(batch[1]).get("warnings")


def test_few_training_rows_have_warnings(scorer: Scorer) -> None:
    """None outside the range; one in a thousand on each side of a feature, and one in a thousand for combinations."""
    rows = pd.read_parquet(BUILD / scorer.bundle.scorer / "rows" / "train.parquet")[::5]
    outliers, encode = Outliers(scorer.bundle), scorer.bundle.features.encode
    fields = zip(*field_values(rows, scorer.contract), strict=True)
    sentences_by_row = [[warning["sentence"] for warning in outliers.warnings(row, encode(row))] for row in fields]
    assert not any("outside the range" in sentence for row in sentences_by_row for sentence in row)
    n_numbers = sum("rare" in feature for feature in scorer.bundle.baseline["features"].values())
    n_warned = sum(any("is new" not in sentence for sentence in row) for row in sentences_by_row)
    assert n_warned <= (2 * n_numbers + 1) * 0.0015 * len(rows)


def test_a_constant_value_is_not_rare(refund: Scorer) -> None:
    """Such as the price in a shop with one product."""
    column = np.full((1000, 1), 0.1, dtype=np.float32)
    contract = Contract(
        route="/x", answer="decision", id=None, fields={"price": DeclaredField(type="money")}, features={}
    )
    reference = describe(column, contract, {})["price"]
    baseline = {**refund.bundle.baseline["features"], "amount": binned(column[:, 0], None)}
    bundle = replace(
        refund.bundle,
        reference={**refund.bundle.reference, "amount": reference},
        baseline={**refund.bundle.baseline, "features": baseline},
    )
    assert "amount" not in sentences(Scorer(bundle), {**REFUND, "amount": 0.1})
