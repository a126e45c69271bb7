"""The request and answer models that a declaration becomes."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from handler.contract import Contract, DeclaredField, DerivedFeature, request_model

CONTRACT = Contract(
    route="/score",
    answer="probability",
    id="payment_id",
    fields={
        "amount": DeclaredField(type="money", min=0, required=True),
        "ratio": DeclaredField(type="number", min=-1, max=1),
        "orders": DeclaredField(type="count", alias="nOrders"),
        "country": DeclaredField(type="category", max_length=2),
        "is_new": DeclaredField(type="flag"),
    },
    features={},
)
REQUEST = request_model("payment", CONTRACT)


def parse(body: str) -> BaseModel:
    """The request model's reading of a JSON body."""
    return REQUEST.model_validate_json(body)


def test_a_whole_request_is_read_by_name() -> None:
    """Values arrive under the fields' names, whatever the alias was."""
    request = parse('{"amount": 1, "ratio": -0.5, "nOrders": 3, "country": "NA", "is_new": true, "payment_id": "p"}')
    assert request.model_dump() == {
        "amount": 1.0,
        "ratio": -0.5,
        "orders": 3,
        "country": "NA",
        "is_new": True,
        "payment_id": "p",
    }


@pytest.mark.parametrize("body", ['{"amount": 1}', '{"amount": 1, "ratio": null, "nOrders": null, "is_new": null}'])
def test_an_optional_value_may_be_absent_or_null(body: str) -> None:
    """Absent and null are both missing, not zero."""
    request = parse(body)
    assert (request.model_dump()["ratio"], request.model_dump()["orders"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ('{"amount": 1, "colour": "red"}', "colour", "extra_forbidden"),
        ('{"amount": 1, "orders": 1}', "orders", "extra_forbidden"),
        ('{"ratio": 0}', "amount", "missing"),
        ('{"amount": null}', "amount", "float_type"),
        ('{"amount": "1"}', "amount", "float_type"),
        ('{"amount": true}', "amount", "float_type"),
        ('{"amount": -0.01}', "amount", "greater_than_equal"),
        ('{"amount": 1, "ratio": 1.01}', "ratio", "less_than_equal"),
        ('{"amount": NaN}', "amount", "finite_number"),
        ('{"amount": Infinity}', "amount", "finite_number"),
        ('{"amount": -Infinity}', "amount", "finite_number"),
        ('{"amount": 1e400}', "amount", "finite_number"),
        ('{"amount": ' + "9" * 400 + "}", "amount", "finite_number"),
        ('{"amount": 1, "nOrders": ' + "9" * 400 + "}", "nOrders", "less_than_equal"),
        ('{"amount": 1, "nOrders": 1.5}', "nOrders", "int_type"),
        ('{"amount": 1, "nOrders": -1}', "nOrders", "greater_than_equal"),
        ('{"amount": 1, "country": "ABC"}', "country", "string_too_long"),
        ('{"amount": 1, "country": ""}', "country", "string_too_short"),
        ('{"amount": 1, "country": 7}', "country", "string_type"),
        ('{"amount": 1, "is_new": 1}', "is_new", "bool_type"),
        ('{"amount": 1, "payment_id": 7}', "payment_id", "string_type"),
    ],
)
def test_what_the_contract_forbids_is_refused_by_name(body: str, field: str, problem: str) -> None:
    """The error names the field and what is wrong with it."""
    with pytest.raises(ValidationError) as refused:
        parse(body)
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [((field,), problem)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"type": "category", "min": 0}, "min and max are for number, money, count; the type here is category"),
        ({"type": "number", "min": 2, "max": 1}, "min 2 must be below max 1"),
        ({"type": "text"}, "type text needs both categories and catalogue"),
        ({"type": "number", "catalogue": "a.csv", "categories": "b"}, "type text needs both"),
    ],
)
def test_a_field_that_contradicts_itself_is_refused(keys: dict[str, Any], message: str) -> None:
    """Each impossible combination has a sentence of its own."""
    with pytest.raises(ValidationError, match=message):
        DeclaredField(**keys)


def test_a_derived_feature_has_exactly_one_operation() -> None:
    """Neither none nor two are accepted."""
    for operations in ({}, {"ratio": ("a", "b"), "product": ("a", "b")}):
        with pytest.raises(ValidationError, match="exactly one of ratio, product"):
            DerivedFeature(**operations)


def test_one_name_means_one_thing() -> None:
    """A feature cannot take a field's name, nor a field the id's."""
    number = DeclaredField(type="number")
    whole: dict[str, Any] = {"route": "/x", "answer": "decision", "id": "key", "fields": {"a": number}}
    with pytest.raises(ValidationError, match="a is used twice"):
        Contract(**whole, features={"a": DerivedFeature(ratio=("a", "a"))})
    with pytest.raises(ValidationError, match="key is used twice"):
        Contract(**{**whole, "fields": {"a": DeclaredField(type="number", alias="key")}}, features={})
